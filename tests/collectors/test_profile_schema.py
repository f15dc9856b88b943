"""The published JSON Schema: it is the one that the code makes, takes what loads, and knows each protocol's keys."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from collectors.profile import PACKAGED, load_profile
from collectors.profile_model import PointSpec, Protocol
from collectors.profile_schema import TARGET, make_schema, remarks, text
from storage.config import ConfigError
from storage.document import Section, read_document
from storage.schema import MEASUREMENTS

SCHEMA = make_schema()
KINDS: Mapping[str, type | tuple[type, ...]] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
    "null": type(None),
}  # fmt: skip


def breaches(rule: Any, value: Any) -> Iterator[str]:
    """Yield the keywords of JSON Schema that a value breaks: those keywords that ours uses, and none else."""
    if "$ref" in rule:
        rule = {**SCHEMA["$defs"][rule["$ref"].rpartition("/")[2]], **{k: v for k, v in rule.items() if k != "$ref"}}
    for keyword, said in rule.items():
        yield from BY_KEYWORD[keyword](said, value, rule)


def _type(said: Any, value: Any, _: Any) -> Iterator[str]:
    names = said if isinstance(said, list) else [said]
    # A boolean is no number in JSON, though Python counts with it.
    if not any(isinstance(value, KINDS[n]) and (isinstance(value, bool) == (n == "boolean")) for n in names):
        yield f"{value!r} is no {said}"


def _properties(said: Any, value: Any, _: Any) -> Iterator[str]:
    for key in said.keys() & value.keys() if isinstance(value, dict) else ():
        yield from (f"{key}: {breach}" for breach in breaches(said[key], value[key]))


def _additional(said: Any, value: Any, rule: Any) -> Iterator[str]:
    for key in value.keys() - rule.get("properties", {}).keys() if isinstance(value, dict) else ():
        if said is False:
            yield f"unknown key {key}"
        elif isinstance(said, dict):
            yield from breaches(said, value[key])


def _items(said: Any, value: Any, rule: Any) -> Iterator[str]:
    for each in value[len(rule.get("prefixItems", ())) :] if isinstance(value, list) else ():
        yield from breaches(said, each)


def _condition(said: Any, value: Any, rule: Any) -> Iterator[str]:
    yield from breaches(rule["then"], value) if not list(breaches(said, value)) else ()


def _prefix(said: Any, value: Any, _: Any) -> Iterator[str]:
    for one, each in zip(said, value, strict=False) if isinstance(value, list) else ():
        yield from breaches(one, each)


def _names(said: Any, value: Any, _: Any) -> Iterator[str]:
    for key in value if isinstance(value, dict) else ():
        yield from (f"{key}: {breach}" for breach in breaches(said, key))


def check(keyword: str, holds: Any) -> Any:
    def run(said: Any, value: Any, _: Any) -> Iterator[str]:
        if not holds(said, value):
            yield f"{value!r} breaks {keyword} {said!r}"

    return run


BY_KEYWORD: Mapping[str, Any] = {
    "type": _type,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "prefixItems": _prefix,
    "propertyNames": _names,
    "if": _condition,
    "anyOf": check("anyOf", lambda said, value: any(not list(breaches(one, value)) for one in said)),
    "allOf": lambda said, value, _: (breach for one in said for breach in breaches(one, value)),
    "enum": check("enum", lambda said, value: value in said),
    "const": check("const", lambda said, value: value == said),
    "required": check("required", lambda said, value: not isinstance(value, dict) or set(said) <= value.keys()),
    "pattern": check("pattern", lambda said, value: not isinstance(value, str) or re.search(said, value)),
    "minimum": check("minimum", lambda said, value: not isinstance(value, int) or value >= said),
    "maximum": check("maximum", lambda said, value: not isinstance(value, int) or value <= said),
    "minItems": check("minItems", lambda said, value: not isinstance(value, list) or len(value) >= said),
    "maxItems": check("maxItems", lambda said, value: not isinstance(value, list) or len(value) <= said),
    **dict.fromkeys(("then", "description", "default", "format", "$schema", "title", "$defs"), lambda *_: iter(())),
}


def plain(value: Any) -> Any:
    """Return a document as JSON has it: keys are text."""
    if isinstance(value, Section):
        return {str(key): plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def test_the_published_file_is_current() -> None:
    assert TARGET.read_text("utf-8") == text(), "write it again: python -m collectors.profile_schema"


@pytest.mark.parametrize("path", sorted(PACKAGED.glob("*.yaml")), ids=lambda path: path.stem)
def test_it_takes_every_packaged_profile_and_shared_part(path: Path) -> None:
    assert list(breaches(SCHEMA, plain(read_document(path)))) == []


GOOD = {
    "profile": "x", "model": "M", "kind": "cdu", "protocol": "modbus", "source": "none",
    "transport": {"gap": 4},
    "groups": [{"each": {"units": [1]}, "points": [{"to": "coolant.ph", "at": "input:0"}]}],
}  # fmt: skip


def changed(path: tuple[Any, ...], value: Any) -> Any:
    made = json.loads(json.dumps(GOOD))
    here = made
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
    return made


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("grups",), []),
        (("protocol",), "modbuss"),
        (("transport",), {"max_spam": 4}),
        (("transport",), {"gap": -1}),
        (("groups", 0, "each"), {"unit": [1]}),
        (("groups", 0, "points", 0, "to"), "coolant.phh"),
        (("groups", 0, "points", 0, "unit"), "kW"),
        (("groups", 0, "points", 0, "tags"), {"phase": "L1"}),
        (("groups", 0, "points", 0, "scale"), "ten"),
        (("groups", 0, "points", 0), {"to": "coolant.ph"}),
        (("derived",), [{"to": "coolant.heat_watts", "heat": "pg52"}]),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_it_refuses_what_does_not_load(path: tuple[Any, ...], value: Any) -> None:
    assert list(breaches(SCHEMA, GOOD)) == []
    assert list(breaches(SCHEMA, changed(path, value)))


def keys_of(protocol: str, section: str) -> set[str]:
    (rule,) = [r["then"] for r in SCHEMA["allOf"] if r["if"]["properties"]["protocol"]["const"] == protocol]
    within = rule["properties"]["groups"]["items"]["properties"] if section == "each" else rule["properties"]
    own = within[section]
    own = SCHEMA["$defs"][own["$ref"].rpartition("/")[2]] if "$ref" in own else own
    assert own["additionalProperties"] is False
    return set(own["properties"])


@pytest.mark.parametrize("protocol", get_args(Protocol))
@pytest.mark.parametrize("section", ["transport", "match", "each"])
def test_its_keys_are_those_that_the_protocol_takes(tmp_path: Path, protocol: str, section: str) -> None:
    """A key that no protocol has is refused with the list of those that it has."""
    each = "{zzqqj: 1}" if section == "each" else "{}"
    (tmp_path / "x.yaml").write_text(
        f"profile: x\nmodel: M\nkind: k\nprotocol: {protocol}\nsource: s\n"
        + (f"{section}: {{zzqqj: 1}}\n" if section != "each" else "")
        + f"groups:\n  - each: {each}\n    points: [{{to: coolant.ph, at: '1.3'}}]\n",
        "utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        load_profile("x", [tmp_path])
    (hint,) = [p.hint for p in caught.value.problems if p.key.endswith(".zzqqj")]
    known = hint.removeprefix("allowed: ").split(", ") if hint.startswith("allowed: ") else []
    if known:
        assert set(known) == keys_of(protocol, section)
    else:  # none at all, or one that the hint shows in use
        assert all(key in hint for key in keys_of(protocol, section))


def test_editors_show_what_the_comments_of_the_models_say() -> None:
    said = remarks(PointSpec)
    assert said["to"] == "measurement.field of the schema"
    own = SCHEMA["$defs"]["PointSpec"]["properties"]
    assert own["null_if"]["description"] == 'raw values that mean "no value", before scaling'
    assert all("description" in own[name] for name in said)


def test_it_knows_every_field_of_the_schema() -> None:
    paths = SCHEMA["$defs"]["PointSpec"]["properties"]["to"]["enum"]
    assert len(paths) == sum(len(own.fields) for own in MEASUREMENTS.values())
