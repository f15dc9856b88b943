"""Which boards there are: new ones, those that came back, those that are gone, and the parts of those under MIG."""

import os
from typing import TYPE_CHECKING, Any

import pynvml

from collectors.nvml.agent.board import Board
from collectors.nvml.agent.calls import ABSENT, GONE, LOST, NOWHERE
from collectors.nvml.agent.identity import averages_power, has_module, read_fabric, read_info, socket_of
from collectors.nvml.agent.reads import ONCE

if TYPE_CHECKING:
    from collectors.nvml.agent.driver import Driver

#: GPUs that stand on a module with one CPU, at most: two on GB200 and GB300
MOST_ON_MODULE = 2


def update(driver: "Driver") -> None:
    """List all boards anew.

    Raises:
        NVMLError: none can be had.
    """
    _note_version(driver)
    calls = driver.context.calls
    missing = set(driver.boards)
    count = calls("nvmlDeviceGetCount")
    refused: dict[int, pynvml.NVMLError] = {}
    for index in range(count):
        try:
            missing.discard(_take(driver, index, calls("nvmlDeviceGetHandleByIndex", index)))
        except pynvml.NVMLError as error:
            refused[index] = error
    # One board alone may be lost; without any, or when the driver is gone for all, NVML is to be opened again.
    if refused and len(refused) == count and (not driver.boards or all(e.value in GONE for e in refused.values())):
        raise refused[0]
    driver.refused = [f"GPU {index}: {error}" for index, error in refused.items()]
    for uuid in missing:
        _look_for(driver, driver.boards[uuid])
    _elect(driver)
    _note_nodes(driver, count)


def _note_version(driver: "Driver") -> None:
    version = driver.context.calls("nvmlSystemGetDriverVersion")
    if driver.version and version != driver.version:
        driver.context.absent.clear()
        for board in driver.boards.values():
            board.forget()
            board.instances.clear()
            board.info = {}
            board.energy.joules = None
            driver.tell(board, "reset", 0, 1, f"the driver was changed from {driver.version} to {version}")
    driver.version = version


def _take(driver: "Driver", index: int, handle: Any) -> str:
    """Take up the board behind a handle, or go on with it; return its UUID."""
    calls = driver.context.calls
    uuid = str(calls("nvmlDeviceGetUUID", handle))
    board = driver.boards.get(uuid)
    if board is None:
        model = calls("nvmlDeviceGetName", handle)
        board = Board(driver.context, uuid, index, model, handle)
        board.averages_power = averages_power(calls, handle, model)
        if not board.averages_power:
            driver.notes.append(
                f"{uuid}: {model} tells its power at an instant only; the mean is that of one sample a second"
            )
        board.has_module = has_module(calls, handle)
        driver.boards[uuid] = board
    board.handle, board.index = handle, index
    if board.lost:
        _look_for(driver, board)
    if not board.lost:
        _refresh(driver, board)
    return uuid


def _note_nodes(driver: "Driver", count: int) -> None:
    """Open NVML again when the driver has a board that it did not have then: NVML lists those at its start."""
    try:
        nodes = set(os.listdir(driver.settings.nodes))  # noqa: PTH208
    except OSError:
        return
    if driver.nodes is not None and nodes - driver.nodes and len(nodes) > count:
        driver.wants_reopening = True
    driver.nodes = nodes


def _refresh(driver: "Driver", board: Board) -> None:
    calls = driver.context.calls
    try:
        # The fabric is set up later than the driver.
        board.info = (
            {**board.info, **read_fabric(calls, board.handle)}
            if board.info
            else read_info(calls, board.handle, driver.version)
        )
        if board.has_module:
            board.socket = socket_of(driver.settings.devices, board.info.get("pci_bus_id", ""))
        for name, ways in ONCE.items():
            if name not in board.values:
                board.keep(name, board.read(name, ways))
        _list_instances(driver, board)
    except pynvml.NVMLError as error:
        if error.value not in LOST:
            raise
        driver.mark_lost(board, error.value, str(error))


def _look_for(driver: "Driver", board: Board) -> None:
    """Find a board by its UUID, when that is due; one that does not answer is lost."""
    if board.lost and driver.context.clock() < board.look_again_at:
        return
    try:
        board.handle = driver.context.calls("nvmlDeviceGetHandleByUUID", board.uuid, quiet=ABSENT | NOWHERE | LOST)
        driver.context.calls("nvmlDeviceGetPowerUsage", board.handle, quiet=ABSENT | NOWHERE | LOST)
    except pynvml.NVMLError as error:
        if error.value in LOST:
            driver.mark_lost(board, error.value, str(error))
        elif error.value in NOWHERE:
            driver.mark_lost(board, error.value, "no longer listed by the driver")
        elif error.value not in ABSENT:
            driver.look_later(board)
        if error.value not in ABSENT:
            return
    board.lost = False


def _list_instances(driver: "Driver", board: Board) -> None:
    """Follow how the board is partitioned."""
    calls = driver.context.calls
    mode = calls.probe("nvmlDeviceGetMigMode", board.handle)
    found: dict[str, Board] = {}
    number = calls.probe("nvmlDeviceGetMaxMigDeviceCount", board.handle) if mode and mode[0] else 0
    for place in range(number or 0):
        handle = calls.probe("nvmlDeviceGetMigDeviceHandleByIndex", board.handle, place)
        instance = None if handle is None else _instance(driver, board, handle)
        if instance is not None:
            found[instance.mig] = board.instances.get(instance.mig, instance)
            found[instance.mig].handle = handle
    for mig in board.instances.keys() - found.keys():
        board.instances[mig].close()
    board.instances = found
    if board.is_partitioned != bool(mode and mode[0]):
        board.is_partitioned = not board.is_partitioned
        driver.context.absent.forget(board.key)


def _instance(driver: "Driver", board: Board, handle: Any) -> Board | None:
    """Return an instance; None for one that is gone again, while the board is partitioned anew."""
    probe = driver.context.calls.probe
    gpu, compute = probe("nvmlDeviceGetGpuInstanceId", handle), probe("nvmlDeviceGetComputeInstanceId", handle)
    if gpu is None or compute is None:
        return None
    own = Board(driver.context, board.uuid, board.index, board.model, handle, mig=f"{gpu}/{compute}")
    own.parent, own.gpu_instance = board.handle, gpu
    return own


def _elect(driver: "Driver") -> None:
    """Let one board of each module, the first that is there, tell the module's power.

    Where it cannot be known which boards share a module, it is left out: it would be counted twice.
    """
    modules: dict[str, list[Board]] = {}
    for board in sorted(driver.boards.values(), key=lambda each: each.index):
        board.tells_module = False
        if board.has_module:
            modules.setdefault(board.socket, []).append(board)
    for socket, boards in modules.items():
        known = len(modules) == len(boards) == 1 or (bool(socket) and len(boards) <= MOST_ON_MODULE)
        teller = next((board for board in boards if not board.lost), None)
        if known and teller is not None:
            teller.tells_module = True
        elif not known:
            _note_module(driver, boards)


def _note_module(driver: "Driver", boards: list[Board]) -> None:
    if not driver.noted_modules:
        driver.noted_modules = True
        names = ", ".join(board.uuid for board in boards)
        driver.notes.append(f"module power is left out: which of these share a module is not known: {names}")
