"""What stands where in the simulated factory. Nothing here moves."""

import math
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

Workload = Literal["inference", "training", "none"]
GpuSource = Literal["nvml", "dcgm", "amd"]
Server = Literal["vllm", "sglang"]

GPUS_PER_HOST = 8
NICS_PER_HOST = 8
PORTS_PER_SWITCH = 64
RACKS_PER_SWITCH = 4
SWITCHES_PER_PDU = 8
MAX_RACKS_PER_ROW = 14
#: a rack is built for 16.5 kW per eight-GPU node: 33 kW at 16 GPUs, 66 kW at 32, 148.5 kW at 72
WATTS_PER_HOST = 16_500.0
PSU_WATTS = 5_500.0
#: Modbus unit ids of HPR power supplies, in the order in which shelves fill up.
#: Source: facebook/openbmc rackmon2 maps.
PSU_UNITS = (*range(208, 214), *range(218, 232), *range(144, 153), *range(154, 160), *range(167, 192))
#: likewise of the rectifiers of an HVDC shelf
HVDC_UNITS = tuple(range(11, 59))
#: from this many racks on, the second and the fourth of every four have HVDC bus bars
HVDC_FROM_RACKS = 4
#: what a node with all boards at their limit draws at its shelf's input, and a leaf switch at its PDU's
HOST_FULL_WATTS, SWITCH_FULL_WATTS = 10_300.0, 1_000.0
#: of one feed's rating, when it carries all of feed A and B at full load
FAILOVER_LOAD_RATIO = 0.97
FEEDS = ("feed-a", "feed-b")
CDU_RATINGS_WATTS = (50e3, 100e3, 200e3, 300e3, 500e3, 800e3, 1000e3, 1350e3, 2000e3, 3000e3)
#: rated flow: 1.5 L/min per kW of liquid heat at 10 K (PG25), 85 % of the rack's power into the loop
RATED_FLOW_LITERS_PER_JOULE = 1.5 / 60e3 * 0.85
NVIDIA_MODEL = "NVIDIA B200"
AMD_MODEL = "AMD Instinct MI355X"
#: from this many GPUs on, the second of every 24 serving hosts has GPUs of AMD
AMD_FROM_GPUS, AMD_EVERY_HOSTS = 64, 24
#: above this many GPUs exporters and inference servers are scraped every 10 s instead of 5 s
LARGE_GPUS = 1024


class _Served(NamedTuple):
    """A deployment that a site may serve."""

    name: str
    model: str
    tenant: str
    #: of the serving hosts
    share: float
    server: Server


SERVED = (
    _Served("chat-70b", "llama-3.1-70b", "atlas", 0.45, "vllm"),
    _Served("reasoning", "deepseek-r1", "borealis", 0.25, "sglang"),
    _Served("code", "qwen3-235b-a22b", "cobalt", 0.18, "vllm"),
    _Served("search", "qwen3-32b", "delphi", 0.12, "vllm"),
)
TRAINING_JOB = "pretrain-405b"


@dataclass(frozen=True, slots=True)
class Host:
    """A node of up to eight GPUs."""

    name: str  # node-a01-1
    rack: str
    gpu_start: int  # its GPUs are gpu_start .. gpu_start + gpu_count - 1 of all arrays
    gpu_count: int
    deployment: str  # "" where it serves none
    workload: Workload
    engine: int | None  # index into the engine arrays when it serves
    gpu_source: GpuSource
    gpu_model: str
    switch: str  # leaf switch of its NICs
    ports: tuple[int, ...]  # port numbers there, one per attached NIC
    job: str  # the training job that holds it; "" where none does


@dataclass(frozen=True, slots=True)
class Rack:
    """A GPU rack, fed by one power shelf, cooled by one CDU."""

    name: str  # A01
    row: str  # A
    hosts: tuple[str, ...]
    gpu_start: int
    gpu_count: int
    cdu: str
    shelf: str
    rated_watts: float
    rated_flow_liters_per_second: float


@dataclass(frozen=True, slots=True)
class Shelf:
    """A power shelf: an ORv3 HPR one (50 V, Modbus units behind one shelf controller), or an HVDC one.

    Supplies with an even place hang on feed A, those with an odd one on feed B. Rack PDUs hang on feed A.
    """

    name: str  # shelf-a01
    rack: str
    units: tuple[int, ...]  # Modbus unit ids of its power supplies
    psu_rated_watts: float
    #: 50 V bus bar; 800 V between two wires; +400 V and -400 V to an earthed midpoint
    bus: Literal["hpr", "hvdc_800", "hvdc_400"] = "hpr"


@dataclass(frozen=True, slots=True)
class Cdu:
    """A coolant distribution unit and the racks on its technology loop."""

    name: str  # cdu-1
    protocol: Literal["modbus", "redfish"]
    racks: tuple[str, ...]
    rated_watts: float


@dataclass(frozen=True, slots=True)
class Switch:
    """A SONiC leaf switch."""

    name: str  # leaf-1
    protocol: Literal["snmp", "gnmi"]
    snmp_version: Literal["2c", "3"]
    ports: tuple[str, ...]  # Ethernet0, Ethernet8, ...; port number p is ports[p]
    aliases: tuple[str, ...]  # etp1, etp2, ...
    speed_bits_per_second: float
    pdu: str
    liquid_cooled: bool


@dataclass(frozen=True, slots=True)
class Pdu:
    """A rack PDU of a network rack."""

    name: str  # pdu-n01
    rack: str  # N01
    rated_watts: float


@dataclass(frozen=True, slots=True)
class Meter:
    """A power meter of the building system."""

    name: str  # meter-main
    #: "" for the meters of the two feeds, feed-a and feed-b
    scope: Literal["facility", "it", ""]
    rated_watts: float


@dataclass(frozen=True, slots=True)
class Deployment:
    """A served model and its hosts."""

    name: str
    model: str
    tenant: str
    hosts: tuple[str, ...]
    server: Server  # the program that serves it


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that stands in the factory; arrays of the state follow the order of these tuples."""

    site: str
    rows: tuple[str, ...]  # rows of GPU racks, then N, the row of the network racks
    racks: tuple[Rack, ...]
    hosts: tuple[Host, ...]
    gpu_uuids: tuple[str, ...]
    gpu_model: str  # of the hosts that are read over NVML
    shelves: tuple[Shelf, ...]  # one per rack, same order
    cdus: tuple[Cdu, ...]
    switches: tuple[Switch, ...]
    pdus: tuple[Pdu, ...]
    meters: tuple[Meter, ...]  # main, IT, feed A, feed B
    deployments: tuple[Deployment, ...]

    @property
    def gpus(self) -> int:
        """Return the number of GPUs."""
        return len(self.gpu_uuids)

    @property
    def scrape_seconds(self) -> float:
        """Return the interval at which exporters, inference servers and NVML are to be read. Units: s."""
        # One core reads some 150 pages a second; beside it the simulator and the wall want theirs.
        return 5.0 if not self.is_large else 10.0 if self.gpus <= 4 * LARGE_GPUS else 15.0

    @property
    def is_large(self) -> bool:
        """Return whether there are too many devices to ask each as often as at a small site."""
        return self.gpus > LARGE_GPUS

    @property
    def plant_seconds(self) -> float:
        """Return the interval at which power shelves and CDUs are to be read. Units: s."""
        return 10.0 if self.is_large else 2.0

    def server_of(self, host: Host) -> str:
        """Return the device name of the inference server of a serving host: `vllm-node-a01-1`."""
        servers = {deployment.name: deployment.server for deployment in self.deployments}
        return f"{servers[host.deployment]}-{host.name}"


@dataclass(frozen=True, slots=True)
class _Slot:
    """What a host is for."""

    deployment: str
    workload: Workload
    engine: int | None
    job: str


def build_layout(gpus: int, *, seed: int = 1) -> Layout:
    """Lay out a site of `gpus` GPUs (8 to 10,240, a multiple of 8).

    16 GPUs stand in a rack up to 512 GPUs, 32 up to 1024, 72 above. About 75 % of the hosts serve, 15 % train, the rest
    is free. A site has one leaf switch per four racks, at least two: where a real rail fabric has more, only the NICs
    that find a port on their leaf are simulated; ports left over are uplinks.

    Raises:
        ValueError: `gpus` is not a multiple of 8 within 8 to 10,240.
    """
    if gpus % GPUS_PER_HOST or not GPUS_PER_HOST <= gpus <= 10_240:
        raise ValueError(f"gpus is {gpus}: give a multiple of 8 from 8 to 10240")
    rng = np.random.default_rng([seed, gpus])
    per_rack = 16 if gpus <= 512 else 32 if gpus <= 1024 else 72
    count = math.ceil(gpus / per_rack)
    names = list(_rack_names(count))
    cdus = _build_cdus([name for _, name in names], per_rack)
    racks = _build_racks(gpus, per_rack, names, cdus)
    switches, pdus = _build_network(count)
    slots = _assign(gpus // GPUS_PER_HOST, rng)
    hosts = _build_hosts(racks, switches, slots)
    return Layout(
        site="DEMO-1",
        rows=(*dict.fromkeys(row for row, _ in names), "N"),
        racks=racks,
        hosts=hosts,
        gpu_uuids=_gpu_uuids(hosts, rng),
        gpu_model=NVIDIA_MODEL,
        shelves=tuple(_build_shelf(rack, index, count) for index, rack in enumerate(racks)),
        cdus=cdus,
        switches=switches,
        pdus=pdus,
        meters=_build_meters(racks, switches, pdus),
        deployments=_build_deployments(hosts),
    )


def _gpu_uuids(hosts: Sequence[Host], rng: np.random.Generator) -> tuple[str, ...]:
    """Return the UUID of every GPU as its maker writes it: NVIDIA puts GPU- before it, AMD nothing."""
    prefixes = ("" if host.gpu_source == "amd" else "GPU-" for host in hosts for _ in range(host.gpu_count))
    return tuple(f"{prefix}{uuid.UUID(bytes=rng.bytes(16), version=4)}" for prefix in prefixes)


def _rack_names(count: int) -> Iterator[tuple[str, str]]:
    """Yield row and name of each rack; rows come in pairs that share an aisle, as soon as there are four racks."""
    aisles = max(1, math.ceil(count / (2 * MAX_RACKS_PER_ROW)), round(math.sqrt(count / 2.5) / 2))
    rows = 2 * aisles if count >= 4 else 1
    for number, (start, stop) in enumerate(_split(count, rows)):
        row = chr(ord("A") + number)
        for place in range(1, stop - start + 1):
            yield row, f"{row}{place:02d}"


def _split(count: int, parts: int) -> list[tuple[int, int]]:
    """Return `parts` contiguous ranges over `count` things, as even as can be."""
    edges = [round(index * count / parts) for index in range(parts + 1)]
    return list(pairwise(edges))


def _build_cdus(racks: Sequence[str], per_rack: int) -> tuple[Cdu, ...]:
    number = max(min(2, len(racks)), math.ceil(len(racks) / 12))
    rack_watts = per_rack / GPUS_PER_HOST * WATTS_PER_HOST
    cdus = []
    for index, (start, stop) in enumerate(_split(len(racks), number)):
        need = (stop - start) * rack_watts
        rated = next(rating for rating in CDU_RATINGS_WATTS if rating >= need)
        cdus.append(Cdu(f"cdu-{index + 1}", "redfish" if index % 2 else "modbus", tuple(racks[start:stop]), rated))
    return tuple(cdus)


def _build_racks(gpus: int, per_rack: int, names: Sequence[tuple[str, str]], cdus: Sequence[Cdu]) -> tuple[Rack, ...]:
    cooled_by = {rack: cdu.name for cdu in cdus for rack in cdu.racks}
    rated = per_rack / GPUS_PER_HOST * WATTS_PER_HOST
    racks = []
    for index, (row, name) in enumerate(names):
        start = index * per_rack
        here = min(per_rack, gpus - start)
        hosts = tuple(f"node-{name.lower()}-{place + 1}" for place in range(here // GPUS_PER_HOST))
        flow = rated * RATED_FLOW_LITERS_PER_JOULE
        racks.append(Rack(name, row, hosts, start, here, cooled_by[name], f"shelf-{name.lower()}", rated, flow))
    return tuple(racks)


def _build_shelf(rack: Rack, index: int, racks: int) -> Shelf:
    units = math.ceil(rack.rated_watts / PSU_WATTS) + 1
    place = index % 4 if racks >= HVDC_FROM_RACKS else 0
    if place in (1, 3):
        return Shelf(rack.shelf, rack.name, HVDC_UNITS[:units], PSU_WATTS, "hvdc_400" if place == 1 else "hvdc_800")
    return Shelf(rack.shelf, rack.name, PSU_UNITS[:units], PSU_WATTS)


def _build_meters(racks: Sequence[Rack], switches: Sequence[Switch], pdus: Sequence[Pdu]) -> tuple[Meter, ...]:
    it_watts = sum(rack.rated_watts for rack in racks) + sum(pdu.rated_watts for pdu in pdus)
    hosts = sum(len(rack.hosts) for rack in racks)
    feed_watts = (hosts * HOST_FULL_WATTS + len(switches) * SWITCH_FULL_WATTS) / FAILOVER_LOAD_RATIO
    return (
        Meter("meter-main", "facility", 1.3 * it_watts),
        Meter("meter-it", "it", it_watts),
        *(Meter(feed, "", round(feed_watts, -2)) for feed in FEEDS),
    )


def _build_network(racks: int) -> tuple[tuple[Switch, ...], tuple[Pdu, ...]]:
    count = max(2, math.ceil(racks / RACKS_PER_SWITCH))
    ports = tuple(f"Ethernet{8 * port}" for port in range(PORTS_PER_SWITCH))
    aliases = tuple(f"etp{port + 1}" for port in range(PORTS_PER_SWITCH))
    pdus = tuple(
        Pdu(f"pdu-n{number:02d}", f"N{number:02d}", 22_000.0)
        for number in range(1, math.ceil(count / SWITCHES_PER_PDU) + 1)
    )
    switches = tuple(
        Switch(
            name=f"leaf-{index + 1}",
            protocol="gnmi" if index % 2 else "snmp",
            snmp_version="3" if index % 4 == 2 else "2c",
            ports=ports,
            aliases=aliases,
            speed_bits_per_second=400e9,
            pdu=pdus[index // SWITCHES_PER_PDU].name,
            liquid_cooled=index % 4 == 1,
        )
        for index in range(count)
    )
    return switches, pdus


def _assign(hosts: int, rng: np.random.Generator) -> list[_Slot]:
    """Say what each host is for; the first one always serves, free hosts lie scattered."""
    free = max(round(0.1 * hosts), 1 if hosts >= 4 else 0)
    training = max(round(0.15 * hosts), 1 if hosts >= 3 else 0)
    serving = hosts - free - training
    scattered = set(rng.choice(np.arange(1, hosts), size=free, replace=False).tolist()) if free else set()
    names = iter(_serving_names(serving))
    slots: list[_Slot] = []
    engine = 0
    for host in range(hosts):
        if host in scattered:
            slots.append(_Slot("", "none", None, ""))
        elif (name := next(names, None)) is not None:
            slots.append(_Slot(name, "inference", engine, ""))
            engine += 1
        else:
            slots.append(_Slot("", "training", None, TRAINING_JOB))
    return slots


def _serving_names(serving: int) -> list[str]:
    """Return the deployment of each serving host: one below two hosts, two below six, three below 16, else four."""
    number = 1 if serving < 2 else 2 if serving < 6 else 3 if serving < 16 else 4
    total = sum(served.share for served in SERVED[:number])
    names: list[str] = []
    for served in SERVED[1:number]:
        names += [served.name] * max(1, round(serving * served.share / total))
    return [SERVED[0].name] * (serving - len(names)) + names


def _gpu_source(index: int, gpus: int, engine: int | None) -> GpuSource:
    """Return what tells of a host's GPUs: NVML on the first host, AMD's exporter on a few that serve, else dcgm."""
    if index == 0:
        return "nvml"
    return "amd" if gpus >= AMD_FROM_GPUS and engine is not None and engine % AMD_EVERY_HOSTS == 1 else "dcgm"


def _build_hosts(racks: Sequence[Rack], switches: Sequence[Switch], slots: Sequence[_Slot]) -> tuple[Host, ...]:
    total = sum(len(rack.hosts) for rack in racks)
    leaf_of = {host: leaf for leaf, part in enumerate(_split(total, len(switches))) for host in range(*part)}
    on_leaf = [stop - start for start, stop in _split(total, len(switches))]
    used = [0] * len(switches)
    hosts: list[Host] = []
    for rack in racks:
        for place, name in enumerate(rack.hosts):
            index = len(hosts)
            leaf, slot = leaf_of[index], slots[index]
            nics = min(NICS_PER_HOST, PORTS_PER_SWITCH // on_leaf[leaf])
            ports = tuple(range(used[leaf], used[leaf] + nics))
            used[leaf] += nics
            source = _gpu_source(index, total * GPUS_PER_HOST, slot.engine)
            hosts.append(
                Host(
                    name=name,
                    rack=rack.name,
                    gpu_start=rack.gpu_start + place * GPUS_PER_HOST,
                    gpu_count=GPUS_PER_HOST,
                    deployment=slot.deployment,
                    workload=slot.workload,
                    engine=slot.engine,
                    gpu_source=source,
                    gpu_model=AMD_MODEL if source == "amd" else NVIDIA_MODEL,
                    switch=switches[leaf].name,
                    ports=ports,
                    job=slot.job,
                )
            )
    return tuple(hosts)


def _build_deployments(hosts: Sequence[Host]) -> tuple[Deployment, ...]:
    members = {served.name: tuple(h.name for h in hosts if h.deployment == served.name) for served in SERVED}
    return tuple(
        Deployment(served.name, served.model, served.tenant, members[served.name], served.server)
        for served in SERVED
        if members[served.name]
    )
