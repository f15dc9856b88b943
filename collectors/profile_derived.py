"""What can be wrong with the derived values of a profile (`collectors/derived.py` says what each rule does)."""

from collections.abc import Iterator, Mapping

from collectors.profile_model import Derived, Mistake, Profile
from collectors.profile_names import tag_mistakes, unknown_field, value_mistakes
from storage.config import InvalidValueError, suggest
from storage.schema import MEASUREMENTS, field_of

#: rule -> the one field that it gives
_GIVES = {
    "heat": "coolant.heat_watts",
    "approach": "coolant.approach_celsius",
    "dew_margin": "coolant.dew_margin_celsius",
    "dew_point": "environment.dew_point_celsius",
    "poles": "bus.imbalance_ratio",
}
_TEMPERATURE = "coolant.temperature_celsius"
#: rule -> the fields that it is made from
_TAKES = {
    "heat": ("coolant.flow_liters_per_second", _TEMPERATURE),
    "approach": (_TEMPERATURE,),
    "dew_margin": (_TEMPERATURE,),
    "dew_point": ("environment.temperature_celsius", "environment.humidity_ratio"),
    "poles": ("bus.voltage_volts",),
}
#: rules whose tags may be `{tag}`
_GROUPING = ("sum", "median", "imbalance", "quotient")


def derived_mistakes(profile: Profile) -> Iterator[Mistake]:
    """Yield what is wrong with each derived value: its names, its units, inputs that nothing gives."""
    given = {spec.to for group in profile.groups for spec in group.points}
    # A misspelt point would be told twice.
    misspelt = any(unknown_field(path) for path in given)
    for number, rule in enumerate(profile.derived):
        at = ("derived", number)
        found = list(_rule_mistakes(at, rule))
        yield from found or (() if misspelt else _input_mistakes(at, rule, given))
        given.add(rule.to)


def rule_of(rule: Derived) -> str:
    """Return the name of its rule."""
    return next(
        name for name in type(rule).model_fields if name not in ("to", "tags") and getattr(rule, name) is not None
    )


def _source(rule: Derived) -> tuple[str, tuple[Mapping[str, str], ...]]:
    """Return the field that a rule over rows takes, and its patterns."""
    if rule.sum is not None:
        return rule.to, (rule.sum,)
    for of_rows in (rule.median, rule.imbalance, rule.quotient):
        if of_rows is not None:
            return of_rows[0], of_rows[1:]
    return (rule.difference[0] if rule.difference else rule.to), ()


def _rule_mistakes(at: tuple[object, ...], rule: Derived) -> Iterator[Mistake]:
    if wrong := unknown_field(rule.to):
        yield (*at, "to"), wrong
        return
    name = rule_of(rule)
    measurement = rule.to.partition(".")[0]
    yield from tag_mistakes((*at, "tags"), rule.tags, measurement)
    yield from value_mistakes((*at, "tags"), rule.tags, measurement)
    gives = _GIVES.get(name, rule.to)
    if rule.to != gives:
        yield (*at, "to"), InvalidValueError(f"{name} goes to {gives}", f"write to: {gives}")
    path, patterns = _source(rule)
    if wrong := unknown_field(path):
        yield (*at, name, 0), wrong
        return
    for number, pattern in enumerate(patterns, start=1):
        yield from tag_mistakes((*at, name) if name == "sum" else (*at, name, number), pattern, path.partition(".")[0])
    yield from _place_mistakes(at, rule, name, path)
    yield from _unit_mistakes(at, rule, name, path)


def _place_mistakes(at: tuple[object, ...], rule: Derived, name: str, path: str) -> Iterator[Mistake]:
    """Yield tags that cannot be filled in, and points or loops that are one and the same."""
    known = MEASUREMENTS[path.partition(".")[0]].tags
    for tag, text in rule.tags.items():
        if "{" not in text:
            continue
        if name not in _GROUPING:
            reason = f"{name} keeps the tags of its rows: {text!r} is not filled in"
            yield (*at, "tags", tag), InvalidValueError(reason, "leave it out")
        elif text[1:-1] not in known or text != f"{{{text[1:-1]}}}":
            yield (*at, "tags", tag), InvalidValueError(f"{text!r} is no tag of {path}", suggest(text[1:-1], known))
    if rule.difference and path.partition(".")[0] != rule.to.partition(".")[0]:
        hint = f"{rule.to.partition('.')[0]}.…"
        yield (*at, "difference", 0), InvalidValueError("is of another measurement than `to`", hint)
    pair = rule.approach or rule.poles or (rule.difference or ())[1:]
    if pair and pair[0] == pair[1]:
        yield (*at, name), InvalidValueError(f"both are {pair[0]!r}", "name two different ones")


def _unit_mistakes(at: tuple[object, ...], rule: Derived, name: str, path: str) -> Iterator[Mistake]:
    unit, own = field_of(rule.to).unit, field_of(path).unit
    if name in ("imbalance", "quotient") and unit != "ratio":
        yield (*at, "to"), InvalidValueError(f"{name} is a ratio, {rule.to} is not", "name a field that ends in _ratio")
    elif name in ("median", "difference") and unit != own:
        reason = f"{path} is in {own or 'no unit'}, {rule.to} in {unit or 'no unit'}"
        yield (*at, "to"), InvalidValueError(reason, "take fields of one unit")


def _input_mistakes(at: tuple[object, ...], rule: Derived, given: set[str]) -> Iterator[Mistake]:
    """Yield fields that the rule is made from and that neither a point nor a rule before it gives."""
    name = rule_of(rule)
    for path in _TAKES.get(name, (_source(rule)[0],)):
        if path not in given:
            yield (*at, name), InvalidValueError(f"nothing in this profile gives {path}", "add a point for it")
            return
    air = {"environment.dew_point_celsius", *_TAKES["dew_point"]}
    if rule.dew_margin and not air & given:
        hint = "add a point for environment.dew_point_celsius, or for temperature_celsius and humidity_ratio"
        yield (*at, name), InvalidValueError("nothing in this profile tells of the air", hint)
