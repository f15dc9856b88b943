"""The leaf switches: traffic of the hosts' NICs, priority flow control, congestion marks, power.

Training drives bursts of some hundred Gbit/s through every NIC, seven seconds on a fifth of the time; serving a few
Gbit/s. Half of what hosts send leaves the leaf over its uplinks. A host's port receives what the host sends.
"""

import numpy as np

from collectors.simulator.layout import Layout
from collectors.simulator.noise import Wander
from collectors.simulator.state import Bools, Counters, Floats, Ints, Switches
from collectors.simulator.workload import Mode

LINE_BYTES_PER_SECOND = 400e9 / 8.0
TRAINING_BASE, TRAINING_BURST = 0.22, 0.62
SERVING_RATIO = 0.006
IDLE_BYTES_PER_SECOND = 120.0
BURST_PERIOD_SECONDS, BURST_SECONDS = 9.0, 6.0
BYTES_PER_PACKET = 4_096.0
SWITCH_WATTS, PORT_WATTS, TRAFFIC_WATTS = 600.0, 4.5, 180.0
#: what a storm of pause frames does: frames per second, share of time paused, share of traffic that still leaves
STORM_FRAMES, STORM_PAUSE, STORM_TRAFFIC = 25_000.0, 0.55, 0.35


class Fabric:
    """All leaf switches."""

    def __init__(self, layout: Layout, rng: np.random.Generator, start: float) -> None:
        self._shape = (len(layout.switches), len(layout.switches[0].ports))
        number = {switch.name: index for index, switch in enumerate(layout.switches)}
        nics = [(number[h.switch] * self._shape[1] + port, i) for i, h in enumerate(layout.hosts) for port in h.ports]
        self._port: Ints = np.array([port for port, _ in nics], dtype=np.int64)
        self._host: Ints = np.array([host for _, host in nics], dtype=np.int64)
        uplink = np.ones(self._shape, dtype=np.bool_)
        uplink.flat[self._port] = False
        self._uplink = uplink
        self._uplinks = np.maximum(uplink.sum(axis=1), 1)
        self._noise = Wander(rng, self._host.size, tau_seconds=10.0, sigma=0.08)
        self._gauge = Wander(rng, self._shape[0], tau_seconds=60.0, sigma=1.0)
        self._halves = 0.5 + 0.02 * rng.standard_normal(self._shape[0])
        self.state = _initial(self._shape, rng, start)

    def step(self, now: float, modes: Ints, load: Floats, stormed: Bools) -> None:
        """Pass one second of traffic; `modes` and `load` are per host, `stormed` is switch x port."""
        sent = self._host_bytes(now, modes, load)
        rx = np.full(self._shape, IDLE_BYTES_PER_SECOND)
        rx.flat[self._port] += sent
        through = np.minimum(0.5 * rx.sum(axis=1) / self._uplinks, 0.95 * LINE_BYTES_PER_SECOND)
        rx = np.where(self._uplink, through[:, None], rx)
        tx = np.where(stormed, STORM_TRAFFIC * rx, rx)
        state = self.state
        state.rx_bytes.rate, state.tx_bytes.rate = rx, tx
        state.rx_unicast.rate, state.tx_unicast.rate = rx / BYTES_PER_PACKET, tx / BYTES_PER_PACKET
        self._step_congestion(rx, stormed)
        self._step_gauges(rx)

    def _host_bytes(self, now: float, modes: Ints, load: Floats) -> Floats:
        """Return what each attached NIC sends. Units: bytes per second."""
        burst = TRAINING_BASE + TRAINING_BURST * ((now % BURST_PERIOD_SECONDS) < BURST_SECONDS)
        part = np.where(modes == Mode.TRAIN, burst, np.where(modes == Mode.SERVE, SERVING_RATIO * load, 0.0))
        wander = np.clip(1.0 + self._noise.step(), 0.5, 1.15)
        sent: Floats = part[self._host] * wander * LINE_BYTES_PER_SECOND
        return sent

    def _step_congestion(self, rx: Floats, stormed: Bools) -> None:
        state = self.state
        full = rx / LINE_BYTES_PER_SECOND
        storms: Bools = np.logical_or.reduce(stormed, axis=1)[:, None]
        victim = storms & ~stormed & (full > 0.001)
        state.pfc_rx.rate = np.where(stormed, STORM_FRAMES, np.where(full > 0.6, 12.0, 0.0))
        state.pfc_tx.rate = np.where(victim, 0.1 * STORM_FRAMES, np.where(full > 0.6, 6.0, 0.0))
        state.pfc_rx_pause_seconds.rate = np.where(stormed, STORM_PAUSE, 5e-6 * state.pfc_rx.rate)
        state.ecn_marked.rate = state.tx_unicast.rate * np.where(stormed | victim, 0.05, np.where(full > 0.6, 1e-4, 0))
        state.tx_discards.rate = np.where(stormed, 400.0, 0.0)

    def _step_gauges(self, rx: Floats) -> None:
        state = self.state
        traffic = rx.mean(axis=1) / LINE_BYTES_PER_SECOND
        watts = SWITCH_WATTS + PORT_WATTS * state.oper_up.sum(axis=1) + TRAFFIC_WATTS * traffic
        state.psu_watts = np.stack([watts * self._halves, watts * (1.0 - self._halves)], axis=1)
        gauge = self._gauge.step()
        state.cpu_ratio = np.clip(0.16 + 0.03 * gauge, 0.02, 1.0)
        state.memory_used_bytes = (0.42 + 0.004 * gauge) * state.memory_total_bytes
        state.temperature_celsius = 41.0 + 12.0 * traffic + 0.4 * gauge
        state.fan_ratio = np.clip(0.45 + 0.3 * traffic, 0.0, 1.0)


def _initial(shape: tuple[int, int], rng: np.random.Generator, start: float) -> Switches:
    def counters(scale: float) -> Counters:
        return Counters(base=np.floor(scale * rng.uniform(0.2, 1.0, shape)), rate=np.zeros(shape), time=start)

    return Switches(
        boot_time=start - np.floor(rng.uniform(10.0, 90.0, shape[0]) * 86_400.0),
        rx_bytes=counters(5e15),
        tx_bytes=counters(5e15),
        rx_unicast=counters(1.2e12),
        tx_unicast=counters(1.2e12),
        rx_discards=counters(50.0),
        tx_discards=counters(50.0),
        rx_errors=counters(5.0),
        tx_errors=counters(1.0),
        pfc_rx=counters(4e4),
        pfc_tx=counters(2e4),
        pfc_rx_pause_seconds=counters(1.0),
        ecn_marked=counters(1e7),
        oper_up=np.ones(shape, dtype=np.bool_),
        flaps=rng.integers(0, 3, shape),
        psu_watts=np.zeros((shape[0], 2)),
        cpu_ratio=np.zeros(shape[0]),
        memory_used_bytes=np.zeros(shape[0]),
        memory_total_bytes=16.0 * 2**30,
        temperature_celsius=np.zeros(shape[0]),
        fan_ratio=np.zeros(shape[0]),
    )
