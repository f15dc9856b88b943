"""The one datum that crosses the house, in InfluxDB's own four parts.

Source: InfluxDB line protocol reference (measurement, tag set, field set, timestamp).
"""

from collections.abc import Mapping
from dataclasses import dataclass

FieldValue = float | int | str


@dataclass(frozen=True, slots=True)
class Point:
    """One poll of one series.

    A quantity that is unknown is left out of `fields`: never NaN, -1 or an empty string.
    """

    #: a name in `storage.schema.MEASUREMENTS`
    measurement: str
    #: the series' identity; names and order as in the schema, never empty values
    tags: Mapping[str, str]
    #: in the schema's units
    fields: Mapping[str, FieldValue]
    #: UTC nanoseconds since the epoch, aligned to the poll
    time_ns: int
