"""Facilities: power from the meter to the rack, and heat from the rack to the water."""

from dash import html

from dashboard.components import Component, Shown, Tile, card, chart, header, scrolling, tile, widget
from dashboard.figures import Chart, Line

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
        side=Shown("coolant_flow_liters_per_second", "flow"),
        note="all CDUs",
    ),
    Tile(
        "Coolant supply",
        "coolant_supply_celsius",
        "celsius",
        "coolant_supply_celsius",
        better="low",
        note="warmest CDU",
    ),
    Tile(
        "Coolant return",
        "coolant_return_celsius",
        "celsius",
        "coolant_return_celsius",
        better="low",
        note="warmest CDU",
    ),
    Tile(
        "Bus voltage",
        "bus_volts_lowest",
        "volts",
        side=Shown("bus_volts_highest", "volts", "highest {}"),
        note="lowest rack",
    ),
)
POWER_SERIES = Chart("Power", "power", [Line("facility_watts", "site", "data3"), Line("it_watts", "IT")])
PUE_SERIES = Chart("PUE", "ratio", [Line("pue")], bound="pue", better="low")


def layout(**_: str) -> Component:
    """Return the page: six tiles, the coolant loops, leaks and alarms, rack load, power and PUE."""
    return html.Div(
        [
            header("/facilities"),
            html.Main(
                [
                    *[tile(declared) for declared in TILES],
                    card(
                        "Coolant loops",
                        scrolling("coolant", "Coolant loops"),
                        area="span-8 tall",
                        note="facility water to racks",
                    ),
                    card(
                        "Leaks and alarms",
                        [widget("leaks", look="leaks"), widget("alarms")],
                        area="span-4 tall",
                        aside=True,
                    ),
                    card(
                        "Rack load", scrolling("loads", "Rack load"), area="span-4 middle", note="mark: 95 % of rating"
                    ),
                    chart(POWER_SERIES, area="span-4 middle"),
                    chart(PUE_SERIES, area="span-4 middle"),
                ],
                className="page facilities",
            ),
        ]
    )
