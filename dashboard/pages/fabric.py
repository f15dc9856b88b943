"""Fabric: every port of every switch, the ports that cost GPUs their time, and how well each switch can be seen."""

from dash import html

from dashboard.components import Component, card, header, table, widget
from dashboard.figures import Chart, Line

#: The script reaches the table by this name: dash_ag_grid.getApiAsync
TABLE = "fabric-worst"
#: name -> what stands on its label; the script counts. `near`: left out on a wall that is read from afar.
TILES = (
    ("switches", "Switches ok", "span-2"),
    ("ports", "Ports up", "span-2"),
    ("abnormal", "Abnormal ports", "span-2"),
    ("pause", "Highest pause", "span-2"),
    ("busiest", "Highest use", "span-2 near"),
    ("power", "Switch power", "span-2 near"),
)
#: Over the last hour, out of the port's own answer
PORT_CHARTS = (
    Chart(
        "Traffic", "bits", [Line("rx_bits_per_second", "rx", "data3"), Line("tx_bits_per_second", "tx")], from_zero=True
    ),
    Chart("Pause", "share", [Line("pause_ratio")], from_zero=True),
    Chart("Discards", "packets", [Line("discards_per_second")], from_zero=True),
)


def layout(**_: str) -> Component:
    """Return the page: six tiles, ports by switch, worst ports, the switches themselves, and one port's drawer."""
    return html.Div(
        [
            header("/fabric"),
            html.Main(
                [
                    html.Div([html.H1("Fabric"), widget("fabric_note", look="window")], className="heading-row"),
                    *[
                        widget("fabric_tile", {"show": show, "label": label}, look=f"card tile {area}", role="group")
                        for show, label, area in TILES
                    ],
                    _ports(),
                    card(
                        "Worst ports",
                        [widget("worst", {"table": TABLE}, look="toolbar"), table(TABLE)],
                        area="span-12 worst",
                        aside=True,
                    ),
                    card("Switches", widget("switches"), area="span-12 switches", aside=True),
                ],
                className="page fabric",
            ),
            widget("port", {"charts": [chart.spec() for chart in PORT_CHARTS]}, look="drawer"),
        ]
    )


def _ports() -> Component:
    heading = html.H2([html.Span("Ports by switch"), html.Small(), html.Div(className="legend")])
    return html.Section([heading, widget("metrics", look="metrics"), widget("ports")], className="card span-12 ports")
