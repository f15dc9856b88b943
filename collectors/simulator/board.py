"""The GPUs: activity, power, clocks and temperature from what each one does. Eight to a host.

Power shares are shares of the board's limit: bare idle below 0.13, a context held without work below 0.25, work at 0.30
and more. Source: measured anchors for H100 and B200 (B200 with a context held, 0 % busy: 199 W of 1000 W).
"""

import numpy as np

from collectors.simulator.layout import GPUS_PER_HOST, Layout
from collectors.simulator.noise import Wander, lag
from collectors.simulator.state import Bools, Counters, Floats, Gpus, Ints
from collectors.simulator.workload import Mode

GIB = float(2**30)
LIMIT_WATTS = 1_000.0
MEMORY_BYTES = 180.0 * GIB
CLOCK_HERTZ = 1_965e6
IDLE_CLOCK_HERTZ = 345e6
#: what throttling and power brake leave of the clock
SLOWED_CLOCK_RATIO = 0.6
#: NVML clocks event reasons: idle, power cap, thermal (software and hardware), power brake.
#: Source: nvml.h, nvmlClocksEventReason*.
IDLE_MASK, CAP_MASK, THERMAL_MASK, BRAKE_MASK = 0x1, 0x4, 0x20 | 0x40, 0x8 | 0x80
#: cold plate: kelvin per watt of board power, and what a starved one adds
KELVIN_PER_WATT = 0.027
STARVED_KELVIN = 40.0

CONDITIONS = {
    Mode.SERVE: "busy",
    Mode.TRAIN: "busy",
    Mode.LOADING: "busy",
    Mode.STALLED: "stalled",
    Mode.PARKED: "parked",
    Mode.RESERVED: "reserved_idle",
    Mode.FREE: "unallocated_idle",
    Mode.LOST: "lost",
}


#: modes in the order of the columns below
_SHARES = {
    #            SERVE TRAIN LOAD  STALL PARK   RESV   FREE   LOST     gain with load: SERVE, TRAIN
    "power": ((0.320, 0.360, 0.340, 0.220, 0.165, 0.095, 0.095, 0.0), (0.55, 0.54)),
    "utilization": ((0.60, 0.90, 0.25, 1.00, 0.0, 0.0, 0.0, 0.0), (0.45, 0.10)),
    "copy": ((0.10, 0.30, 0.12, 0.0, 0.0, 0.0, 0.0, 0.0), (0.45, 0.25)),
    "sm": ((0.15, 0.55, 0.12, 0.97, 0.0, 0.0, 0.0, 0.0), (0.55, 0.32)),
    "occupancy": ((0.08, 0.25, 0.03, 0.10, 0.0, 0.0, 0.0, 0.0), (0.28, 0.15)),
    "tensor": ((0.05, 0.30, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), (0.35, 0.20)),
    "dram": ((0.12, 0.30, 0.10, 0.004, 0.0, 0.0, 0.0, 0.0), (0.50, 0.25)),
    "nvlink": ((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), (110e9, 320e9)),
}
_MEMORY = (0.88, 0.93, 0.45, 0.88, 0.88, 0.0, 0.0, 0.0)
_PROCESSES = (1, 1, 1, 1, 1, 0, 0, 0)
#: counters that begin anew with the driver, or with the reset of a board
_SINCE_DRIVER_LOAD = ("energy_joules", "throttle_power_seconds", "throttle_thermal_seconds", "nvlink_tx_bytes",
                      "nvlink_rx_bytes")  # fmt: skip


class Boards:
    """All GPU boards of the factory."""

    def __init__(self, layout: Layout, rng: np.random.Generator, start: float) -> None:
        count = layout.gpus
        self._noise = Wander(rng, count, tau_seconds=20.0, sigma=0.02)
        self._silicon = 1.0 + 0.015 * rng.standard_normal(count)
        self._rack = np.repeat(np.arange(len(layout.racks)), [rack.gpu_count for rack in layout.racks])
        self._modes: Ints = np.full(count, -1, dtype=np.int64)
        self._base: dict[str, Floats] = {}
        self._gain: dict[str, Floats] = {}
        self.state = _initial(count, rng, start)

    def set_modes(self, host_modes: Ints, lost: Bools, away: Bools, now: float) -> None:
        """Say what each host does and which GPUs are lost or away for a reset, from `now` (epoch seconds) on."""
        gone = lost | away
        modes = np.where(gone, int(Mode.LOST), np.repeat(host_modes, GPUS_PER_HOST))
        changed = np.flatnonzero(modes != self._modes)
        for name, (base, gain) in _SHARES.items():
            self._base[name] = np.array(base)[modes]
            self._gain[name] = np.array((*gain, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))[modes]
        state = self.state
        names = [CONDITIONS[Mode(mode)] for mode in range(len(Mode))]
        since = state.condition_since.copy()
        for gpu in changed:
            condition = names[modes[gpu]]
            if state.condition[gpu] != condition:
                state.condition[gpu] = condition
                since[gpu] = now
        state.condition_since = since
        state.process_count = np.array(_PROCESSES)[modes]
        state.memory_used_bytes = np.array(_MEMORY)[modes] * MEMORY_BYTES
        state.assigned = np.repeat(np.not_equal(host_modes, Mode.FREE), GPUS_PER_HOST)
        state.xid = np.where(lost, 79, 0)
        back = np.flatnonzero(state.lost & ~gone)
        for name in _SINCE_DRIVER_LOAD:
            getattr(state, name).reset(back)
        state.lost = gone
        self._modes = modes

    def step(self, load: Floats, supply_celsius: Floats, throttled: Bools, braked: Bools) -> Floats:
        """Work one second; `load` is per host, the rest per rack. Return the clock ratio of each host."""
        throttled, braked = throttled[self._rack], braked[self._rack]
        noise = self._noise.step()
        share = np.repeat(load, GPUS_PER_HOST)
        power = self._step_power(share, noise, throttled | braked)
        self._step_clocks(power, throttled, braked)
        self._step_activity(np.clip(share + 0.5 * noise, 0.0, 1.05))
        self._step_heat(supply_celsius[self._rack], throttled)
        ratio: Floats = (self.state.sm_clock_hertz / CLOCK_HERTZ).reshape(-1, GPUS_PER_HOST).mean(axis=1)
        return ratio

    def _step_power(self, share: Floats, noise: Floats, slowed: Bools) -> Floats:
        demand = (self._base["power"] + self._gain["power"] * share) * self._silicon * (1.0 + noise)
        demand = np.where(slowed, np.minimum(demand, 0.1 + (demand - 0.1) * SLOWED_CLOCK_RATIO**2), demand)
        state = self.state
        state.power_watts = np.minimum(demand, 1.0) * LIMIT_WATTS
        state.energy_joules.rate = state.power_watts
        return demand

    def _step_clocks(self, demand: Floats, throttled: Bools, braked: Bools) -> None:
        state = self.state
        works: Bools = self._modes <= Mode.STALLED
        capped = works & (demand > 1.0)
        idle_clock = np.where(self._modes == Mode.PARKED, CLOCK_HERTZ, IDLE_CLOCK_HERTZ)
        clock = np.where(works, CLOCK_HERTZ * (1.0 - 0.1 * np.minimum(demand, 1.0) ** 2), idle_clock)
        state.sm_clock_hertz = np.where(works & (throttled | braked), clock * SLOWED_CLOCK_RATIO, clock)
        mask = np.zeros(demand.size, dtype=np.int64)
        mask[~works] = IDLE_MASK
        mask[capped] |= CAP_MASK
        mask[works & throttled] |= THERMAL_MASK
        mask[works & braked] |= BRAKE_MASK
        state.clock_event_mask = mask
        state.throttle_power_seconds.rate = np.where(capped | (works & braked), 0.4, 0.0)
        state.throttle_thermal_seconds.rate = np.where(works & throttled, 0.4, 0.0)

    def _step_activity(self, share: Floats) -> None:
        state = self.state

        def ratio(name: str) -> Floats:
            value: Floats = np.minimum(self._base[name] + self._gain[name] * share, 1.0)
            return value

        state.utilization_ratio = ratio("utilization")
        state.memory_copy_ratio = ratio("copy")
        state.sm_active_ratio = ratio("sm")
        state.sm_occupancy_ratio = ratio("occupancy")
        state.tensor_active_ratio = ratio("tensor")
        state.dram_active_ratio = ratio("dram")
        state.nvlink_tx_bytes.rate = self._gain["nvlink"] * share
        state.nvlink_rx_bytes.rate = state.nvlink_tx_bytes.rate

    def _step_heat(self, supply_celsius: Floats, throttled: Bools) -> None:
        state = self.state
        starved = np.where(throttled, STARVED_KELVIN, 0.0)
        target = supply_celsius + KELVIN_PER_WATT * state.power_watts + starved
        state.temperature_celsius = state.temperature_celsius + lag(8.0) * (target - state.temperature_celsius)
        hotter = state.temperature_celsius + 4.0 + 6.0 * state.dram_active_ratio
        state.memory_temperature_celsius = hotter


def _initial(count: int, rng: np.random.Generator, start: float) -> Gpus:
    def zeros() -> Floats:
        return np.zeros(count)

    def counters(scale: float) -> Counters:
        return Counters(base=np.floor(scale * rng.uniform(0.2, 1.0, count)), rate=zeros(), time=start)

    return Gpus(
        power_watts=zeros(),
        power_limit_watts=LIMIT_WATTS,
        energy_joules=counters(5e8),
        utilization_ratio=zeros(),
        memory_copy_ratio=zeros(),
        sm_active_ratio=zeros(),
        sm_occupancy_ratio=zeros(),
        tensor_active_ratio=zeros(),
        dram_active_ratio=zeros(),
        memory_used_bytes=zeros(),
        memory_reserved_bytes=0.6 * GIB,
        memory_total_bytes=MEMORY_BYTES,
        temperature_celsius=np.full(count, 45.0),
        memory_temperature_celsius=np.full(count, 50.0),
        sm_clock_hertz=np.full(count, CLOCK_HERTZ),
        sm_clock_max_hertz=CLOCK_HERTZ,
        memory_clock_hertz=3_996e6,
        clock_event_mask=np.zeros(count, dtype=np.int64),
        throttle_power_seconds=counters(600.0),
        throttle_thermal_seconds=counters(20.0),
        nvlink_tx_bytes=counters(4e15),
        nvlink_rx_bytes=counters(4e15),
        process_count=np.zeros(count, dtype=np.int64),
        assigned=np.zeros(count, dtype=np.bool_),
        lost=np.zeros(count, dtype=np.bool_),
        xid=np.zeros(count, dtype=np.int64),
        condition=[""] * count,
        condition_since=np.full(count, start),
    )
