"""Time series: what a chart shows is declared here; the browser draws it from the history, in the theme it is in."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

#: How a quantity in base units is written: `dashboard/assets/20-format.js` holds the units and the decimals of each.
Form = Literal[
    "power",
    "rate",
    "yield",
    "count",
    "percent",
    "celsius",
    "ratio",
    "volts",
    "cost",
    "flow",
    "bits",
    "share",
    "packets",
]

#: On every graph. Without showSendToCloud and plotlyServerURL, plotly.js 4 offers to upload the data to its vendor.
CONFIG: Mapping[str, Any] = {
    "displayModeBar": False,
    "displaylogo": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "showTips": False,
    "responsive": False,
    "doubleClick": False,
    "scrollZoom": False,
    "locale": "en",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: a series of the history and the name at its end ("" writes the value alone)."""

    series: str
    name: str = ""
    colour: Literal["data", "data2", "data3", "accent"] = "data"


@dataclass(frozen=True, slots=True)
class Chart:
    """A time series over the last hour; `bound` names the live number whose target or limit is drawn in."""

    title: str
    form: Form
    lines: Sequence[Line]
    bound: str = ""
    #: which side of the target is good
    better: Literal["high", "low", ""] = ""
    #: the axis begins at 0
    from_zero: bool = False

    def spec(self) -> dict[str, Any]:
        """Return the declaration as the script reads it."""
        return asdict(self)


def template(colours: Mapping[str, str], font: str) -> dict[str, Any]:
    """Return the Plotly template of a theme: transparent, horizontal grid only, no zoom, lines of 2 px."""
    axis = {
        "gridcolor": colours["grid"],
        "gridwidth": 1,
        "zeroline": False,
        "showline": False,
        "ticks": "",
        "fixedrange": True,
        "tickfont": {"color": colours["faint"]},
    }
    return {
        "layout": {
            "font": {"family": font, "color": colours["dim"]},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": [colours[name] for name in ("data", "data2", "data3", "accent")],
            "showlegend": False,
            "hovermode": "x unified",
            "hoverlabel": {
                "bgcolor": colours["raised"],
                "bordercolor": colours["line"],
                "font": {"family": font, "color": colours["text"]},
            },
            "xaxis": {**axis, "type": "date", "showgrid": False, "tickformat": "%H:%M"},
            "yaxis": {**axis, "nticks": 5},
            "uirevision": "keep",
            "dragmode": False,
            "separators": ".\u2009",
        },
        "data": {"scatter": [{"type": "scatter", "mode": "lines", "line": {"width": 2}}]},
    }
