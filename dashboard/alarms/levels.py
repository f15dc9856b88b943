"""How bad a value is against the limits of its rule, with hysteresis: what is told ends at its clear limit."""

from dashboard.alarms.findings import Scene
from dashboard.facility_settings import Above, Below, Rules

FINE, WARNING, CRITICAL = 0, 1, 2


def level(scene: Scene, rule: str, name: str, value: float | None) -> int:
    """Return FINE, WARNING or CRITICAL for the value of `name` by the rule of that id; FINE where it is not known."""
    limits = getattr(scene.settings.alarms.facility, rule)
    return judge(limits, value, scene.held.get((rule, name), FINE))


def judge(limits: Above | Below, value: float | None, held: int) -> int:
    """Return the level of a value. `held`: the level at which it stands already."""
    if value is None:
        return FINE
    above = isinstance(limits, Above)
    warning, critical = limits.pairs()
    for own, (limit, clear) in ((CRITICAL, critical), (WARNING, warning)):
        edge = clear if held >= own and clear is not None else limit
        if edge is not None and (value > edge if above else value < edge):
            return own
    return FINE


def is_rule(rule: str) -> bool:
    """Return whether the rule is one of power and coolant."""
    return rule in Rules.model_fields


def outside(value: float | None, band: tuple[float, float] | None) -> bool:
    """Return whether a known value lies outside its band."""
    return value is not None and band is not None and not band[0] <= value <= band[1]
