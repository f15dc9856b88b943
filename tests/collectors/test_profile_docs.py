"""The reference of the profile format: every key stands in it, and every example in it loads."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.profile import load_profile
from collectors.profile_model import Derived, Group, PointSpec, Poll, Profile
from collectors.units import fitting_units
from storage.schema import UNITS

TEXT = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text("utf-8")
BLOCKS = [(found[1], found[2]) for found in re.finditer(r"```yaml ?([^\n]*)\n(.*?)```", TEXT, re.DOTALL)]
HEAD = "profile: x\nmodel: M\nkind: k\nsource: none\nprotocol: {}\ngroups:\n  - each: {}\n    points:\n{}"
#: what the examples of derived values are made from
INPUTS = (
    "power.active_watts power.voltage_volts power.current_amperes bus.voltage_volts coolant.temperature_celsius "
    "coolant.pressure_pascals coolant.flow_liters_per_second environment.temperature_celsius environment.humidity_ratio"
)


def indented(lines: str, by: int) -> str:
    return "".join(" " * by + line + "\n" for line in lines.splitlines())


def whole(kind: str, block: str) -> str:
    """Return a profile that holds the example."""
    if kind == "derived":
        points = "".join(f"- {{to: {path}, at: 'input:{n}'}}\n" for n, path in enumerate(INPUTS.split()))
        return HEAD.format("modbus", "{}", indented(points, 6)) + "derived:\n" + indented(block, 2)
    if kind.startswith("points"):
        protocol, _, each = kind.removeprefix("points ").partition(" each ")
        return HEAD.format(protocol, each or "{}", indented(block, 6))
    return block


def examples() -> Iterator[tuple[str, str]]:
    for kind, block in BLOCKS:
        text = whole(kind, block)
        found = re.search(r"^profile: (\w+)$", text, re.MULTILINE)
        yield found[1] if found else "_acme", text


@pytest.mark.parametrize("name", [name for name, _ in examples() if name not in ("x", "_acme")])
def test_an_example_of_a_profile_loads(tmp_path: Path, name: str) -> None:
    for stem, text in examples():
        (tmp_path / f"{stem}.yaml").write_text(text, "utf-8")
    assert load_profile(name, [tmp_path]).profile == name


@pytest.mark.parametrize(("kind", "block"), [found for found in BLOCKS if found[0]], ids=lambda text: text[:12])
def test_an_example_of_readings_loads(tmp_path: Path, kind: str, block: str) -> None:
    (tmp_path / "x.yaml").write_text(whole(kind, block), "utf-8")
    assert load_profile("x", [tmp_path]).groups


def test_both_groups_of_the_shared_example_are_read(tmp_path: Path) -> None:
    for stem, text in examples():
        (tmp_path / f"{stem}.yaml").write_text(text, "utf-8")
    groups = load_profile("acme_small", [tmp_path]).groups
    assert [spec.to for group in groups for spec in group.points] == ["coolant.level_ratio", "coolant.valve_ratio"]


@pytest.mark.parametrize("model", [Profile, Group, PointSpec, Derived, Poll])
def test_every_key_is_explained_and_shown(model: type[Profile | Group | PointSpec | Derived | Poll]) -> None:
    shown = " ".join(text for _, text in examples())
    for key in model.model_fields:
        assert f"`{key}`" in TEXT, key
        # the cadence of the medium tier is the one that no example changes
        assert key == "medium" or re.search(rf"\b{key}:", shown), key


def test_every_unit_is_named() -> None:
    for base in UNITS:
        assert all(f"`{unit}`" in TEXT for unit in fitting_units(base)), base
