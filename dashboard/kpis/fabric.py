"""What the counters of switch ports say: rates, shares, error ratios. Pure, one element per port; NaN is unknown.

Source: RFC 2863 (interface counters), IEEE 802.1Qbb (a pause quantum is 512 bit times, at most 65,535 of them per
frame), IEEE 802.3 clauses 91, 119 and 134 (signalling rates per lane).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from dashboard.kpis.windows import Bools, Floats, Ints, Samples, newest, period, tally

#: shortest window of a port's rate, and of a queue's, whose counters move each 10 s only. Units: s
PORT_SECONDS, QUEUE_SECONDS = 10.0, 30.0
#: samples further apart than so many periods tell no rate
GAP_PERIODS = 5.0
#: traffic over this share of the speed is no traffic but a mistake in one of the two
SUSPECT_RATIO = 1.05
#: what SNMP says of a port whose speed it does not know. Units: bit/s
UNKNOWN_SPEED = 40e9
#: fewer packets than this tell no share of marked ones
LEAST_PACKETS = 100.0
#: longest pause that one frame can ask for. Units: bit times
PAUSE_BITS = 65_535.0 * 512.0
#: speed of a lane -> its signalling rate. Units: bit/s
SERDES: Mapping[float, float] = MappingProxyType(
    {10e9: 10.3125e9, 25e9: 25.78125e9, 50e9: 53.125e9, 100e9: 106.25e9, 200e9: 212.5e9}
)
#: a bit error ratio and the switch's own may differ by this factor, for they speak of different windows
BER_FACTOR = 3.0
#: below this nothing is to be compared: a handful of bits
BER_FLOOR = 1e-11
#: how a pause is known, best first
PAUSE_SOURCES = ("measured", "estimated", "bound")
#: `power.side` of what a switch's watts are, and how they are to be read
WATTS_NOTE = {"output": "output, PSU loss not included", "input": "input of the supplies"}


@dataclass(frozen=True, slots=True)
class Grown:
    """How much a counter grew over its window, per series."""

    #: NaN where it cannot be told
    per_second: Floats
    #: growth; 0 where nothing is known
    amount: Floats
    #: time in which it grew. Units: s
    seconds: Floats


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs of neighbouring samples that the newest rate speaks of: the same for all counters of one read."""

    inside: Bools
    series: Ints
    #: Units: s
    steps: Floats
    count: int
    least: float


def pairs(samples: Samples, least: float) -> Pairs:
    """Return the pairs from the last sample that is at least `least` seconds older than the newest one, per series.

    Steps are those between the stamps themselves. A gap of more than five of the series' periods is left out.
    """
    times, series = samples.times, samples.series
    old = np.flatnonzero(times <= newest(samples)[series] - least + 1e-6)
    base = np.full(samples.count, len(times))
    base[series[old]] = old
    steps = np.diff(times)
    inside = (series[1:] == series[:-1]) & (np.arange(len(steps)) >= base[series[:-1]])
    inside &= steps <= GAP_PERIODS * period(samples)[series[:-1]] + 1e-6
    return Pairs(inside, series[1:], steps, samples.count, least)


def grown(samples: Samples, over: Pairs) -> Grown:
    """Return the growth of each counter. Units: per second = growth / seconds.

    Every fall is a reset: that step tells nothing, neither of growth nor of time. Less than `least` seconds left: NaN.
    """
    delta = np.diff(samples.values)
    good = over.inside & (delta >= 0)
    amount = tally(over.series, np.where(good, delta, 0.0), over.count)
    seconds = tally(over.series, np.where(good, over.steps, 0.0), over.count)
    enough = (seconds > 0) & (seconds >= over.least - 1e-6)
    per_second = np.where(enough, amount / np.where(enough, seconds, 1.0), np.nan)
    return Grown(per_second, amount, seconds)


def usable_speed(speed: Floats, oper_up: Floats) -> Floats:
    """Return the speed that a share is taken of. Units: bit/s; NaN for 0, and for SNMP's 40 Gbit/s of a dead port."""
    guessed = (speed == UNKNOWN_SPEED) & (oper_up == 0)
    usable: Floats = np.where((speed > 0) & ~guessed, speed, np.nan)
    return usable


def utilization(rx_bytes_per_second: Floats, tx_bytes_per_second: Floats, speed: Floats) -> Floats:
    """Return the busier direction's share of the speed. Units: ratio = 8 x bytes/s / (bit/s); not clamped."""
    busier = np.fmax(rx_bytes_per_second, tx_bytes_per_second)
    return np.where(speed > 0, 8.0 * busier / np.where(speed > 0, speed, 1.0), np.nan)


def suspect(shares: Floats) -> Bools:
    """Return which utilisations cannot be: over 105 %."""
    over: Bools = shares > SUSPECT_RATIO
    return over


def ppm(bad: Floats, packets: Floats) -> Floats:
    """Return bad packets per million. Units: ppm = 1e6 x bad/s / (packets/s).

    A million where nothing but bad ones came; NaN where nothing came at all.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        share = 1e6 * bad / packets
    return np.where(packets > 0, share, np.where((packets == 0) & (bad > 0), 1e6, np.nan))


def ecn_ratio(marked: Floats, packets: Floats) -> Floats:
    """Return the share of marked packets, of growths. Units: ratio = marked / packets; NaN under 100 packets."""
    enough = packets >= LEAST_PACKETS
    return np.where(enough, marked / np.where(enough, packets, 1.0), np.nan)


def pause_bound(frames_per_second: Floats, speed: Floats) -> Floats:
    """Return the most that these frames can have paused. Units: ratio = frames/s x 65535 x 512 / (bit/s), 0 to 1."""
    bound = frames_per_second * PAUSE_BITS / np.where(speed > 0, speed, np.nan)
    return np.clip(bound, 0.0, 1.0)


def pause_ratio(measured: Floats, estimated: Floats, bound: Floats) -> tuple[Floats, Ints]:
    """Return the share of time paused, 0 to 1, and how it is known: an index into PAUSE_SOURCES, -1 for not at all.

    Units: ratio = s of pause / s, where the switch measures or estimates it; else the bound from frames.
    """
    known = [~np.isnan(column) for column in (measured, estimated, bound)]
    source: Ints = np.select(known, [0, 1, 2], default=-1).astype(np.int64)
    ratio = np.select(known, [measured, estimated, bound], default=np.nan)
    return np.clip(ratio, 0.0, 1.0), source


def worst_pause(ratio: Floats, source: Ints, port: Ints, count: int) -> tuple[Floats, Ints]:
    """Return each port's pause: of its priorities the worst one among those that are known best, and its source."""
    ratios, sources = np.full(count, np.nan), np.full(count, -1)
    known = np.flatnonzero((port >= 0) & (source >= 0))
    # The last assignment wins: bounds first, measured last, the higher later.
    order = known[np.lexsort((ratio[known], -source[known]))]
    ratios[port[order]] = ratio[order]
    sources[port[order]] = source[order]
    return ratios, sources


def serdes_rate(speed: Floats, lanes: Floats) -> Floats:
    """Return the signalling rate of each lane. Units: bit/s; NaN where speed / lanes is no known lane speed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        of_lane = speed / lanes
    rates = np.full(len(speed), np.nan)
    for lane, rate in SERDES.items():
        rates[of_lane == lane] = rate
    return rates


def pre_fec_ber(corrected_bits_per_second: Floats, speed: Floats, lanes: Floats) -> Floats:
    """Return the bit error ratio before FEC. Units: ratio = corrected bits/s / (lanes x signalling rate)."""
    ratio: Floats = corrected_bits_per_second / (lanes * serdes_rate(speed, lanes))
    return ratio


def ber_disagrees(computed: Floats, own: Floats) -> Bools:
    """Return where the switch's own bit error ratio and the computed one differ by more than a factor of three."""
    big = np.fmax(computed, own) > BER_FLOOR
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = computed / own
    apart: Bools = big & ((factor > BER_FACTOR) | (factor < 1.0 / BER_FACTOR))
    return apart


def per_hour(amount: Floats, seconds: Floats, least: float = 300.0) -> Floats:
    """Return events per hour. Units: 1/h = 3600 x amount / max(seconds, least); NaN without time."""
    return np.where(seconds > 0, 3600.0 * amount / np.maximum(seconds, least), np.nan)


def falls(samples: Samples) -> Bools:
    """Return the pairs of samples between which a state fell from 1 to 0: a flap as polls see it."""
    same = samples.series[1:] == samples.series[:-1]
    fell: Bools = same & (samples.values[:-1] > 0) & (samples.values[1:] == 0)
    return fell


def sum_members(values: Floats, group: Ints, counts: Bools, count: int) -> Floats:
    """Return the sum over each group's members that count; NaN where none of them is known."""
    known = (group >= 0) & counts & ~np.isnan(values)
    sums = tally(group[known], values[known], count)
    return np.where(np.bincount(group[known], minlength=count) > 0, sums, np.nan)


def switch_watts(total_input: float, total_output: float, supplies_output: Floats) -> tuple[float | None, str]:
    """Return a switch's power and its side. Units: W.

    The whole input where the switch tells it, else the whole output, else the sum over its supplies; None without any.
    """
    if not np.isnan(total_input):
        return float(total_input), "input"
    if not np.isnan(total_output):
        return float(total_output), "output"
    known = supplies_output[~np.isnan(supplies_output)]
    return (float(known.sum()), "output") if len(known) else (None, "")
