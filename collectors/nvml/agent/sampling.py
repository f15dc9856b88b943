"""One look at a board: the fast sample, checked; the slower tiers; what changed between two looks."""

from typing import TYPE_CHECKING

from collectors.nvml.agent.board import Board, Readings
from collectors.nvml.agent.calls import GONE, NOWHERE, Values
from collectors.nvml.agent.interval import POWERS
from collectors.nvml.agent.reads import MEDIUM, MIG_FAST, MIG_MEDIUM, SLOW
from collectors.nvml.agent.truth import FROZEN_REST_S, impossible

if TYPE_CHECKING:
    from collectors.nvml.agent.driver import Driver

WARNING, CRITICAL = 1, 2
#: a board holds its limit but for moments; so far above it, the limit is asked again
SUSPECT = 1.1


def read_fast(driver: "Driver", board: Board, readings: Readings) -> int:
    """Take one fast sample of a board and its instances; return NVML's code if no reading came and that was why, or 0.

    Raises:
        NVMLError: the board is lost.
    """
    sample: Values = {}
    board.codes.clear()
    for name, ways in readings.items():
        sample |= board.read(name, ways) or {}
    for instance in board.instances.values():
        read_fast(driver, instance, MIG_FAST)
    limit = _limit(board, sample)
    for name, why in impossible(sample, limit):
        reject(board, name, sample[name], why)
    refused = {name for name, _ in impossible(sample, limit)}
    sample = {name: value for name, value in sample.items() if name not in refused}
    _check_energy(driver, board, sample, limit)
    board.interval.add(sample)
    codes = set(board.codes.values())
    return 0 if sample or len(codes) != 1 or not codes & (GONE | NOWHERE) else codes.pop()


def _limit(board: Board, sample: Values) -> float | None:
    """Return the limit of the board's power, read anew where it draws more: somebody may have raised it since."""
    limit = _held_limit(board)
    if limit is not None and max((sample[name] for name in POWERS if name in sample), default=0.0) > SUSPECT * limit:
        board.keep("power_limit", board.read("power_limit", MEDIUM["power_limit"]))
        limit = _held_limit(board)
    return limit


def _held_limit(board: Board) -> float | None:
    return board.values.get("power_limit", {}).get("power_limit_watts")


def _check_energy(driver: "Driver", board: Board, sample: Values, limit: float | None) -> None:
    joules = sample.get("energy_joules_total")
    if joules is None:
        return
    now = board.context.clock()
    why = board.energy.judge(joules, now, sample.get("power_watts", 0.0), limit)
    if why:
        reject(board, "energy_joules_total", sample.pop("energy_joules_total"), why)
    if board.energy.frozen:
        board.context.absent.note(board.key, "energy", 0, now, FROZEN_REST_S)
    if board.energy.was_reset:
        board.energy.was_reset = False
        driver.tell(board, "reset", 0, WARNING, "the energy counter began anew: driver reloaded, or board reset")


def reject(board: Board, name: str, value: float, why: str) -> None:
    """Refuse a reading and keep why."""
    tags = f"gpu={board.uuid}" + (f",mig={board.mig}" if board.mig else "")
    board.rejected.append(f"gpu.{name}[{tags}]={value}: {why}")


def read_tier(driver: "Driver", board: Board, readings: Readings) -> None:
    """Read one of the slower tiers of a board, and of its instances.

    Raises:
        NVMLError: the board is lost.
    """
    before = board.held()
    for name, ways in readings.items():
        board.keep(name, board.read(name, ways))
    if readings is MEDIUM:
        for instance in board.instances.values():
            read_tier(driver, instance, MIG_MEDIUM)
        _tell_links(driver, board, before)
    elif readings is SLOW:
        _tell_rows(driver, board, before)


def _tell_links(driver: "Driver", board: Board, before: Values) -> None:
    down = board.held().get("nvlink_down_count")
    was = before.get("nvlink_down_count")
    if down is not None and was is not None and down > was:
        driver.tell(board, "link", int(down), WARNING, f"{down:g} of {board.links} NVLinks are down")


def _tell_rows(driver: "Driver", board: Board, before: Values) -> None:
    """Tell a remap that the driver did not tell itself."""
    held = board.held()
    texts = {
        "row_remap_failure": "a memory row could not be remapped",
        "row_remap_pending": "a remapped row waits for a reset",
    }
    for name, text in texts.items():
        if before.get(name) == 0 and held.get(name) == 1 and not driver.has_told(board, 0x400 | 0x800):
            driver.tell(board, "remap", 0, CRITICAL if name == "row_remap_failure" else WARNING, text)
