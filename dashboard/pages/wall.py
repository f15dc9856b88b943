"""The wall: one screen that says, from across the room, whether the factory does what it should."""

from dash import html

from dashboard.components import Component, Shown, Tile, alarms, chart, floor, header, tile
from dashboard.figures import Chart, Line

TOKENS_PER_WATT = Tile(
    "Tokens per watt", "tokens_per_joule_it", "yield", "tokens_per_joule_it", boundary="IT", better="high"
)
THROUGHPUT = Tile(
    "Throughput",
    "output_tokens_per_second",
    "rate",
    "output_tokens_per_second",
    better="high",
    note="output tokens",
)
IT_POWER = Tile(
    "IT power",
    "it_watts",
    "power",
    "it_watts",
    better="low",
    side=Shown("it_headroom_watts", "power", "{} headroom"),
    note="all racks",
)
GPUS_IDLE = Tile(
    "GPUs idle",
    "gpus_idle",
    "count",
    "gpus_idle",
    better="low",
    unit=Shown("gpus_idle_ratio", "percent"),
    bound=Shown("gpus_idle_ratio", "percent"),
    side=Shown("idle_cost_per_hour", "cost", "{} / h"),
    note="parked or free",
)
PUE = Tile("PUE", "pue", "ratio", "pue", better="low", note="site over IT energy")
COOLANT_SUPPLY = Tile(
    "Coolant supply",
    "coolant_supply_celsius",
    "celsius",
    "coolant_supply_celsius",
    better="low",
    side=Shown("coolant_return_celsius", "celsius", "return {}"),
)
TOKENS_PER_WATT_SERIES = Chart(
    "Tokens per watt", "yield", [Line("tokens_per_joule_it")], bound="tokens_per_joule_it", better="high"
)
POWER_SERIES = Chart(
    "Power",
    "power",
    [Line("facility_watts", "site", "data3"), Line("it_watts", "IT")],
    bound="facility_watts",
    better="low",
)
COOLANT_SERIES = Chart(
    "Coolant",
    "celsius",
    [Line("coolant_return_celsius", "return"), Line("coolant_supply_celsius", "supply", "data2")],
    bound="coolant_return_celsius",
    better="low",
)


def layout(**_: str) -> Component:
    """Return the page: six tiles, the GPU floor beside the active alarms, three time series."""
    return html.Div(
        [
            header("/"),
            html.Main(
                [
                    tile(TOKENS_PER_WATT),
                    # `near`: left out on a wall that is read from afar
                    tile(THROUGHPUT, area="span-2 near"),
                    tile(IT_POWER),
                    tile(GPUS_IDLE),
                    tile(PUE, area="span-2 near"),
                    tile(COOLANT_SUPPLY),
                    floor(area="floor"),
                    alarms(area="list"),
                    chart(TOKENS_PER_WATT_SERIES, area="series"),
                    chart(POWER_SERIES, area="series"),
                    chart(COOLANT_SERIES, area="series"),
                ],
                className="wall",
            ),
        ]
    )
