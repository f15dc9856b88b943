"""Ratios of a whole facility over one span, the standards' own. Each is None where what stands below the line is not.

Sources: ISO/IEC 30134-2 (PUE), -6 (ERF), -7 (CER), -8 (CUE), -9 (WUE); The Green Grid (pPUE, ERE); Patterson et al.
2013 (ITUE, TUE). Over a year they are the standard's figures, over any other span interim ones.
"""

#: a kilowatt-hour. Units: J
KWH_JOULES = 3.6e6


def _over(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator > 0 else None


def pue(facility_joules: float, it_joules: float) -> float | None:
    """Return facility J / IT J (J/J)."""
    return _over(facility_joules, it_joules)


def partial_pue(it_joules: float, zone_joules: float) -> float | None:
    """Return (IT J + J of a zone's infrastructure) / IT J (J/J)."""
    return _over(it_joules + zone_joules, it_joules)


def reuse_factor(reused_joules: float, facility_joules: float) -> float | None:
    """Return ERF = reused J / facility J (J/J)."""
    return _over(reused_joules, facility_joules)


def reuse_effectiveness(facility_joules: float, reused_joules: float, it_joules: float) -> float | None:
    """Return ERE = (facility J - reused J) / IT J = PUE x (1 - ERF) (J/J)."""
    return _over(facility_joules - reused_joules, it_joules)


def water_usage(liters: float, it_joules: float) -> float | None:
    """Return WUE = L / (IT J / 3.6e6 J/kWh) = L/kWh."""
    return _over(liters, it_joules / KWH_JOULES)


def carbon_usage(facility_joules: float, kilograms_per_kwh: float, it_joules: float) -> float | None:
    """Return CUE = facility kWh x kg/kWh / IT kWh = kg/kWh."""
    return _over(facility_joules * kilograms_per_kwh, it_joules)


def cooling_efficiency(heat_joules: float, cooling_joules: float) -> float | None:
    """Return CER = J of heat removed / J of electricity for it (J/J)."""
    return _over(heat_joules, cooling_joules)


def it_usage(it_joules: float, compute_joules: float) -> float | None:
    """Return ITUE = J into IT / J into compute (J/J). Pumps and fans inside a rack count as IT: this shows them."""
    return _over(it_joules, compute_joules)


def total_usage(facility_joules: float, it_joules: float, compute_joules: float) -> float | None:
    """Return TUE = ITUE x PUE (J/J)."""
    first, second = it_usage(it_joules, compute_joules), pue(facility_joules, it_joules)
    return None if first is None or second is None else first * second
