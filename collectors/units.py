"""Units by name, each turned into one factor and one offset to the schema's base unit.

Factors: SI Brochure 9th edition (prefixes, Wh), NIST SP 811 appendix B (psi, US gallon, Fahrenheit).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from storage.config import InvalidValueError, suggest

_PSI_PASCALS = 6894.757293168
_GALLON_LITERS = 3.785411784
#: quantities in celsius that are differences: a kelvin or a degree of them has no offset
_DIFFERENCES = ("margin", "approach", "difference")

#: base unit of the schema -> unit -> factor
_FACTORS: dict[str, dict[str, float]] = {
    "watts": {"W": 1, "kW": 1e3, "MW": 1e6, "mW": 1e-3, "uW": 1e-6},
    "joules": {"J": 1, "kJ": 1e3, "MJ": 1e6, "mJ": 1e-3, "uJ": 1e-6, "Wh": 3600, "kWh": 3.6e6, "MWh": 3.6e9},
    "volt_amperes": {"VA": 1, "kVA": 1e3, "MVA": 1e6},
    "volts": {"V": 1, "mV": 1e-3, "kV": 1e3},
    "amperes": {"A": 1, "mA": 1e-3, "uA": 1e-6, "kA": 1e3},
    "ohms": {"ohm": 1, "mohm": 1e-3, "kohm": 1e3, "Mohm": 1e6},
    "hertz": {"Hz": 1, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9},
    "ratio": {"%": 0.01, "ppm": 1e-6},
    "liters_per_second": {"L/s": 1, "L/min": 1 / 60, "L/h": 1 / 3600, "m3/h": 1 / 3.6, "gpm": _GALLON_LITERS / 60},
    "pascals": {"Pa": 1, "hPa": 100, "kPa": 1e3, "MPa": 1e6, "mbar": 100, "bar": 1e5, "psi": _PSI_PASCALS},
    "seconds": {"s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60, "h": 3600, "d": 86400},
    "bytes": {
        "B": 1,
        "kB": 1e3,
        "MB": 1e6,
        "GB": 1e9,
        "TB": 1e12,
        "KiB": 2**10,
        "MiB": 2**20,
        "GiB": 2**30,
        "TiB": 2**40,
    },
    "bits_per_second": {"bit/s": 1, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9, "Tbit/s": 1e12},
    "siemens_per_meter": {"S/m": 1, "mS/cm": 0.1, "uS/cm": 1e-4},
    "rpm": {"rpm": 1},
    "ntu": {"NTU": 1},
}
#: what people write, in small letters -> the unit of that meaning: nearness of letters would take lpm for gpm
_KNOWN_AS = {
    "watt": "W", "watts": "W", "kilowatt": "kW", "kilowatts": "kW", "megawatt": "MW",
    "volt": "V", "volts": "V", "amp": "A", "amps": "A", "ampere": "A", "amperes": "A",
    "degc": "C", "deg c": "C", "°c": "C", "celsius": "C", "degf": "F", "deg f": "F", "°f": "F", "fahrenheit": "F",
    "kelvin": "K", "degk": "K", "percent": "%", "pct": "%", "prozent": "%",
    "lpm": "L/min", "lps": "L/s", "lph": "L/h", "liter/min": "L/min", "litre/min": "L/min", "l/m": "L/min",
    "cmh": "m3/h", "cbm/h": "m3/h", "m³/h": "m3/h", "m^3/h": "m3/h", "gal/min": "gpm", "usgpm": "gpm",
    "barg": "bar", "psig": "psi", "kpag": "kPa", "pascal": "Pa", "sec": "s", "second": "s", "seconds": "s",
    "minute": "min", "minutes": "min", "hour": "h", "hours": "h", "hrs": "h", "day": "d", "days": "d",
    "ms/cm": "mS/cm", "us/cm": "uS/cm", "µs/cm": "uS/cm", "1/min": "rpm", "u/min": "rpm", "hertz": "Hz",
}  # fmt: skip
#: unit -> (factor, offset) to celsius
_TEMPERATURES = {"C": (1.0, 0.0), "K": (1.0, -273.15), "F": (5 / 9, -160 / 9)}


@dataclass(frozen=True, slots=True)
class Conversion:
    """Base value = factor * value + offset, or for decibels over a milliwatt 10^(value / 10) mW."""

    factor: float = 1.0
    offset: float = 0.0
    decibel_milliwatts: bool = False

    def to_base(self, value: float) -> float:
        """Return the value in the base unit."""
        if self.decibel_milliwatts:
            return float(1e-3 * 10 ** (value / 10))
        return self.factor * value + self.offset


def fitting_units(base: str) -> list[str]:
    """Return the units that fit a field of this base unit."""
    if base == "celsius":
        return list(_TEMPERATURES)
    return [*_FACTORS.get(base, {}), *(["dBm"] if base == "watts" else [])]


def conversion(unit: str | None, field: str, base: str) -> Conversion:
    """Return what turns `unit` into `base`, the base unit of the schema's field; None is the base unit already.

    Raises:
        InvalidValueError: the unit does not fit; the hint lists those that do.
    """
    if unit is None:
        return Conversion()
    if base == "celsius" and unit in _TEMPERATURES:
        factor, offset = _TEMPERATURES[unit]
        return Conversion(factor, 0.0 if any(word in field for word in _DIFFERENCES) else offset)
    if base == "watts" and unit == "dBm":
        return Conversion(decibel_milliwatts=True)
    if unit in _FACTORS.get(base, {}):
        return Conversion(_FACTORS[base][unit])
    fitting = fitting_units(base)
    near = _near(unit, fitting)
    hint = f"{near}{base}: {', '.join(fitting)}; none: {base} already" if fitting else "leave `unit` out"
    raise InvalidValueError(f"the unit {unit!r} does not fit {field}", hint)


def _near(unit: str, fitting: Sequence[str]) -> str:
    """Return the fitting unit that is meant, or which it may be, for the beginning of a hint, or ""."""
    small = unit.strip().lower()
    meant = _KNOWN_AS.get(small)
    same = [each for each in fitting if each.lower() == small]
    if meant in fitting:
        return f"write {meant}; "
    if len(same) > 1:  # mW and MW
        return f"did you mean {' or '.join(map(repr, same))}? "
    hint = suggest(unit, fitting)
    return f"{hint} " if hint.startswith("did") and meant is None else ""
