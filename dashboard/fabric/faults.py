"""What is wrong with ports: each trouble by its own mask over all ports, words only for those that have it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.alarms.findings import PortFault
from dashboard.fabric.links import Ends
from dashboard.fabric.ports import ADMIN_DOWN, DOWN, Ports
from dashboard.kpis.fabric import PAUSE_SOURCES
from dashboard.kpis.windows import Bools, Floats, Ints
from dashboard.kpis.words import percent
from dashboard.settings import Alarms

#: the bound that frames give: it may be far above the truth
_BOUND = PAUSE_SOURCES.index("bound")
_MOST_NOTES = 2


@dataclass(frozen=True, slots=True)
class _Trouble:
    """One kind of trouble: which ports have it, how urgent it is there, and what is said of one of them."""

    kind: str
    mask: Bools
    priority: Ints
    text: Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Judged:
    """Faults by port, worst first, and each port's worst priority; 0 where nothing is wrong."""

    faults: Sequence[PortFault]
    #: index of each fault's port
    ports: Sequence[int]
    priority: Ints
    reasons: Mapping[int, str]


def _share(ppm: float) -> str:
    """Return packets per million as people read them: as a share of 100 from one in a hundred on."""
    return percent(ppm / 1e6) if ppm >= 1e4 else f"{ppm:.3g} ppm" if ppm < 1e3 else f"{ppm:.0f} ppm"


def judge(ports: Ports, ends: Ends, telling: Bools, settings: Alarms) -> Judged:
    """Return what is wrong with the ports. `telling`: ports whose switch answers; of the others nothing is said."""
    # A LAG's troubles are those of its members, where they are known.
    awake = telling & ~ports.gone & ~ports.roster.bundles & (ports.state != ADMIN_DOWN)
    found: list[tuple[int, PortFault]] = []
    priority = np.full(len(awake), 99)
    for trouble in _troubles(ports, ends, settings):
        at = np.flatnonzero(trouble.mask & awake)
        priority[at] = np.minimum(priority[at], trouble.priority[at])
        found += [(port, _fault(ports, ends, trouble, port)) for port in at.tolist()]
    found.sort(key=lambda pair: (pair[1].priority, pair[0]))
    reasons: dict[int, list[str]] = {}
    for port, fault in found:
        reasons.setdefault(port, []).append(fault.text)
    said = {port: ", ".join(texts[:3]) for port, texts in reasons.items()}
    return Judged([fault for _, fault in found], [port for port, _ in found], np.where(priority > 4, 0, priority), said)


def _fault(ports: Ports, ends: Ends, trouble: _Trouble, port: int) -> PortFault:
    return PortFault(
        kind=trouble.kind,
        device=ports.roster.device[port],
        interface=ports.roster.interface[port],
        rack=ports.rack[port],
        neighbor=ends.host[port] or ends.neighbor[port],
        host=ends.host[port],
        gpus=int(ends.gpus[port]),
        priority=int(trouble.priority[port]),
        text=trouble.text(port),
    )


def _troubles(ports: Ports, ends: Ends, settings: Alarms) -> Iterator[_Trouble]:
    yield from _link(ports, ends, settings)
    yield from _flow(ports, ends, settings)
    yield from _packets(ports, settings)
    yield from _signal(ports, settings)


def _always(ports: Ports, priority: int) -> Ints:
    return np.full(ports.roster.count, priority)


def _link(ports: Ports, ends: Ends, settings: Alarms) -> Iterator[_Trouble]:
    minutes = settings.fabric.event_hold.total_seconds() / 60.0
    flaps = ports.values["flaps_recent"]

    def flapped(port: int) -> str:
        count, seen = round(flaps[port]), " as polls saw it" if ports.polled_flaps[port] else ""
        return f"{count} flap{'s' if count > 1 else ''} in {minutes:g} min{seen}"

    before_gpus: Ints = np.where(ends.gpus > 0, 2, 3)
    yield _Trouble("port_down", ports.state == DOWN, before_gpus, lambda _: "link down")
    # A link that fell once and is down has its alarm already.
    often = (flaps >= 1.0 - 1e-6) & ((ports.state != DOWN) | (flaps >= 2.0 - 1e-6))
    yield _Trouble("port_flapping", often, _always(ports, 3), flapped)


def _flow(ports: Ports, ends: Ends, settings: Alarms) -> Iterator[_Trouble]:
    limits, values = settings.fabric, ports.values
    paused, frames, marked = values["pause_ratio"], values["pause_frames"], values["ecn_ratio"]
    held, caught = values["stormed"] > 0, values["storms_recent"]

    def stormed(port: int) -> str:
        return paused_words(paused[port], int(ports.pause_source[port])) or f"{frames[port]:.0f} pause frames/s"

    def guarded(port: int) -> str:
        if held[port]:
            return "PFC watchdog holds a queue"
        count = round(caught[port])
        return f"PFC watchdog caught {count} storm{'s' if count > 1 else ''}"

    before_gpus: Ints = np.where(ends.gpus > 0, 2, 3)
    storm = (paused > limits.pause_ratio) & (ports.pause_source != _BOUND)
    yield _Trouble("pfc_watchdog", held | (caught > 0), _always(ports, 2), guarded)
    yield _Trouble("pfc_storm", storm | (frames > settings.pfc_frames_per_second), before_gpus, stormed)
    heavy: Ints = np.where(marked > limits.ecn_high_ratio, 3, 4)
    yield _Trouble("congestion", marked > limits.ecn_ratio, heavy, lambda port: _marked(marked[port]))


def _packets(ports: Ports, settings: Alarms) -> Iterator[_Trouble]:
    limits, values = settings.fabric, ports.values
    for what, word, most in (("error", "broken", limits.error_ppm), ("discard", "dropped", limits.discard_ppm)):
        shares, grown = values[f"{what}_ppm"], values[f"{what}s_grown"]

        def told(port: int, shares: Floats = shares, word: str = word) -> str:
            return f"{_share(shares[port])} of packets {word}"

        bad = (shares > most) & (grown >= limits.least_packets)
        yield _Trouble(f"port_{what}s", bad, _always(ports, 3), told)


def _signal(ports: Ports, settings: Alarms) -> Iterator[_Trouble]:
    limits, values = settings.fabric, ports.values
    broken, ratio = values["uncorrected_recent"], values["pre_fec_ber"]
    margin, spread, dark = values["optics_margin_db"], values["optics_spread_db"], values["dark_lanes"]
    lit = ports.lit

    def lost(port: int) -> str:
        return f"{broken[port]:,.0f} codewords beyond repair".replace(",", "\u2009")

    def unlit(port: int) -> str:
        return f"{dark[port]:.0f} lane{'s' if dark[port] > 1 else ''} dark"

    yield _Trouble("fec_uncorrected", broken > 0, _always(ports, 2), lost)
    yield _Trouble("optics_dark", lit & (dark > 0), _always(ports, 2), unlit)
    yield _Trouble(
        "pre_fec_ber",
        ratio > limits.pre_fec_ber,
        _always(ports, 3),
        lambda port: f"bit errors {ratio[port]:.1e} before FEC",
    )
    yield _Trouble(
        "optics_margin",
        lit & (margin < limits.optics_margin_db),
        _always(ports, 3),
        lambda port: f"light {abs(margin[port]):.1f} dB {'below' if margin[port] < 0 else 'above'} its alarm limit",
    )
    yield _Trouble(
        "optics_spread",
        lit & (spread > limits.optics_spread_db),
        _always(ports, 3),
        lambda port: f"lanes differ by {spread[port]:.1f} dB",
    )


def paused_words(ratio: float, source: int) -> str:
    """Return how long a port was paused, in words; "" where it is not known."""
    if source < 0 or ratio != ratio:
        return ""
    most = "up to " if source == _BOUND else ""
    return f"paused {most}{percent(ratio)} of the time"


def _marked(ratio: float) -> str:
    return f"{percent(ratio)} of packets marked with congestion"


def host_notes(ports: Ports, ends: Ends, telling: Bools, settings: Alarms) -> dict[str, str]:
    """Return host -> what its ports suffer that can hold its GPUs up (C30): down, paused, marked."""
    limits, values = settings.fabric, ports.values
    paused, marked = values["pause_ratio"], values["ecn_ratio"]
    down = ports.state == DOWN
    slow = (paused > limits.pause_reason_ratio) | (marked > limits.ecn_high_ratio)
    at = np.flatnonzero(telling & ~ports.gone & (ends.host != "") & (down | slow))
    worst = np.lexsort((-np.nan_to_num(paused[at]), ~down[at]))
    notes: dict[str, list[str]] = {}
    for port in at[worst].tolist():
        if down[port]:
            what = "is down"
        elif paused[port] > limits.pause_reason_ratio:
            what = paused_words(paused[port], int(ports.pause_source[port]))
        else:
            what = f"has {_marked(marked[port])}"
        name = f"{ports.roster.interface[port]} of {ports.roster.device[port]}"
        notes.setdefault(ends.host[port], []).append(f"{name} {what}")
    return {host: _first(texts) for host, texts in notes.items()}


def _first(texts: Sequence[str]) -> str:
    more = len(texts) - _MOST_NOTES
    return ", ".join(texts[:_MOST_NOTES]) + (f" and {more} more" if more > 0 else "")
