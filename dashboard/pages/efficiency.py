"""Efficiency: tokens per joule at every boundary, where the watts go, and which GPUs earn nothing."""

from typing import Any

from dash import html

from dashboard.components import Component, Tile, card, chart, header, scrolling, tile, widget
from dashboard.figures import Chart, Line

BOUNDARIES = (
    ("gpu_board", "GPU boards"),
    ("node", "Nodes"),
    ("rack", "GPU racks"),
    ("it", "IT"),
    ("facility", "Site"),
)
TILES = tuple(
    Tile(
        "Tokens per watt",
        f"tokens_per_joule_{name}",
        "yield",
        "tokens_per_joule_it" if name == "it" else "",
        boundary=label,
        better="high",
        energy=True,
    )
    for name, label in BOUNDARIES
)
#: From the meter inward: a boundary's number, its name, and what is lost before the next.
STAGES: tuple[dict[str, Any], ...] = (
    {"number": "facility_watts", "name": "Site meter", "loss": "Cooling, conversion"},
    {"number": "it_watts", "name": "IT", "loss": "Network racks"},
    {"number": "rack_watts", "name": "GPU racks", "loss": "Conversion"},
    {"number": "node_watts", "name": "Nodes", "loss": "CPU, memory, fans"},
    {"number": "gpu_board_watts", "name": "GPU boards", "loss": ""},
)
FORMULAS = (
    ("tokens_per_joule_gpu_board", "Tokens per watt, GPU boards", "yield"),
    ("tokens_per_joule_node", "Tokens per watt, nodes", "yield"),
    ("tokens_per_joule_rack", "Tokens per watt, GPU racks", "yield"),
    ("tokens_per_joule_it", "Tokens per watt, IT", "yield"),
    ("tokens_per_joule_facility", "Tokens per watt, site", "yield"),
    ("output_tokens_per_second", "Output tokens", "rate"),
    ("input_tokens_per_second", "Input tokens", "rate"),
    ("pue", "PUE", "ratio"),
    ("gpus_idle", "GPUs idle", "count"),
    ("idle_watts", "Power of idle GPUs", "power"),
)
YIELD_SERIES = Chart(
    "Tokens per watt", "yield", [Line("tokens_per_joule_it", "IT")], bound="tokens_per_joule_it", better="high"
)


def layout(**_: str) -> Component:
    """Return the page: five boundaries, the chain of watts, the trend, idle GPUs, formulas."""
    return html.Div(
        [
            header("/efficiency"),
            html.Main(
                [
                    html.Div([html.H1("Efficiency"), widget("window", look="window")], className="heading-row"),
                    html.Div([tile(declared, area="") for declared in TILES], className="fifths"),
                    card(
                        "Where the watts go",
                        widget("flow", {"stages": STAGES}),
                        area="span-8 tall",
                        note="from the site meter to GPUs at work",
                    ),
                    chart(YIELD_SERIES, area="span-4 tall"),
                    card("Idle GPUs", scrolling("idle", "Idle GPUs"), area="span-7 middle", aside=True),
                    card(
                        "How each number is made",
                        scrolling("formulas", "Formulas", {"numbers": FORMULAS}),
                        area="span-5 middle",
                    ),
                ],
                className="page efficiency",
            ),
        ]
    )
