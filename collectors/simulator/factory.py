"""The physics of an AI factory: load, tokens, power, heat and flow in one state, with a clock that is passed in."""

import logging
import math
from collections.abc import Callable

import numpy as np

from collectors.simulator.board import Boards
from collectors.simulator.cooling import Cooling
from collectors.simulator.effects import LOADING
from collectors.simulator.faults import Fault, Faults
from collectors.simulator.layout import Layout
from collectors.simulator.ledger import Ledger, Totals
from collectors.simulator.links import Links, find_links
from collectors.simulator.network import Fabric
from collectors.simulator.power import Electrics
from collectors.simulator.quirks import Quirks
from collectors.simulator.state import STEP_SECONDS, Counters, State
from collectors.simulator.workload import DRAINING_LOAD_RATIO, Demand, Serving, initial_modes

logger = logging.getLogger(__name__)

IDLE_CONDITIONS = frozenset({"parked", "reserved_idle", "unallocated_idle", "stalled"})
#: steps run before the start, so that temperatures, flows and heat are settled
SETTLING_STEPS = 90
#: a longer pause of the clock (a sleeping laptop) is held in one step instead of being played second by second
LONGEST_CATCH_UP_SECONDS = 60.0
#: what a host does whose switch port is stormed
STORMED_LOAD_RATIO = 0.7


class Factory:
    """An AI factory whose clock is passed in.

    `layout` says what stands where and never changes; `state` is what is so now. Within one step of one second every
    gauge and every rate is constant, so a counter at any moment is exactly `base + rate * elapsed`, and what a poller
    integrates can be compared with `truth` to the last digit.

    `speed` makes the load curves and scripted faults run faster than the clock; watts stay watts and counters count
    real seconds.
    """

    layout: Layout
    state: State
    faults: Faults
    #: names of devices that do not answer, of those that refuse the connection, of exporters that repeat themselves,
    #: of those that give kilowatts for watts, and seconds by which others are late
    silent: set[str]
    refused: set[str]
    stale: set[str]
    kilowatts: set[str]
    slow: dict[str, float]
    #: names of switches whose SNMP subagent is dead, by a fault
    agents_dead: set[str]
    #: weaknesses of each switch by its name; switched while it is served
    quirks: dict[str, Quirks]
    #: where switches send their traps: address and UDP port, or nowhere
    traps_to: tuple[str, int] | None
    #: the cables of each switch, in the layout's order
    links: tuple[Links, ...]
    #: called with the next second before the state moves on to it, and with the second after that
    before_step: list[Callable[[float], None]]
    after_step: list[Callable[[float], None]]

    def __init__(self, layout: Layout, *, seed: int, start: float, speed: float = 1.0) -> None:
        if not speed > 0:
            raise ValueError(f"speed is {speed}: give a factor above 0")
        self.layout = layout
        self.speed = speed
        self.start = float(math.floor(start))
        rng = np.random.default_rng(seed)
        self._demand = Demand(layout, rng)
        self._boards = Boards(layout, rng, self.start)
        self._serving = Serving(layout, rng, self.start)
        self._electrics = Electrics(layout, rng, self.start)
        self._cooling = Cooling(layout, rng)
        self._fabric = Fabric(layout, rng, self.start)
        self.quirks = {switch.name: Quirks() for switch in layout.switches}
        self.traps_to = None
        self.links = find_links(layout)
        self.before_step, self.after_step = [], []
        self._ledger = Ledger(self.start)
        servers = {deployment.name: deployment.server for deployment in layout.deployments}
        served_by = [servers[host.deployment] for host in layout.hosts if host.engine is not None]
        self._counts_at_end = np.array([server == "sglang" for server in served_by], dtype=np.bool_)
        self.faults = Faults(layout, initial_modes(layout, rng))
        self.state = self._compose()
        self._counters = _counters_of(self.state)
        self._take_effects(self.start)
        for step in range(-SETTLING_STEPS, 0):
            self._update(self.start + step)
        self._serving.settle()
        self._update(self.start)

    def advance(self, now: float) -> None:
        """Step the physics up to the whole second at or before `now` (epoch seconds). Called by one ticker."""
        target = float(math.floor(now))
        if target - self.state.time > LONGEST_CATCH_UP_SECONDS:
            logger.warning("simulator: the clock jumped by %.0f s, the state is held for it", target - self.state.time)
            self._step(target)
        while self.state.time < target:
            self._step(self.state.time + STEP_SECONDS)

    def truth(self, start: float, end: float) -> Totals:
        """Return what really happened from `start` to `end` (epoch seconds). Units: tokens, J.

        Raises:
            ValueError: a window that is empty, in the future, or more than two hours ago.
        """
        return self._ledger.between(start, end)

    def idle(self) -> list[dict[str, str | float]]:
        """Return the GPUs that are idle now: UUID, state, epoch seconds since when."""
        gpus = self.state.gpus
        return [
            {"gpu": self.layout.gpu_uuids[index], "state": condition, "since": float(gpus.condition_since[index])}
            for index, condition in enumerate(gpus.condition)
            if condition in IDLE_CONDITIONS
        ]

    def hold_rates(self, switch: str, port: str, **rates: float) -> None:
        """Let a port's counters grow at known rates: `hold_rates("leaf-1", "Ethernet0", rx_bytes=1.25e8)`.

        Names are those of `state.switches`, units are theirs per second. They hold from the next whole second on,
        whatever the traffic does, until `release_rates`.

        Raises:
            ValueError: no such switch, port or counter; the message says which there are.
        """
        row = self._row(switch)
        ports = self.layout.switches[row].ports
        if port not in ports:
            raise ValueError(f"no port {port!r} on {switch}: there are {ports[0]} to {ports[-1]}")
        self._fabric.hold(row, ports.index(port), rates)

    def release_rates(self, switch: str) -> None:
        """Let the traffic drive all counters of a switch again."""
        self._fabric.release(self._row(switch))

    def reboot_switch(self, switch: str) -> None:
        """Cold reboot without a pause: counters restart at 0, hrSystemUptime and sysUpTime begin anew.

        The fault `switch_reboot` does the same with 20 s of silence before.
        """
        self._fabric.reboot(self._row(switch), self.state.time)

    def restart_snmp(self, switch: str) -> None:
        """Restart the SNMP container of a switch: sysUpTime alone begins anew."""
        self.state.switches.snmp_start[self._row(switch)] = self.state.time

    def _row(self, switch: str) -> int:
        names = [each.name for each in self.layout.switches]
        if switch not in names:
            raise ValueError(f"no switch {switch!r}: there are {', '.join(names)}")
        return names.index(switch)

    def _compose(self) -> State:
        electrics = self._electrics
        return State(
            time=self.start,
            gpus=self._boards.state,
            engines=self._serving.state,
            nodes=electrics.nodes,
            shelves=electrics.shelves,
            racks=self._cooling.racks,
            cdus=self._cooling.cdus,
            switches=self._fabric.state,
            pdus=electrics.pdus,
            meters=electrics.meters,
        )

    def _step(self, now: float) -> None:
        for tell in self.before_step:
            tell(now)
        self._ledger.step(now)
        for counters in self._counters:
            counters.step(now)
        self.state.time = now
        began = self.faults.step(now)
        if began is not None:
            self._take_effects(now)
            self._restart_engines(began, now)
        self._update(now)
        for tell in self.after_step:
            tell(now)

    def _take_effects(self, now: float) -> None:
        self._effects = self.faults.effects()
        self.silent, self.slow = self._effects.silent, self._effects.slow
        self.refused, self.stale = self._effects.refused, self._effects.stale
        self.kilowatts = self._effects.plant.kilowatts
        self.agents_dead = self._effects.fabric.agents_dead
        self._boards.set_modes(self._effects.modes, self._effects.gpu_lost, self._effects.gpu_away, now)

    def _restart_engines(self, began: tuple[Fault, ...], now: float) -> None:
        hosts = [self.faults.find(fault)[0] for fault in began if fault.kind == LOADING]
        engines = [engine for host in hosts if (engine := self.layout.hosts[host].engine) is not None]
        if engines:
            self._serving.restart(np.array(engines), now)

    def _update(self, now: float) -> None:
        """Set every gauge and rate for the second that begins at `now`."""
        effects, electrics, cooling = self._effects, self._electrics, self._cooling
        load = self._demand.step((now - self.start) * self.speed)
        load = np.where(effects.slowed_hosts, load * STORMED_LOAD_RATIO, load)
        load = np.where(effects.draining, load * DRAINING_LOAD_RATIO, load)
        clock_ratio = self._boards.step(load, cooling.racks.supply_celsius, effects.throttled, electrics.braked)
        self._serving.step(load, clock_ratio, effects.modes, effects.draining)
        self._fabric.step(now, effects.modes, load, effects.fabric)
        electrics.step_racks(self.state.gpus.power_watts, effects.supplies_ok, effects.plant)
        electrics.step_network(self.state.switches.psu_watts.sum(axis=1), effects.plant.phase_lost)
        output = electrics.shelves.output_watts
        cooling.step(output, effects.pumps_ok, effects.rack_leak, effects.cdu_leak, effects.plant)
        electrics.step_site(float(cooling.cdus.heat_watts.sum()), float(cooling.cdus.power_watts.sum()))
        self._ledger.set_rates(self._rates())

    def _rates(self) -> Totals:
        state = self.state
        rack_watts = float(state.shelves.input_watts.sum())
        meters = zip(self.layout.meters, state.meters.watts.tolist(), strict=True)
        watts = {meter.scope or meter.name: drawn for meter, drawn in meters}
        return Totals(
            output_tokens=float(state.engines.output_tokens.rate.sum()),
            input_tokens=float(state.engines.prompt_tokens.rate.sum()),
            final_output_tokens=self._final(state.engines.output_tokens, state.engines.finished_output_tokens),
            final_input_tokens=self._final(state.engines.prompt_tokens, state.engines.finished_prompt_tokens),
            gpu_board_joules=float(state.gpus.power_watts.sum()),
            node_joules=float(state.nodes.power_watts.sum()),
            rack_joules=rack_watts,
            it_joules=watts["it"],
            facility_joules=watts["facility"],
            coolant_heat_joules=float(state.cdus.heat_watts.sum()),
            feed_a_joules=watts["feed-a"],
            feed_b_joules=watts["feed-b"],
            rack_liquid_joules=float(state.racks.heat_watts.sum()),
        )

    def _final(self, passing: Counters, finished: Counters) -> float:
        """Return the growth of what the servers call their total. Units: tokens/s."""
        return float(np.where(self._counts_at_end, finished.rate, passing.rate).sum())


def _counters_of(state: State) -> list[Counters]:
    """Return every counter in the state."""
    parts = (getattr(state, name) for name in State.__slots__ if name != "time")
    return [value for part in parts for name in part.__slots__ if isinstance(value := getattr(part, name), Counters)]
