"""The leaf switches: traffic of the hosts' NICs, links, priority flow control, congestion, supplies.

Training drives bursts of some hundred Gbit/s through every NIC, seven seconds on a fifth of the time; serving a few
Gbit/s. Half of what hosts send leaves the leaf over its uplinks. A host's port receives what the host sends.
"""

from collections.abc import Mapping

import numpy as np

from collectors.simulator.layout import Layout
from collectors.simulator.noise import Wander
from collectors.simulator.optics import Optics, run_before
from collectors.simulator.state import Bools, Counters, Floats, Ints, Switches
from collectors.simulator.switch_faults import FabricEffects
from collectors.simulator.switch_state import DAY_SECONDS, initial_switches
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
#: what a congested queue does: share of packets marked, packets dropped per second, those of them by WRED
CONGESTED_MARKED, CONGESTED_DROPS, CONGESTED_WRED = 0.08, 250.0, 40.0
#: fill of a queue at full load, congested, and of a priority group's headroom while it pauses its peer. Units: bytes
FULL_QUEUE_BYTES, CONGESTED_QUEUE_BYTES, HEADROOM_BYTES = 400_000.0, 9_000_000.0, 160_000.0
WATERMARK_SECONDS = 120.0
FLAP_PERIOD_SECONDS, FLAP_DOWN_SECONDS = 10.0, 3.0


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
        self._noise = Wander(rng, self._host.size, tau_seconds=10.0, sigma=0.08)
        self._gauge = Wander(rng, self._shape[0], tau_seconds=60.0, sigma=1.0)
        self._halves = 0.5 + 0.02 * rng.standard_normal(self._shape[0])
        self.state = initial_switches(self._shape, rng, start)
        found = {name: getattr(self.state, name) for name in Switches.__slots__}
        self._counters = {name: each for name, each in found.items() if isinstance(each, Counters)}
        # A stream of its own: optics change nothing of what the rest of the factory draws.
        self._optics = Optics(self._shape, np.random.default_rng([*self._shape, 7]))
        self._settled = False
        #: switch, port -> counter -> rate that holds whatever the traffic does
        self._held: dict[tuple[int, int], dict[str, float]] = {}

    def hold(self, switch: int, port: int, rates: Mapping[str, float]) -> None:
        """Let counters of a port, by their name in `state.switches`, grow by so much per second from the next step on.

        Raises:
            ValueError: no such counter.
        """
        if unknown := rates.keys() - self._counters.keys():
            allowed = ", ".join(sorted(self._counters))
            raise ValueError(f"no counter of a port: {', '.join(sorted(unknown))}; there are {allowed}")
        self._held.setdefault((switch, port), {}).update(rates)

    def release(self, switch: int) -> None:
        """Let the traffic say again how fast a switch's counters grow."""
        self._held = {at: rates for at, rates in self._held.items() if at[0] != switch}
        self._optics.recount()

    def reboot(self, switch: int, now: float) -> None:
        """Start a switch anew: all its counters at zero, its clocks too."""
        state = self.state
        for counters in self._counters.values():
            counters.reset(switch)
        for name in ("flaps", "storms_detected", "storms_restored", "last_down_time"):
            getattr(state, name)[switch] = 0
        state.last_up_time[switch] = now
        state.boot_time[switch] = now
        state.snmp_start[switch] = now

    def step(self, now: float, modes: Ints, load: Floats, effects: FabricEffects) -> None:
        """Pass one second of traffic; `modes` and `load` are per host."""
        for switch in effects.rebooting.nonzero()[0].tolist():
            self.reboot(switch, now)
        up = self._step_links(now, effects)
        sent = self._host_bytes(now, modes, load)
        rx = np.full(self._shape, IDLE_BYTES_PER_SECOND)
        rx.flat[self._port] += sent
        rx *= up
        ways = np.maximum((self._uplink & up).sum(axis=1), 1)
        through = np.minimum(0.5 * rx.sum(axis=1) / ways, 0.95 * LINE_BYTES_PER_SECOND)
        rx = np.where(self._uplink, through[:, None] * up, rx)
        tx = np.where(effects.stormed, STORM_TRAFFIC * rx, rx)
        state = self.state
        state.rx_bytes.rate, state.tx_bytes.rate = rx, tx
        state.rx_unicast.rate, state.tx_unicast.rate = rx / BYTES_PER_PACKET, tx / BYTES_PER_PACKET
        self._step_congestion(now, rx, effects)
        self._step_gauges(rx, effects)
        self._step_optics(now, rx, effects.dimmed)
        for at, rates in self._held.items():
            for name, rate in rates.items():
                self._counters[name].rate[at] = rate
        for switch in effects.rebooting.nonzero()[0].tolist():
            for counters in self._counters.values():
                counters.rate[switch] = 0.0
            self._optics.recount()

    def _step_links(self, now: float, effects: FabricEffects) -> Bools:
        """Take links down and up; return which ports work."""
        state = self.state
        flapped = effects.flapping & (now % FLAP_PERIOD_SECONDS < FLAP_DOWN_SECONDS)
        up = ~(effects.down | effects.shut | flapped)
        fell, rose = state.oper_up & ~up, ~state.oper_up & up
        state.flaps = state.flaps + fell
        state.last_down_time = np.where(fell, now, state.last_down_time)
        state.last_up_time = np.where(rose, now, state.last_up_time)
        state.admin_up, state.oper_up = ~effects.shut, up
        return up

    def _host_bytes(self, now: float, modes: Ints, load: Floats) -> Floats:
        """Return what each attached NIC sends. Units: bytes per second."""
        burst = TRAINING_BASE + TRAINING_BURST * ((now % BURST_PERIOD_SECONDS) < BURST_SECONDS)
        part = np.where(modes == Mode.TRAIN, burst, np.where(modes == Mode.SERVE, SERVING_RATIO * load, 0.0))
        wander = np.clip(1.0 + self._noise.step(), 0.5, 1.15)
        sent: Floats = part[self._host] * wander * LINE_BYTES_PER_SECOND
        return sent

    def _step_congestion(self, now: float, rx: Floats, effects: FabricEffects) -> None:
        state, stormed, congested = self.state, effects.stormed & self.state.oper_up, effects.congested
        full = rx / LINE_BYTES_PER_SECOND
        storms: Bools = np.logical_or.reduce(stormed, axis=1)[:, None]
        victim = storms & ~stormed & (full > 0.001)
        state.pfc_rx.rate = np.where(stormed, STORM_FRAMES, np.where(full > 0.6, 12.0, 0.0))
        state.pfc_tx.rate = np.where(victim, 0.1 * STORM_FRAMES, np.where(full > 0.6, 6.0, 0.0))
        state.pfc_rx_pause_seconds.rate = np.where(stormed, STORM_PAUSE, 5e-6 * state.pfc_rx.rate)
        marked = np.where(stormed | victim, 0.05, np.where(full > 0.6, 1e-4, 0))
        marked = np.where(congested, CONGESTED_MARKED, marked)
        state.ecn_marked.rate = state.tx_unicast.rate * marked
        state.watchdog_drops.rate = np.where(stormed, 400.0, 0.0)
        state.queue_drops.rate = np.where(congested, CONGESTED_DROPS, state.watchdog_drops.rate)
        state.queue_drop_bytes.rate = BYTES_PER_PACKET * state.queue_drops.rate
        state.wred_drops.rate = np.where(congested, CONGESTED_WRED, 0.0)
        state.tx_buffer_drops.rate = np.where(congested, CONGESTED_DROPS - CONGESTED_WRED, 0.0)
        state.rx_buffer_drops.rate = np.where(victim, 1.0, 0.0)
        state.rx_discards.rate = state.rx_buffer_drops.rate.copy()
        state.tx_discards.rate = state.queue_drops.rate.copy()
        self._step_watchdog(stormed)
        self._step_watermarks(now, full, stormed | congested)

    def _step_watchdog(self, stormed: Bools) -> None:
        state = self.state
        state.storms_detected = state.storms_detected + (stormed & ~state.stormed)
        state.storms_restored = state.storms_restored + (state.stormed & ~stormed)
        state.stormed = stormed

    def _step_watermarks(self, now: float, full: Floats, blocked: Bools) -> None:
        """Keep the highest fills; the switch forgets them every two minutes."""
        state = self.state
        kept = 0.0 if now % WATERMARK_SECONDS == 0.0 else 1.0
        state.queue_fill_bytes = np.where(blocked, CONGESTED_QUEUE_BYTES, FULL_QUEUE_BYTES * full**2)
        pausing = state.pfc_tx.rate > 0.0
        state.queue_watermark_bytes = np.maximum(kept * state.queue_watermark_bytes, state.queue_fill_bytes)
        shared = FULL_QUEUE_BYTES * np.where(pausing, 2.0, full)
        state.shared_watermark_bytes = np.maximum(kept * state.shared_watermark_bytes, shared)
        state.xoff_watermark_bytes = np.maximum(kept * state.xoff_watermark_bytes, HEADROOM_BYTES * pausing)

    def _step_gauges(self, rx: Floats, effects: FabricEffects) -> None:
        state = self.state
        traffic = rx.mean(axis=1) / LINE_BYTES_PER_SECOND
        watts = SWITCH_WATTS + PORT_WATTS * state.oper_up.sum(axis=1) + TRAFFIC_WATTS * traffic
        works = effects.supplies_ok.copy()
        works[~works.any(axis=1), 0] = True
        share = works * np.stack([self._halves, 1.0 - self._halves], axis=1)
        state.psu_ok = works
        state.psu_watts = watts[:, None] * share / share.sum(axis=1, keepdims=True)
        state.leak = effects.leak
        gauge = self._gauge.step()
        state.cpu_ratio = np.clip(0.16 + 0.03 * gauge, 0.02, 1.0)
        state.memory_used_bytes = (0.42 + 0.004 * gauge) * state.memory_total_bytes
        state.temperature_celsius = 41.0 + 12.0 * traffic + 0.4 * gauge
        state.fan_ratio = np.clip(0.45 + 0.3 * traffic, 0.0, 1.0)

    def _step_optics(self, now: float, rx: Floats, dimmed: Bools) -> None:
        state = self.state
        self._optics.step(now, state, dimmed)
        # A codeword beyond repair breaks the packet that it lies in, where there is one.
        state.rx_errors.rate = np.minimum(
            state.fec_uncorrected.rate * rx / LINE_BYTES_PER_SECOND, state.rx_unicast.rate
        )
        if not self._settled:
            self._settled = True
            run_before(state, DAY_SECONDS)
