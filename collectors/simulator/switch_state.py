"""What the leaf switches' state is at the factory's start: counters of some weeks, links up, gauges still zero."""

from typing import Any

import numpy as np

from collectors.simulator.optics import BINS, OPTICAL_LANES
from collectors.simulator.state import Counters, Switches

DAY_SECONDS = 86_400.0

#: counters that the past has filled, and how far
_FILLED = {
    "rx_bytes": 5e15,
    "tx_bytes": 5e15,
    "rx_unicast": 1.2e12,
    "tx_unicast": 1.2e12,
    "rx_discards": 50.0,
    "tx_discards": 50.0,
    "rx_errors": 5.0,
    "tx_errors": 1.0,
    "pfc_rx": 4e4,
    "pfc_tx": 2e4,
    "pfc_rx_pause_seconds": 1.0,
    "ecn_marked": 1e7,
}
_FRESH = (
    "queue_drops",
    "queue_drop_bytes",
    "wred_drops",
    "watchdog_drops",
    "rx_buffer_drops",
    "tx_buffer_drops",
    "fec_corrected",
    "fec_uncorrected",
    "fec_symbols",
    "fec_corrected_bits",
)
_PORT_GAUGES = (
    "queue_watermark_bytes",
    "shared_watermark_bytes",
    "xoff_watermark_bytes",
    "queue_fill_bytes",
    "module_celsius",
    "module_volts",
    "pre_fec_ber",
)
_LANE_GAUGES = ("rx_dbm", "tx_dbm", "bias_amperes")
_PORT_COUNTS = ("storms_detected", "storms_restored", "fec_max_symbols")
_SWITCH_GAUGES = ("cpu_ratio", "memory_used_bytes", "temperature_celsius", "fan_ratio")


def initial_switches(shape: tuple[int, int], rng: np.random.Generator, start: float) -> Switches:
    """Return the state of switches x ports at `start` (epoch seconds)."""

    def zero(*more: int) -> Counters:
        return Counters(base=np.zeros((*shape, *more)), rate=np.zeros((*shape, *more)), time=start)

    # The order of the draws is part of a seed's meaning.
    boot = start - np.floor(rng.uniform(10.0, 90.0, shape[0]) * DAY_SECONDS)
    parts: dict[str, Any] = {name: zero() for name in (*_FILLED, *_FRESH)}
    for name, scale in _FILLED.items():
        parts[name].base = np.floor(scale * rng.uniform(0.2, 1.0, shape))
    flaps = rng.integers(0, 3, shape)
    last_down = np.where(flaps > 0, start - 3_600.0 * (1.0 + flaps), 0.0)
    parts |= {name: np.zeros(shape) for name in _PORT_GAUGES}
    parts |= {name: np.zeros((*shape, OPTICAL_LANES)) for name in _LANE_GAUGES}
    parts |= {name: np.zeros(shape, dtype=np.int64) for name in _PORT_COUNTS}
    parts |= {name: np.zeros(shape[0]) for name in _SWITCH_GAUGES}
    return Switches(
        **parts,
        fec_bins=zero(BINS),
        boot_time=boot,
        snmp_start=boot.copy(),
        admin_up=np.ones(shape, dtype=np.bool_),
        oper_up=np.ones(shape, dtype=np.bool_),
        stormed=np.zeros(shape, dtype=np.bool_),
        flaps=flaps,
        last_down_time=last_down,
        last_up_time=np.where(flaps > 0, last_down + 3.0, boot[:, None] + 60.0),
        psu_watts=np.zeros((shape[0], 2)),
        psu_ok=np.ones((shape[0], 2), dtype=np.bool_),
        leak=np.zeros(shape[0], dtype=np.int64),
        memory_total_bytes=16.0 * 2**30,
    )
