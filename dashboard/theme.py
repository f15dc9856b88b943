"""Colours, type and space of every page: one table, out of which the style sheet and the script take their values."""

import json
from collections.abc import Mapping

from dashboard.figures import CONFIG, template

FONT = "Inter, 'Inter Variable', system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"

#: p1 to p4 are alarm priorities: fill, i ink on the fill, t text, b border. c0 to c1 is the ramp of a GPU's activity.
DARK: Mapping[str, str] = {
    "bg": "#121519",
    "surface": "#1A1E23",
    "raised": "#22272E",
    "line": "#2C333B",
    "grid": "#252B32",
    "text": "#E9ECEF",
    "dim": "#A3ADB8",
    "faint": "#7C8793",
    "data": "#9DB0C4",
    "data2": "#5F7388",
    "data3": "#C9D4DF",
    "band": "#242B33",
    "accent": "#5FA3DC",
    "focus": "#8CC4F5",
    "p1": "#F2474F",
    "p2": "#FF9A2E",
    "p3": "#FFEE8C",
    "p4": "#6FB7F2",
    "p1i": "#111418",
    "p2i": "#111418",
    "p3i": "#111418",
    "p4i": "#111418",
    "p1t": "#FF8A8F",
    "p2t": "#FFB15C",
    "p3t": "#FFEE8C",
    "p4t": "#9CCFF7",
    "p1b": "#F2474F",
    "p2b": "#FF9A2E",
    "p3b": "#FFEE8C",
    "p4b": "#6FB7F2",
    "chip": "transparent",
    "c0": "#20262D",
    "c1": "#8CA4BC",
    "pipe": "#6E7D8C",
    "pipe2": "#46515C",
    "eq": "#2A3138",
    "eqline": "#7C8793",
}
LIGHT: Mapping[str, str] = {
    "bg": "#E6E9EC",
    "surface": "#F5F6F8",
    "raised": "#FFFFFF",
    "line": "#CDD3D9",
    "grid": "#DDE1E6",
    "text": "#15191D",
    "dim": "#495460",
    "faint": "#5C6772",
    "data": "#4E647A",
    "data2": "#76889A",
    "data3": "#2C3E50",
    "band": "#E3E8ED",
    "accent": "#1B62A5",
    "focus": "#1B62A5",
    "p1": "#B3122C",
    "p2": "#F08A24",
    "p3": "#FFE14D",
    "p4": "#2A75B8",
    "p1i": "#FFFFFF",
    "p2i": "#111418",
    "p3i": "#111418",
    "p4i": "#FFFFFF",
    "p1t": "#A50F28",
    "p2t": "#8F4700",
    "p3t": "#665400",
    "p4t": "#1B5E9B",
    "p1b": "#B3122C",
    "p2b": "#C2640A",
    "p3b": "#9A7B00",
    "p4b": "#2A75B8",
    "chip": "rgba(17,20,24,.55)",
    "c0": "#DFE4E9",
    "c1": "#4E6A86",
    "pipe": "#6B7A89",
    "pipe2": "#A9B4BF",
    "eq": "#FFFFFF",
    "eqline": "#6B7A89",
}


def stylesheet() -> str:
    """Return the tokens as CSS custom properties, dark unless the page says light."""

    def block(selector: str, values: Mapping[str, str]) -> str:
        return selector + " {\n" + "".join(f"  --{name}: {value};\n" for name, value in values.items()) + "}\n"

    return (
        block(":root", {"font": FONT})
        + block(":root, [data-theme=dark]", {**DARK, "scheme": "dark"})
        + block("[data-theme=light]", {**LIGHT, "scheme": "light"})
    )


def script() -> str:
    """Return the tokens as a script that sets `window.TOKENWATT_THEME`: colours and Plotly template of both themes."""
    themes = {
        name: {"colours": dict(colours), "template": template(colours, FONT)}
        for name, colours in (("dark", DARK), ("light", LIGHT))
    }
    return f"window.TOKENWATT_THEME = {json.dumps({'themes': themes, 'config': CONFIG})};\n"
