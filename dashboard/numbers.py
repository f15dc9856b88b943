"""The live numbers of a site: token rates, watts at each boundary, tokens per joule, PUE."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dashboard.boundaries import Boundary, Window
from dashboard.kpis.efficiency import Quality, Ratio, coverage, matched, tokens_per_joule
from dashboard.kpis.power import headroom_watts, pue
from dashboard.kpis.windows import Floats, Samples, span, tally
from dashboard.number import Number, number, withheld
from dashboard.settings import DashboardSettings
from dashboard.tables import Tables
from dashboard.tokens import Tokens, count_tokens, input_samples, output_samples, trusted

NO_ENGINE = "no inference engine has reported for long enough"


def common(tables: Tables, *sources: Samples) -> Window | None:
    """Return the window that all sources can speak of: it ends at the earliest end. None where one has nothing."""
    own = [span(samples, tables.now, tables.window_seconds) for samples in sources]
    known = [window for window in own if window is not None]
    if len(known) < len(sources):
        return None
    end = min(window[1] for window in known)
    cut = [span(samples, tables.now, tables.window_seconds, end) for samples in sources]
    starts = [window[0] for window in cut if window is not None]
    return (max(starts), end) if len(starts) == len(sources) else None


def token_numbers(tables: Tables) -> dict[str, Number]:
    """Return the token rates of the site. Units: tokens/s."""
    inference = tables.inference
    return {
        "output_tokens_per_second": _rate(tables, output_samples(inference), "output"),
        "input_tokens_per_second": _rate(tables, input_samples(inference), "input"),
    }


def _rate(tables: Tables, samples: Samples, which: str) -> Number:
    formula = f"growth of the engines' {which} token counters / seconds of the window"
    window = span(trusted(tables.inference, samples, tables.now), tables.now, tables.window_seconds)
    if window is None:
        return withheld("tokens/s", "site", formula, NO_ENGINE)
    seconds = window[1] - window[0]
    tokens = count_tokens(tables.site, tables.inference, samples, window, tables.now)
    rate = float(tokens.counted.sum()) / seconds
    return number(rate, "tokens/s", "site", formula, window=window, coverage=tokens.coverage(seconds))


def power_numbers(bounds: Sequence[Boundary]) -> dict[str, Number]:
    """Return the mean power at each boundary. Units: W = J / s."""
    return {f"{boundary.name}_watts": _watts(boundary) for boundary in bounds}


def _watts(boundary: Boundary) -> Number:
    formula = f"{boundary.formula} / seconds of the window"
    if boundary.window is None:
        return withheld("W", boundary.name, formula, boundary.missing)
    seconds = boundary.window[1] - boundary.window[0]
    energy = boundary.energy(boundary.window).whole()
    share = coverage(float(energy.covered[0]), float(energy.expected[0]), seconds)
    watts = float(energy.joules[0]) / seconds
    return number(watts, "W", boundary.name, formula, window=boundary.window, coverage=share)


def efficiency_numbers(tables: Tables, bounds: Sequence[Boundary]) -> dict[str, Number]:
    """Return the site's tokens per joule at each boundary. Units: tokens/J."""
    samples = output_samples(tables.inference)
    told = trusted(tables.inference, samples, tables.now)
    found: dict[str, Number] = {}
    for boundary in bounds:
        formula = f"output tokens / {boundary.formula}"
        window = common(tables, told, boundary.samples)
        if window is None:
            why = NO_ENGINE if boundary.window else boundary.missing
            ratio = withheld("tokens/J", boundary.name, formula, why)
        else:
            tokens = count_tokens(tables.site, tables.inference, samples, window, tables.now)
            ratio = _efficiency(tables, boundary, tokens, window, formula)
        found[f"tokens_per_joule_{boundary.name}"] = ratio
    return found


def _efficiency(tables: Tables, boundary: Boundary, tokens: Tokens, window: Window, formula: str) -> Number:
    """Return tokens over joules of the groups that are known on both sides (E9, E16).

    Engines whose group is not known count: their tokens are the site's.
    """
    energy, seconds = boundary.energy(window), window[1] - window[0]
    groups, group = len(energy.joules), boundary.engine_group
    mapped = group >= 0
    heard = tally(group[mapped], tokens.covered[mapped], groups)
    takes_part = matched(heard, _engines_of(tables, boundary, tokens, groups), energy.covered, energy.expected, seconds)
    takes_part |= groups == 1  # one group is the site itself: its coverage alone decides
    counts = np.append(takes_part, True)[group]
    known = energy.only(takes_part).whole()
    share = coverage(float(known.covered[0]), float(energy.expected.sum()), seconds)
    shares = (tokens.coverage(seconds, counts), share)
    gpus = int(tables.places.gpus_of_host.sum())
    ratio = tokens_per_joule(float(tokens.counted[counts].sum()), float(known.joules[0]), gpus, shares)
    return _of_ratio(ratio, "tokens/J", boundary.name, formula, window, min(shares))


def _engines_of(tables: Tables, boundary: Boundary, tokens: Tokens, groups: int) -> Floats:
    """Return how many endpoints each group has."""
    host_number = {name: i for i, name in enumerate(tables.places.hosts)}
    counts = np.zeros(groups + 1)
    for name, series in tokens.endpoints.items():
        host = host_number.get(tables.site.engines.get(name, ""), -1)
        counts[boundary.engine_group[series] if series >= 0 else boundary.host_group[host] if host >= 0 else -1] += 1
    return counts[:groups]


def pue_number(tables: Tables, bounds: Sequence[Boundary]) -> Number:
    """Return the PUE of the window. Units: J/J."""
    by_name = {boundary.name: boundary for boundary in bounds}
    pair = (by_name["facility"], by_name["it"])
    formula = "facility energy / IT energy over the same window"
    window = common(tables, *(boundary.samples for boundary in pair))
    if window is None:
        missing = ", ".join(boundary.missing for boundary in pair if boundary.window is None)
        return withheld("", "facility", formula, missing or "not long enough together")
    facility, it = (boundary.energy(window).whole() for boundary in pair)
    seconds = window[1] - window[0]
    shares = [coverage(float(e.covered[0]), float(e.expected[0]), seconds) for e in (facility, it)]
    ratio = pue(float(facility.joules[0]), float(it.joules[0]), shares)
    return _of_ratio(ratio, "", "facility", formula, window, min(shares))


def _of_ratio(ratio: Ratio, unit: str, boundary: str, formula: str, window: Window, share: float) -> Number:
    value = None if ratio.quality is Quality.INVALID else ratio.value
    return Number(value, unit, boundary, share, ratio.quality, *window, formula, ratio.why)


def it_limit_watts(settings: DashboardSettings, rated: Sequence[float | None]) -> float | None:
    """Return what IT may draw: the settings' limit, else the racks' ratings when all are known. Units: W."""
    known = [watts for watts in rated if watts is not None]
    return settings.limits.it_watts or (sum(known) if known and len(known) == len(rated) else None)


def headroom_number(it_watts: Number, limit: float | None) -> Number:
    """Return the IT power that may still be added. Units: W = limit - drawn."""
    formula = "IT limit - IT power"
    if limit is None:
        return withheld("W", "it", formula, "neither limits.it_watts nor every rack's rating is known")
    value = None if it_watts.value is None else headroom_watts(limit, it_watts.value)
    return replace(it_watts, value=value, formula=formula)


def with_aims(numbers: Mapping[str, Number], settings: DashboardSettings, it_limit: float | None) -> dict[str, Number]:
    """Return the numbers with the settings' targets and limits beside them."""
    targets, limits = settings.targets.model_dump(), settings.limits.model_dump()
    limits["it_watts"] = it_limit
    limits["bus_headroom_ratio"] = settings.alarms.facility.bus_headroom_low.warning
    return {n: replace(v, target=targets.get(n), limit=limits.get(n, v.limit)) for n, v in numbers.items()}
