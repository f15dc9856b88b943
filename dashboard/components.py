"""Parts of a page: empty containers with a declaration, which the script in `assets/` fills from the snapshot."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dash import dcc, html
from dash_ag_grid import AgGrid

from dashboard.figures import Chart, Form

#: name, path and order of the pages: the keys 1, 2, 3, 4 follow it
PAGES = (("Wall", "/"), ("Facilities", "/facilities"), ("Efficiency", "/efficiency"), ("Fabric", "/fabric"))

#: What the script cannot change later: identity of rows, height of lines, no movement.
TABLE_OPTIONS = {
    "animateRows": False,
    "suppressColumnMoveAnimation": True,
    "suppressDragLeaveHidesColumns": True,
    "enableCellTextSelection": True,
    "ensureDomOrder": True,
    "loading": False,
    "tooltipShowDelay": 300,
}

Component = Any  # Dash's components are generated classes without types


@dataclass(frozen=True, slots=True)
class Shown:
    """A live number and the form it is written in; `text` wraps it, as in "{} headroom"."""

    number: str
    form: Form
    text: str = "{}"


@dataclass(frozen=True, slots=True)
class Tile:
    """One live number with its bound, what stands beside it, and its trend."""

    label: str
    number: str
    form: Form
    #: series of the history that is the trend
    history: str = ""
    #: where in the power chain it is measured; its coverage is then told beside it
    boundary: str = ""
    #: which side of the target is good
    better: Literal["high", "low", ""] = ""
    #: stands in the unit's place
    unit: Shown | None = None
    #: whose target or limit is shown, when not the number's own
    bound: Shown | None = None
    #: stands on the right; the change of the trend where there is none
    side: Shown | None = None
    #: the energy of a million tokens stands on the right
    energy: bool = False
    #: said where there is neither target nor limit
    note: str = ""

    def spec(self) -> dict[str, Any]:
        """Return the declaration as the script reads it, without what is not set."""
        return {key: value for key, value in asdict(self).items() if value}


def _named(label: str) -> dict[str, Any]:
    return {"aria-label": label}


def widget(name: str, spec: dict[str, Any] | None = None, *, look: str = "body", **attributes: Any) -> Component:
    """Return an empty container that the script's widget `name` fills."""
    data: dict[str, Any] = {"data-widget": name, "data-spec": json.dumps(spec or {})}
    return html.Div(className=look, **data, **attributes)


def tile(declared: Tile, *, area: str = "span-2") -> Component:
    """Return a tile."""
    return widget("tile", declared.spec(), look=f"card tile {area}", role="group")


def card(
    title: str, body: Component | Sequence[Component], *, area: str, note: str = "", aside: bool = False
) -> Component:
    """Return a card with a heading; `aside` adds a place at its right that the body's widget fills."""
    heading = [html.Span(title), html.Small(note)] + ([html.Span(className="aside")] if aside else [])
    return html.Section([html.H2(heading), *(body if isinstance(body, Sequence) else [body])], className=f"card {area}")


def chart(declared: Chart, *, area: str) -> Component:
    """Return a card with a time series."""
    return card(declared.title, widget("chart", declared.spec(), role="img"), area=f"{area} drawn")


def floor(*, area: str) -> Component:
    """Return the card of the GPU floor with its legend."""
    heading = html.H2([html.Span("GPU floor"), html.Div(className="legend")])
    return html.Section([heading, widget("floor")], className=f"card {area}")


def alarms(*, area: str) -> Component:
    """Return the card of active alarms."""
    return card("Active alarms", widget("alarms"), area=area, aside=True)


def scrolling(name: str, label: str, spec: dict[str, Any] | None = None) -> Component:
    """Return a container that scrolls by pointer and keyboard when there is more than fits."""
    return widget(name, spec, look="body scrolls", tabIndex=0, role="region", **_named(label))


def table(name: str) -> Component:
    """Return an empty table that sorts and filters; the script reaches it by its name."""
    grid = AgGrid(
        id=name,
        columnDefs=[],
        getRowId="params.data.id",
        dashGridOptions=TABLE_OPTIONS,
        className="ag-tokens",
        style={"height": "100%", "width": "100%"},
    )
    return html.Div(grid, className="table-room")


def header(current: str) -> Component:
    """Return the page's header: site, simulated or not, pages, alarm counts, freshness, clock, theme."""
    links = [
        dcc.Link(name, href=path, className="current" if path == current else "", title=f"{name} ({key})")
        for key, (name, path) in enumerate(PAGES, start=1)
    ]
    return html.Header(
        [
            html.Div([html.B(), html.Small()], className="site"),
            html.Div("Simulated data", className="simulated", role="note"),
            html.Div(className="wrong-site", hidden=True),
            html.Nav(links, **_named("Pages")),
            html.Div(className="grow"),
            widget("counts", look="counts", role="img"),
            html.Div(
                [html.Span(className="ring"), html.Span("Connecting", className="word")],
                className="freshness",
            ),
            html.Div([html.B(), html.Small("UTC")], className="clock"),
            html.Button(className="theme-switch", title="Light or dark (t)", **_named("Switch light or dark theme")),
        ],
        className="header",
    )
