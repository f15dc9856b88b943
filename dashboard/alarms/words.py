"""Words that several rules share: where a thing stands, what hangs on it."""

from dashboard.alarms.findings import Scene


def say_gpus(count: int) -> str:
    """Return a number of GPUs in words."""
    return f"{count} GPU" if count == 1 else f"{count} GPUs"


def where_is(scene: Scene, thing: str, rack: str) -> str:
    """Return what holds a thing, as people say it: of a rack its row, of what stands in a rack that rack.

    Coolant units belong to the cooling wherever they stand, switches outside of racks to the fabric.
    """
    if thing in {unit.name for unit in scene.cdus} | {unit.name for unit in scene.plant.units}:
        return "Cooling"
    if rack and thing != rack:
        return f"Rack {rack}"
    row = next((now.row for now in scene.racks if now.name == rack), "") if rack else ""
    if row:
        return f"Row {row}"
    return "Fabric" if thing in scene.uplinks or thing in {one.name for one in scene.fabric.switches} else "Site"


def impact(scene: Scene, *racks: str) -> str:
    """Return how many GPUs stand in these racks; "" where none does."""
    count = sum(host.gpus for host in scene.hosts if host.rack in racks)
    return say_gpus(count) if count else ""


def cooled(scene: Scene, cdu: str) -> tuple[str, ...]:
    """Return the racks of a coolant unit."""
    return next((now.racks for now in scene.cdus if now.name == cdu), ())


def those(rack: str) -> tuple[str, ...]:
    """Return a rack as the racks of a finding; none for ""."""
    return (rack,) if rack else ()


def beside(value: float, bound: float) -> tuple[str, str]:
    """Return both in as many digits as it takes to tell them apart, two after the point at least."""
    texts = ((f"{value:.{digits}f}", f"{bound:.{digits}f}") for digits in range(2, 7))
    return next((pair for pair in texts if pair[0] != pair[1]), (f"{value:.6f}", f"{bound:.6f}"))


def signed(value: float) -> str:
    """Return a whole number with its sign, as people write it."""
    return f"{value:+.0f}".replace("-", "\u2212")
