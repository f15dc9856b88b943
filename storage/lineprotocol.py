r"""Points as InfluxDB line protocol: `gpu,site=DEMO-1,gpu=GPU-1 power_watts=612.5,lost=0i 1760000000000000000`.

Gauges and counters are floats, states integers (`0i`), texts strings, as the schema's kind says and whatever Python
type the value came in, because InfluxDB refuses a field that changes its type. Names of the schema need no escapes.
Source: InfluxDB v2 line protocol reference, "Data types and format" and "Special characters".
"""

from collections.abc import Callable, Iterable
from operator import itemgetter

from storage.point import FieldValue, Point
from storage.schema import Field, check_tags, check_value, field_of, measurement

#: series, and sets of fields, that are remembered; beyond, the memory starts again from nothing
_REMEMBERED = 500_000

# The protocol has no escape for line breaks in tags; like InfluxData's own clients, write them as two characters.
_TAG = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ ", "\n": r"\n", "\t": r"\t", "\r": r"\r"})
_TEXT = str.maketrans({'"': r"\"", "\\": r"\\"})
#: magnitudes that sum up to more hold NaN, an infinity, perhaps a state of over 64 bits or a whole number that no float
#: is: look at each value
_PLAIN = 2.0**53

_Write = Callable[[Point], str]


class Encoder:
    """Turn points into lines, remembering what it worked out for each series and each set of fields."""

    def __init__(self) -> None:
        self._series: dict[tuple[object, ...], str] = {}
        self._shapes: dict[tuple[object, ...], _Write] = {}

    def encode(self, points: Iterable[Point]) -> bytes:
        """Return one line per point, in their order, each with a line feed at its end.

        Raises:
            KeyError: a measurement, tag or field that the schema does not know.
            ValueError: a value that its field cannot hold.
        """
        return "".join(map(self._line, points)).encode()

    def _line(self, point: Point) -> str:
        fields = point.fields
        series = self._series.get((point.measurement, *point.tags.items()))
        if series is None:
            series = self._remember_series(point)
        # The types belong to the key: values of the same types take the same way into text.
        write = self._shapes.get((point.measurement, *fields, *map(type, fields.values())))
        if write is None:
            write = self._remember_shape(point)
        return f"{series} {write(point)} {point.time_ns}\n"

    def _remember_series(self, point: Point) -> str:
        own = measurement(point.measurement)
        check_tags(own, point.tags)
        tags = ((tag, point.tags.get(tag)) for tag in own.tags)
        series = ",".join([own.name, *(f"{tag}={_escape_tag(value)}" for tag, value in tags if value)])
        if len(self._series) >= _REMEMBERED:
            self._series.clear()
        self._series[(own.name, *point.tags.items())] = series
        return series

    def _remember_shape(self, point: Point) -> _Write:
        own = {name: field_of(f"{point.measurement}.{name}") for name in point.fields}
        if not own:
            raise ValueError(f"{point.measurement}: a point without fields cannot be written")
        write = _compile(point, own) or _write_each
        if len(self._shapes) >= _REMEMBERED:
            self._shapes.clear()
        self._shapes[(point.measurement, *point.fields, *map(type, point.fields.values()))] = write
        return write


def _compile(point: Point, own: dict[str, Field]) -> _Write | None:
    """Return a fast writer for points with these fields and types, or None when each value must be looked at."""
    for name, field in own.items():
        if type(point.fields[name]) not in ((int,) if field.kind == "state" else (int, float)):
            return None
    template = ",".join(f"{name}=%di" if field.kind == "state" else f"{name}=%r" for name, field in own.items())
    take = itemgetter(*own)
    single = len(own) == 1

    def write(point: Point) -> str:
        values = (take(point.fields),) if single else take(point.fields)
        if not sum(map(abs, values)) <= _PLAIN:
            return _write_each(point)
        return (template % values).replace(".0,", ",").removesuffix(".0")

    return write


def _write_each(point: Point) -> str:
    own = measurement(point.measurement)
    texts = []
    for name, value in point.fields.items():
        check_value(own, own.fields[name], value)
        texts.append(f"{name}={_text(own.fields[name], value)}")
    return ",".join(texts)


def _text(field: Field, value: FieldValue) -> str:
    if isinstance(value, str):
        return f'"{value.translate(_TEXT)}"'
    return f"{int(value)}i" if field.kind == "state" else repr(float(value)).removesuffix(".0")


def _escape_tag(value: str) -> str:
    escaped = value.translate(_TAG)
    # A backslash at the end would escape the comma or space that follows it.
    return escaped + " " if escaped.endswith("\\") else escaped


def encode(points: Iterable[Point]) -> bytes:
    """Return the lines of some points; who writes again and again keeps an `Encoder`."""
    return Encoder().encode(points)
