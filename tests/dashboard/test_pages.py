"""What the pages declare fits what the script draws, and what the contract promises."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from plotly.offline import get_plotlyjs_version
from plotly.utils import PlotlyJSONEncoder

from dashboard import figures, theme
from dashboard.components import Tile
from dashboard.pages import efficiency, fabric, facilities, wall

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "dashboard" / "assets"
OURS = sorted(ASSETS.glob("*.js"))
CONTRACT = (ROOT / "docs" / "contracts.md").read_text()
PAGES = [wall, facilities, efficiency, fabric]


def widgets(component: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and declaration of every container that the script fills."""
    properties = component.to_plotly_json()["props"] if hasattr(component, "to_plotly_json") else {}
    if "data-widget" in properties:
        yield properties["data-widget"], json.loads(properties["data-spec"])
    children = properties.get("children") or []
    for child in children if isinstance(children, (list, tuple)) else [children]:
        yield from widgets(child)


ALL = [found for page in PAGES for found in widgets(page.layout())]


def numbers_of(spec: dict[str, Any]) -> set[str]:
    parts = [spec, *(spec.get(key) or {} for key in ("unit", "side", "bound") if isinstance(spec.get(key), dict))]
    return {part["number"] for part in parts if "number" in part}


def test_every_widget_of_a_page_is_drawn_by_the_script() -> None:
    script = "".join(path.read_text() for path in OURS)
    assert {name for name, _spec in ALL} == set(re.findall(r"TokenWatt\.widgets\.(\w+) = function", script))


def test_every_number_on_a_tile_is_one_of_the_contract() -> None:
    named = {number for name, spec in ALL if name == "tile" for number in numbers_of(spec)}
    named |= {stage["number"] for stage in efficiency.STAGES} | {name for name, _label, _form in efficiency.FORMULAS}
    promised = CONTRACT.split("Names: `")[1].split("`")[0].split()
    assert len(named) > 15
    assert named <= set(promised)


def test_every_series_is_one_of_the_contract() -> None:
    series = {spec["history"] for name, spec in ALL if name == "tile" and "history" in spec}
    series |= {line["series"] for name, spec in ALL if name == "chart" for line in spec["lines"]}
    promised = CONTRACT.split('"series": {')[1].split("}}")[0]
    assert len(series) > 5
    assert series <= set(re.findall(r'"(\w+)"', promised))


def test_every_series_and_metric_of_the_fabric_is_one_of_the_contract() -> None:
    series = {
        line["series"] for name, spec in ALL if name == "port" for chart in spec["charts"] for line in chart["lines"]
    }
    promised = CONTRACT.split('"series": {"start"')[1].split("}")[0]
    assert len(series) == 4
    assert series <= set(re.findall(r'"(\w+)"', promised))
    columns = set(re.findall(r'(?:column|number)\("(\w+)"', (ASSETS / "85-worst.js").read_text()))
    row = CONTRACT.split('"worst": [{')[1].split("}]}")[0]
    assert len(columns) == 17
    assert columns <= set(re.findall(r'"(\w+)":', row))


def test_every_tile_of_the_fabric_is_counted_by_the_script() -> None:
    tiles = (ASSETS / "82-fabric-tiles.js").read_text().split("const TILES = {")[1].split("\n  };")[0]
    shown = {spec["show"] for name, spec in ALL if name == "fabric_tile"}
    assert shown == set(re.findall(r"^    (\w+)[(:]", tiles, re.MULTILINE))


def test_the_table_of_ports_is_of_the_community_and_is_served_from_here() -> None:
    json_text = json.dumps(fabric.layout(), cls=PlotlyJSONEncoder)
    assert "enableEnterpriseModules" not in json_text
    assert "licenseKey" not in json_text
    assert not re.search(r"https?:", json_text)


def test_every_form_is_known_to_the_script() -> None:
    known = (ASSETS / "20-format.js").read_text().split("const FORMS = {")[1].split("\n  };")[0]
    assert set(get_args(figures.Form)) <= set(re.findall(r"^    (\w+):", known, re.MULTILINE))


def test_a_tile_declares_only_what_is_set() -> None:
    assert Tile("PUE", "pue", "ratio").spec() == {"label": "PUE", "number": "pue", "form": "ratio"}


def test_both_themes_have_the_same_tokens() -> None:
    assert theme.DARK.keys() == theme.LIGHT.keys()
    sheet = theme.stylesheet()
    used = set(re.findall(r"var\(--(\w+)\)", "".join(path.read_text() for path in ASSETS.glob("*.css"))))
    local = {"edge", "ink"}  # set in the style sheet itself
    assert used - local <= set(re.findall(r"--(\w+):", sheet))


def luminance(colour: str) -> float:
    """Return the relative luminance of `#rrggbb` (WCAG 2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [theme.DARK, theme.LIGHT], ids=["dark", "light"])
def test_text_is_readable(colours: dict[str, str]) -> None:
    for name in ("text", "dim", "faint", "p1t", "p2t", "p3t", "p4t"):
        assert contrast(colours[name], colours["surface"]) >= 4.5, name
    for priority in "1234":
        assert contrast(colours[f"p{priority}i"], colours[f"p{priority}"]) >= 4.5, priority
    for name in ("data", "data2", "data3", "p1b", "p2b", "p3b", "p4b"):
        assert contrast(colours[name], colours["surface"]) >= 3.0, name


def test_no_graph_offers_to_upload_its_data() -> None:
    script = json.loads(theme.script().removeprefix("window.TOKENWATT_THEME = ").rstrip(";\n"))
    assert script["config"]["showSendToCloud"] is False
    assert script["config"]["plotlyServerURL"] == ""
    assert script["config"]["displayModeBar"] is False
    assert set(script["themes"]) == {"dark", "light"}


def test_plotly_in_the_browser_is_the_one_python_knows() -> None:
    head = (ASSETS / "vendor" / "plotly-basic.min.js").read_text(encoding="utf-8")[:200]
    assert f"v{get_plotlyjs_version()}\n" in head
    assert "plotly.js (basic" in head


@pytest.mark.parametrize(("file", "words"), [("plotly-basic", "MIT License"), ("inter", "SIL OPEN FONT LICENSE")])
def test_what_others_made_carries_its_licence(file: str, words: str) -> None:
    assert words in (ASSETS / "vendor" / f"{file}.LICENSE.txt").read_text()


@pytest.mark.parametrize("path", [*OURS, *sorted(ASSETS.glob("*.css"))], ids=lambda path: path.name)
def test_assets_ask_no_other_host_and_use_no_eval(path: Path) -> None:
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|@import|\beval\(|new Function|innerHTML", text)


def test_nothing_of_a_page_reaches_dash_as_an_input() -> None:
    """dash-renderer 4.4.1 keeps every value of an Input for ever (facts/dash.md 2.3a): the live payload passes none."""
    for path in [*(ROOT / "dashboard" / "pages").glob("*.py"), ROOT / "dashboard" / "components.py"]:
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert not names & {"Input", "Store", "Interval", "clientside_callback"}, path.name
    assert "set_props" not in "".join(path.read_text() for path in OURS)
