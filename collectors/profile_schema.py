"""The JSON Schema of profiles, for editors.

`python -m collectors.profile_schema [FILE]` writes it, else to `docs/profile.schema.json`. It is made from the models,
the schema of measurements, the units and the keys of each protocol. It knows form and names; what loading a profile
checks beyond them (addresses, row variables, two readings of one series) it cannot say.
"""

import inspect
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from collectors.exposition import each as exposition_each
from collectors.exposition import match as exposition_match
from collectors.gnmi import rows as gnmi_rows
from collectors.mqtt import profile as mqtt_profile
from collectors.profile_model import Derived, Group, PointSpec, Poll, Profile, Protocol
from collectors.snmp import rows as snmp_rows
from collectors.units import fitting_units
from storage.schema import MEASUREMENTS

TARGET = Path(__file__).parents[1] / "docs" / "profile.schema.json"

Json = dict[str, Any]

_REF = "#/$defs/{model}"
_TEXT: Json = {"type": "string"}
_TEXTS: Json = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
_DURATION: Json = {"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h|d)$"}
_ADDRESS: Json = {"type": "string", "pattern": r"^(coil|discrete|holding|input):\d+"}
_UNITS: Json = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}, "minItems": 1}
_OID: Json = {"type": "string", "pattern": r"^\d+(\.\d+)+$"}
_ORDERS = ["big", "little", "big_swapped", "little_swapped"]
_CONDITION: Json = {
    "at": _ADDRESS,
    "type": _TEXT,
    "min": {"type": "number"},
    "max": {"type": "number"},
    "text": _TEXT,
    "not": {},
}

#: protocol -> section -> the model that checks it, or its keys
_SECTIONS: Mapping[str, Mapping[str, type[BaseModel] | Json]] = {
    "snmp": {
        "transport": {"anchor": _OID},
        "match": {"sysobjectid_prefix": _OID, "sysdescr": _TEXT, "has": _OID},
        "each": snmp_rows.Each,
    },
    "modbus": {
        "transport": {
            "max_span": {"type": "integer", "minimum": 1, "maximum": 125},
            "gap": {"type": "integer", "minimum": 0, "maximum": 125},
            "word_order": {"enum": _ORDERS},
            "timeout": _DURATION,
            "retries": {"type": "integer", "minimum": 0, "maximum": 5},
            "pause": _DURATION,
            "after_timeout": {"enum": ["reconnect", "keep"]},
        },
        "match": {**_CONDITION, "units": _UNITS, "and": {"type": "array", "items": {"type": "object"}}},
        "each": {
            "units": _UNITS,
            "as": _TEXT,
            "probe": _ADDRESS,
            "settings": {"type": "object"},
            "once": {"type": "boolean"},
        },
    },
    "redfish": {
        "transport": {
            "max_connections": {"enum": [1, 2]},
            "expand": {"enum": ["auto", "off"]},
            "events": {"type": "boolean"},
            "variables": {"type": "object"},
        },
        "match": {"root_has": _TEXTS, "root_lacks": _TEXTS, "has": _TEXTS},
        "each": {
            "uri": {"type": "string", "pattern": "^/redfish/v1"},
            "as": {"type": "array", "items": _TEXT},
            "where": {"type": "object"},
            "of": _TEXT,
        },
    },
    "mqtt": {"transport": mqtt_profile.Transport, "match": {"topic": _TEXT}, "each": mqtt_profile.Each},
    "gnmi": {"transport": {}, "match": {"model": _TEXT}, "each": gnmi_rows.Each},
    "exposition": {"transport": {}, "match": exposition_match.Match, "each": exposition_each.Each},
}


def make_schema() -> Json:
    """Return the JSON Schema (draft 2020-12) of a profile."""
    sections: list[type[BaseModel]] = [
        made for own in _SECTIONS.values() for made in own.values() if not isinstance(made, dict)
    ]
    every: list[type[BaseModel]] = [Profile, *sections]
    models: list[tuple[type[BaseModel], Literal["validation"]]] = [(model, "validation") for model in every]
    refs, whole = models_json_schema(models, ref_template=_REF)
    defs: Json = whole["$defs"]
    own_models = (Profile, Group, PointSpec, Derived, Poll)
    for name in defs.keys() - {model.__name__ for model in own_models}:
        defs[name]["properties"] = {key: _loose(value) for key, value in defs[name].get("properties", {}).items()}
    for model in own_models:
        own = defs[model.__name__]
        for name, text in remarks(model).items():
            own["properties"][name]["description"] = text
    _name_fields(defs)
    root = defs.pop("Profile")
    root["allOf"] = [_of_protocol(protocol, refs) for protocol in get_args(Protocol)]
    # A shared part (`_name.yaml`), and a child of one, say no more than they need.
    root["properties"]["extends"] = {"type": "string", "description": "shared part that this profile is merged over"}
    root.pop("required")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Device profile of TokenWatt"}
    return cast(Json, _plain({**head, **{key: value for key, value in root.items() if key != "title"}, "$defs": defs}))


def _loose(field: Any) -> Any:
    """Let a number stand for text and one item for a list of them, as the models of a protocol do."""
    if not isinstance(field, dict):
        return field
    if field.get("type") == "string" and "enum" not in field and "const" not in field:
        return {**field, "type": ["string", "number"]}
    inner = {key: [_loose(each) for each in v] if isinstance(v, list) else _loose(v) for key, v in field.items()}
    items = inner.get("items")
    return {"anyOf": [items, inner]} if inner.get("type") == "array" and items else inner


def _of_protocol(protocol: str, refs: Mapping[Any, Any]) -> Json:
    def section(name: str) -> Json:
        made = _SECTIONS[protocol][name]
        if not isinstance(made, dict):
            return dict(refs[made, "validation"])
        return {"type": "object", "properties": made, "additionalProperties": False}

    groups = {"items": {"properties": {"each": section("each")}}}
    rule: Json = {"properties": {"match": section("match"), "groups": groups}}
    transport = section("transport")
    transport.pop("required", None)
    rule["properties"]["transport"] = transport
    return {"if": {"properties": {"protocol": {"const": protocol}}, "required": ["protocol"]}, "then": rule}


def _name_fields(defs: Json) -> None:
    """Let `to` be a field of the schema, with the units and the tags that go with it."""
    paths = [f"{name}.{field}" for name, own in MEASUREMENTS.items() for field in own.fields]
    for name in ("PointSpec", "Derived"):
        defs[name]["properties"]["to"]["enum"] = paths
    by_base: dict[str, list[str]] = {}
    for path in paths:
        measurement, _, field = path.partition(".")
        by_base.setdefault(MEASUREMENTS[measurement].fields[field].unit, []).append(path)
    rules = [_when(these, {"unit": {"enum": [*fitting_units(base), None]}}) for base, these in by_base.items()]
    for measurement, own in MEASUREMENTS.items():
        tags = {"tags": {"propertyNames": {"enum": list(own.tags)}}}
        rules.append(_when([f"{measurement}.{field}" for field in own.fields], tags))
    defs["PointSpec"]["allOf"] = rules


def _when(paths: list[str], properties: Json) -> Json:
    measurements = {path.partition(".")[0] for path in paths}
    if len(measurements) == 1 and len(paths) == len(MEASUREMENTS[next(iter(measurements))].fields):
        condition: Json = {"pattern": rf"^{next(iter(measurements))}\."}
    else:
        condition = {"enum": paths}
    return {"if": {"properties": {"to": condition}, "required": ["to"]}, "then": {"properties": properties}}


def remarks(model: type[BaseModel]) -> dict[str, str]:
    """Return what the `#:` comments above a model's fields say, by field."""
    found: dict[str, str] = {}
    said: list[str] = []
    for line in inspect.getsourcelines(model)[0]:
        name = re.match(r" {4}(\w+):", line)
        if line.strip().startswith("#:"):
            said.append(line.strip().removeprefix("#:").strip())
        elif name and said:
            found[name[1]] = " ".join(said)
            said = []
    return found


def _plain(value: Any) -> Any:
    """Return it without what only repeats the names: pydantic's titles, and Python's docstrings of inner models."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if key != "title" or not isinstance(inner, str)}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def text() -> str:
    """Return the schema as it stands in the file."""
    schema = make_schema()
    return json.dumps({"$schema": schema.pop("$schema"), "title": "Device profile", **schema}, indent=1) + "\n"


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET).write_text(text(), "utf-8")
