"""Drafts of profiles: a device is walked, what packaged profiles know of it is mapped, the rest stands as comments.

A draft loads without a mistake. Nothing is guessed: a reading that no packaged profile knows by its address, its
property's name or its point type becomes a comment line with the value seen, ready to be completed. How a device is
walked stands in `collectors/<protocol>_draft.py`, each of which offers

    async def draft(target: Target, library: Library, walk: Walk) -> Draft
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import yaml

from collectors.collector import CollectError, Target
from collectors.profile import Group, Library, PointSpec
from collectors.reading import own_tags
from collectors.recording import PROTOCOLS

_VARIABLE = re.compile(r"\{(\w+)\}")
_REMOVE = "# delete [] and take the # from a line below once it says where it goes"


@dataclass(frozen=True, slots=True)
class Walk:
    """How far a device is walked."""

    #: Modbus: unit id, the first and last register that is asked for, and the first and last input and coil
    unit: int = 1
    registers: tuple[int, int] = (0, 199)
    inputs: tuple[int, int] = (0, 63)
    #: MQTT: how long to listen. Units: s
    listen_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Found:
    """One reading of a device."""

    at: str
    #: the value seen, for the comment behind it
    seen: str
    #: keys of the point beside `at`; without `to` it is not known where it goes
    point: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DraftGroup:
    """Readings that share their rows; each carries its own tags."""

    each: Mapping[str, Any]
    found: Sequence[Found]


@dataclass(frozen=True, slots=True)
class Draft:
    """What a walk found, as a profile and as a recording."""

    protocol: str
    model: str
    groups: Sequence[DraftGroup]
    #: the protocol's own part of a recording
    answers: Any
    match: Mapping[str, Any] = field(default_factory=dict)
    transport: Mapping[str, Any] = field(default_factory=dict)
    #: what a person should know before going on, a line each
    notes: Sequence[str] = ()


async def draft(target: Target, library: Library, walk: Walk) -> Draft:
    """Return the draft of a profile for a device.

    Raises:
        CollectError: it does not answer, has nothing to draft from, or speaks a protocol without a walk.
    """
    if target.protocol not in PROTOCOLS:
        raise CollectError(
            f"{target.name}: {target.protocol} is not walked, only {', '.join(PROTOCOLS)}; "
            "write the profile by hand: docs/profiles.md"
        )
    made: Draft = await import_module(f"collectors.{target.protocol}.draft").draft(target, library, walk)
    return made


def known_points(library: Library, protocol: str) -> Mapping[str, Sequence[tuple[Group, PointSpec]]]:
    """Return what the library's profiles of a protocol know of each address."""
    known: dict[str, list[tuple[Group, PointSpec]]] = {}
    for profile in library.of_protocol(protocol):
        for group in profile.groups:
            for spec in group.points:
                for address in spec.addresses:
                    known.setdefault(address, []).append((group, spec))
    return known


def as_keys(group: Group, spec: PointSpec, variables: Collection[str] | None = None) -> Mapping[str, Any]:
    """Return a point as it is written outside its group, without `at` and without tags of other row variables."""
    keys = {name: value for name, value in spec.model_dump(exclude_defaults=True).items() if name not in ("at", "hint")}
    tags = own_tags(group, spec, spec.to.partition(".")[0])
    kept = {
        name: text for name, text in tags.items() if variables is None or set(_VARIABLE.findall(text)) <= set(variables)
    }
    return {**{name: value for name, value in keys.items() if name != "tags"}, **({"tags": kept} if kept else {})}


def _plain(value: Any) -> Any:
    """Return a value with lists for tuples and plain mappings, as YAML writes them."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


def without_doubles(found: Iterable[Found]) -> list[Found]:
    """Return the readings, of two that go to the same field and tags the second as unknown: a profile has one."""
    taken: set[str] = set()
    kept = []
    for each in found:
        series = f"{each.point.get('to')} {sorted(each.point.get('tags', {}).items())} {each.point.get('flags')}"
        doubled = "to" in each.point and series in taken
        taken.add(series)
        kept.append(Found(each.at, each.seen) if doubled else each)
    return kept


def write_profile(draft: Draft, name: str, kind: str, source: str) -> str:
    """Return a draft as the text of the profile `name`."""
    head = {"profile": name, "model": draft.model, "kind": kind, "protocol": draft.protocol, "source": source}
    lines = [*(f"# {note}" for note in draft.notes), yaml.safe_dump(head, sort_keys=False, width=10_000).rstrip()]
    lines += [f"{key}: {flow(part)}" for key, part in _switches(draft).items()]
    lines += ["poll: {fast: 10s, slow: 300s}", "", "groups:"]
    for group in draft.groups:
        lines += _group_lines(group)
    return "\n".join(lines) + "\n"


def _switches(draft: Draft) -> Mapping[str, Mapping[str, Any]]:
    return {key: part for key, part in (("match", draft.match), ("transport", draft.transport)) if part}


def _group_lines(group: DraftGroup) -> list[str]:
    found = without_doubles(group.found)
    empty = not any("to" in each.point for each in found)
    lines = [f"  - each: {flow(group.each)}"]
    lines.append(f"    points: []  {_REMOVE}" if empty else "    points:")
    for each in found:
        keys = {"to": each.point.get("to"), "at": each.at, **each.point}
        sign = "- " if "to" in each.point else "#- "
        told = flow(keys).replace("to: null", "to: ?.?", 1)
        lines.append(f"      {sign}{told}  # {each.seen}")
    return lines


class _Dumper(yaml.SafeDumper):
    """YAML that puts addresses in double quotes, as profiles do."""


def _written(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if ":" in text or "%" in text else None)


_Dumper.add_representer(str, _written)


def flow(value: Any) -> str:
    """Return a value as one line of YAML."""
    text: str = yaml.dump(_plain(value), Dumper=_Dumper, default_flow_style=True, sort_keys=False, width=100_000)
    return text.strip().removesuffix("...").strip()


def write_recording(draft: Draft, name: str, source: str, options: Mapping[str, str]) -> str:
    """Return what was seen as the text of a recording that `tokenwatt profile test` plays; nothing is expected yet."""
    head: dict[str, Any] = {"profile": name, "source": source, **({"options": dict(options)} if options else {})}
    return yaml.safe_dump(head, sort_keys=False, width=10_000) + _answer_lines(draft)


def _answer_lines(draft: Draft) -> str:
    lines = [f"{draft.protocol}:"]
    if draft.protocol == "mqtt":
        lines += [f"  - {flow(message)}" for message in draft.answers]
    elif draft.protocol == "modbus":
        for unit, tables in draft.answers.items():
            lines.append(f"  {unit}:")
            for table, runs in tables.items():
                lines += [f"    {table}:", *(f"      {first}: {flow(values)}" for first, values in runs.items())]
    else:
        lines += [f"  {key}: {flow(value)}" for key, value in draft.answers.items()]
    return "\n".join(lines) + "\n"


def shown(value: object) -> str:
    """Return a value seen as it stands in a comment: short, on one line."""
    text = f"{value:.6g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
