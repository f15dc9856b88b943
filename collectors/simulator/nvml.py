"""The GPUs of NVML hosts: a libnvidia-ml.so.1 per host, built from nvml*.c, with a state file that is kept fresh.

Without a C compiler the stand-in of nvml_python.py takes the library's place.
"""

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

import numpy as np

from collectors.simulator import nvml_python
from collectors.simulator.dcgm import DRIVER, pci_bus_id
from collectors.simulator.factory import Factory
from collectors.simulator.layout import Host
from collectors.simulator.nvml_python import COLUMNS, GPU, HEADER, SLOWDOWN_CELSIUS, STATE, STEP_SECONDS, VERSION
from collectors.simulator.service import Device, Service

logger = logging.getLogger(__name__)

LIBRARY = "libnvidia-ml.so.1"
SOURCES = tuple(sorted(Path(__file__).parent.glob("nvml*.c")))
_STAND_IN = Path(nvml_python.__file__)
#: how often a new step of the physics is looked for
_WATCH_SECONDS = 0.1
_VBIOS = "97.00.B9.00.41"

Columns = Mapping[str, Sequence[float]]


def read_columns(factory: Factory, host: Host) -> dict[str, list[float]]:
    """Return what the state file says of a host's GPUs, one list per column, in SI units."""
    gpus = factory.state.gpus
    part = slice(host.gpu_start, host.gpu_start + host.gpu_count)
    counters = {
        "energy": (gpus.energy_joules, "joules"),
        "throttle_power": (gpus.throttle_power_seconds, "seconds"),
        "throttle_thermal": (gpus.throttle_thermal_seconds, "seconds"),
        "nvlink_tx": (gpus.nvlink_tx_bytes, "bytes"),
        "nvlink_rx": (gpus.nvlink_rx_bytes, "bytes"),
    }
    columns: dict[str, list[float]] = {}
    for name, (counter, unit) in counters.items():
        columns[f"{name}_{unit}"] = counter.at(factory.state.time, part).tolist()
        columns[f"{name}_rate"] = counter.rate[part].tolist()
    for name in COLUMNS:
        if name not in columns:
            value = getattr(gpus, name)
            columns[name] = np.broadcast_to(value if np.isscalar(value) else value[part], host.gpu_count).tolist()
    return columns


def encode_state(factory: Factory, host: Host, columns: Columns, *, offset: float = 0.0) -> bytes:
    """Return the state file of a host.

    Args:
        factory: gives names, UUIDs, the time of the state, and whether the host is silent or slow.
        host: whose GPUs they are.
        columns: as from `read_columns`; NaN makes the calls that need it answer NOT_SUPPORTED.
        offset: the factory's clock minus the system's, in seconds.
    """
    layout = factory.layout
    hang, delay = host.name in factory.silent, factory.slow.get(host.name, 0.0)
    texts = (layout.gpu_model.encode(), DRIVER.encode(), _VBIOS.encode())
    records = [HEADER.pack(VERSION, host.gpu_count, hang, factory.state.time, offset, delay, *texts)]
    for place in range(host.gpu_count):
        uuid = layout.gpu_uuids[host.gpu_start + place].encode()
        serial = str(1_650_000_000_000 + host.gpu_start + place).encode()
        records.append(GPU.pack(uuid, serial, pci_bus_id(place).encode(), *(columns[name][place] for name in COLUMNS)))
    return b"".join(records)


def replace_file(path: Path, data: bytes) -> None:
    """Put a whole new file in the place of the old one, so that no reader sees a part of it."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(data)
    fresh.replace(path)


async def build_library(directory: Path) -> Path | None:
    """Compile nvml*.c into `directory` and return the library, or None, with a warning, where that is not possible."""
    compiler = shutil.which("cc")
    if compiler is None:
        logger.warning(
            "no C compiler (cc): NVML is played by a stand-in in Python; apt-get install gcc for the library"
        )
        return None
    header = [f"enum column {{ {', '.join(name.upper() for name in COLUMNS)}, COLUMNS }};"]
    header += [f"#define STEP_SECONDS {STEP_SECONDS}", f"#define SLOWDOWN_CELSIUS {SLOWDOWN_CELSIUS}"]
    header += [f'#define VERSION "{VERSION.rstrip(bytes(1)).decode()}"', ""]
    (directory / "nvml_state.h").write_text("\n".join(header))
    library, draft = directory / LIBRARY, directory / f"{LIBRARY}.new"
    flags = ["-shared", "-fPIC", "-O1", f"-Wl,-soname,{LIBRARY}", f"-I{directory}"]
    process = await asyncio.create_subprocess_exec(
        compiler, *flags, "-o", draft, *SOURCES, "-lm", "-ldl", stderr=asyncio.subprocess.PIPE
    )
    _, complaints = await process.communicate()
    if process.returncode:
        logger.warning("cc cannot build %s, a stand-in in Python is used: %r", LIBRARY, complaints[-500:].decode())
        return None
    # One that is loaded stays whole.
    draft.replace(library)
    return library


async def start(
    factory: Factory,
    clock: Callable[[], float] = time.time,
    directory: Path = Path(),
    library: Path | None = None,
) -> Service:
    """Put a library, `library` or one that is built now, and a state file per NVML host under `directory`.

    The states are kept fresh.
    """
    hosts = [host for host in factory.layout.hosts if host.gpu_source == "nvml"]
    library = library or (await build_library(directory) if hosts else None) or _STAND_IN
    devices = []
    for host in hosts:
        own = (directory / host.name).resolve()
        own.mkdir(exist_ok=True)
        for left in ("nvml.energy", "nvml.forbidden"):
            (own / left).unlink(missing_ok=True)
        # Each host loads its own copy: the library looks for its state beside itself.
        replace_file(own / library.name, library.read_bytes())
        # The pids that it shows are none of this machine.
        url = f"nvml://{quote(str(own / library.name))}?workload=off"
        _write(factory, host, directory, clock)
        devices.append(Device(host.name, url, None, 10.0 if factory.layout.is_large else 5.0))
    task = asyncio.create_task(_keep_fresh(factory, hosts, directory, clock))
    return Service(tuple(devices), partial(_stop, task))


def _write(factory: Factory, host: Host, directory: Path, clock: Callable[[], float]) -> None:
    data = encode_state(factory, host, read_columns(factory, host), offset=clock() - time.time())
    replace_file(directory / host.name / STATE, data)


async def _keep_fresh(factory: Factory, hosts: list[Host], directory: Path, clock: Callable[[], float]) -> None:
    written = factory.state.time
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        if factory.state.time != written:
            written = factory.state.time
            for host in hosts:
                _write(factory, host, directory, clock)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
