"""Facilities: power from the feeds to the racks, heat from the racks to the water, and what of it is not believed."""

from dash import html

from dashboard.components import Component, Shown, Tile, card, chart, header, scrolling, table, tile, widget
from dashboard.figures import Chart, Line

#: The script reaches the table by this name: dash_ag_grid.getApiAsync
TABLE = "facility-racks"
TILES = (
    Tile("Site power", "facility_watts", "power", "facility_watts", better="low", note="site meter"),
    Tile(
        "IT power",
        "it_watts",
        "power",
        "it_watts",
        better="low",
        side=Shown("it_headroom_watts", "power", "{} headroom"),
        note="all racks",
    ),
    Tile(
        "Heat to liquid",
        "coolant_heat_watts",
        "power",
        side=Shown("liquid_heat_ratio", "percent", "{} of cooled racks"),
        note="all CDUs",
    ),
    Tile("Feed headroom", "feed_headroom_watts", "power", better="high", note="with the worst feed lost"),
    Tile("Bus headroom", "bus_headroom_ratio", "percent", better="high", note="worst rack, p99"),
    Tile(
        "Coolant supply",
        "coolant_supply_celsius",
        "celsius",
        "coolant_supply_celsius",
        better="low",
        side=Shown("coolant_return_celsius", "celsius", "return {}"),
        note="warmest CDU",
    ),
)
POWER_SERIES = Chart("Power", "power", [Line("facility_watts", "site", "data3"), Line("it_watts", "IT")])
PUE_SERIES = Chart("PUE", "ratio", [Line("pue")], bound="pue", better="low")


def layout(**_: str) -> Component:
    """Return the page: one screen of tiles, loops, power path and alarms; below it the tables; one rack's drawer."""
    return html.Div(
        [
            header("/facilities"),
            html.Main(
                [
                    html.Div([html.H1("Facilities"), widget("facility_note", look="window")], className="heading-row"),
                    *[tile(declared) for declared in TILES],
                    card(
                        "Coolant loops",
                        scrolling("coolant", "Coolant loops"),
                        area="span-8 loops",
                        note="facility water to racks",
                    ),
                    _alarms(),
                    card(
                        "Power path", scrolling("power_path", "Power path"), area="span-8 power", note="feeds to racks"
                    ),
                    card(
                        "Racks",
                        [widget("racks", {"table": TABLE}, look="toolbar"), table(TABLE)],
                        area="span-12 racks",
                        aside=True,
                    ),
                    card("Coolant units", widget("units"), area="span-12 plain", note="every reading of both loops"),
                    card("Meters and rack PDUs", widget("meters"), area="span-12 plain"),
                    card("Batteries", widget("batteries"), area="span-12 plain"),
                    card(
                        "Rack load", scrolling("loads", "Rack load"), area="span-4 middle", note="mark: 95 % of rating"
                    ),
                    chart(POWER_SERIES, area="span-4 middle"),
                    chart(PUE_SERIES, area="span-4 middle"),
                ],
                className="page facilities",
            ),
            widget("rack", look="drawer"),
        ]
    )


def _alarms() -> Component:
    """Return what needs somebody: leaks, alarms, and readings that contradict each other."""
    parts = [
        widget("leaks", look="leaks"),
        widget("alarms"),
        html.H3("Readings left out"),
        scrolling("doubts", "Readings left out"),
    ]
    return card("Leaks and alarms", parts, area="span-4 findings", aside=True)
