"""What we claim about gNMI: 200 switches of 64 ports each 10 s on less than 15 % of a core, from socket to points.

Run: `python benchmarks/gnmi.py [--targets 200] [--rounds 6]`. A server process answers POLL, Get and Capabilities with
SONiC's objects, encoded beforehand: 64 ports of 103 text leaves and the PFC watchdog each round; each third round
queues with counters and watermarks, rates, priority groups, PORT_TABLE, LLDP, optics, supplies, fans, thermals too.
Counters rise from round to round, as on a switch that does not boot; gauges are others each time. Ours: 200
`GnmiCollector` in one process, set up as the pollers' is. Peer, in the same run: pygnmi's client, a thread per
subscription, reading and JSON-decoding the same paths as often, and no more.
Two measurements: the ports alone (COUNTERS/Ethernet*, names and map of ports), which the claim is about, and the whole
profile. Figures are CPU seconds of the reading process (all its threads) per round of 10 s, beside the machine's load
average: what else runs on the machine makes them larger. Where it has two cores, the server has one of its own. The
peer reads 20 switches, and its time is scaled: it is linear.
Exit status 1: the ports alone took more than promised, or points are missing.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent import futures
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from pygnmi.client import gNMIclient
from pygnmi.spec.v080 import gnmi_pb2

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from collectors.collector import Target  # noqa: E402
from collectors.gnmi.collector import open_collector  # noqa: E402
from collectors.process import spare_gc  # noqa: E402
from collectors.profile import Profile, load_profile  # noqa: E402

#: share of one core that we promise to stay below
PROMISED_SHARE = 0.15
PORTS, QUEUES, LANES = 64, 8, 8
INTERVAL_S, SLOW_EVERY = 10, 3
#: share of a counter that a round adds to it
GROWTH = 10**-5
#: switches that the peer reads; its CPU time is scaled to all. With 200 it has 2,500 threads and stands still
PEER_TARGETS = 20
#: switches asked at once: a collector spreads its targets over the interval
AT_ONCE = 8
START_NS = 1_760_000_000 * 10**9
NAMES = [f"Ethernet{8 * port}" for port in range(PORTS)]
ALIASES = [f"etp{port + 1}" for port in range(PORTS)]
SIZES = (
    "64", "65_TO_127", "128_TO_255", "256_TO_511", "512_TO_1023", "1024_TO_1518", "1519_TO_2047", "2048_TO_4095",
    "4096_TO_9216", "9217_TO_16383",
)  # fmt: skip


#: parts of the names of counters that stand still while all is well
QUIET = (
    "ERRORS_S1", "DISCARDS", "DROPPED", "_ERRORS", "NOT_CORRECTABLE", "OVERSIZE", "UNDERSIZE", "JABBERS", "FRAGMENTS",
    "UNKNOWN", "QLEN", "DEADLOCK", "SAI_PORT_STAT_PAUSE", "PFC_0", "PFC_1", "PFC_2", "PFC_5", "PFC_6", "PFC_7", "IPV6",
)  # fmt: skip


def port_fields() -> list[str]:
    """Return the leaves of COUNTERS:oid of a port."""
    ways = [
        f"IF_{way}_{kind}"
        for way in ("IN", "OUT")
        for kind in ("OCTETS", "UCAST_PKTS", "NON_UCAST_PKTS", "MULTICAST_PKTS", "BROADCAST_PKTS", "DISCARDS", "ERRORS")
    ]
    sizes = [f"ETHER_{way}_PKTS_{size}_OCTETS" for way in ("IN", "OUT") for size in SIZES]
    fec = ["CORRECTABLE_FRAMES", "NOT_CORRECTABLE_FRAMES", "SYMBOL_ERRORS", "CORRECTED_BITS"]
    bins = [f"IF_IN_FEC_CODEWORD_ERRORS_S{n}" for n in range(16)]
    pfc = [f"PFC_{n}_{way}_PKTS" for n in range(8) for way in ("RX", "TX")]
    pause = [f"PFC_{n}_{what}" for n in (3, 4) for what in ("RX_PAUSE_DURATION_US", "ON2OFF_RX_PKTS")]
    rest = [
        "IF_IN_UNKNOWN_PROTOS", "IF_OUT_QLEN", "ETHER_RX_OVERSIZE_PKTS", "ETHER_TX_OVERSIZE_PKTS",
        "ETHER_STATS_UNDERSIZE_PKTS", "ETHER_STATS_JABBERS", "ETHER_STATS_FRAGMENTS", "ETHER_STATS_TX_NO_ERRORS",
        "ETHER_STATS_RX_NO_ERRORS", "IP_IN_RECEIVES", "IP_IN_OCTETS", "IP_IN_UCAST_PKTS", "IP_IN_NON_UCAST_PKTS",
        "IP_IN_DISCARDS", "IP_OUT_OCTETS", "IP_OUT_UCAST_PKTS", "IP_OUT_NON_UCAST_PKTS", "IP_OUT_DISCARDS",
        "PAUSE_RX_PKTS", "PAUSE_TX_PKTS", "IN_DROPPED_PKTS", "OUT_DROPPED_PKTS", "IPV6_IN_OCTETS", "IPV6_OUT_OCTETS",
        "WRED_DROPPED_PACKETS", "GREEN_WRED_DROPPED_PACKETS", "ECN_MARKED_PACKETS", "DOT3_STATS_FCS_ERRORS",
        "DOT3_STATS_SYMBOL_ERRORS",
    ]  # fmt: skip
    own = [*ways, *sizes, *(f"IF_IN_FEC_{name}" for name in fec), *bins, *pfc, *pause, *rest]
    return [f"SAI_PORT_STAT_{name}" for name in own]


def count(name: str, dice: random.Random) -> int:
    """Return a counter as it stands after weeks of load on a healthy fabric: what tells of faults mostly reads 0."""
    if any(part in name for part in QUIET):
        return 0 if dice.random() < 0.9 else dice.randrange(10**4)
    if "OCTETS" in name.rsplit("_", 1)[-1] or name.endswith("_BYTES"):
        return dice.randrange(10**13, 10**16)
    return dice.randrange(10**9, 10**13)


def answers(turn: int) -> dict[tuple[str, str], bytes]:
    """Return every answer of a switch in one round, by database and path."""
    dice, first = random.Random(turn), random.Random(0)

    def leaves(names: list[str]) -> dict[str, str]:
        counts = [count(name, first) for name in names]
        return {name: str(value + int(turn * GROWTH * value)) for name, value in zip(names, counts, strict=True)}

    fields = port_fields()
    queue = [f"SAI_QUEUE_STAT_{name}" for name in (
        "PACKETS", "BYTES", "DROPPED_PACKETS", "DROPPED_BYTES", "WRED_ECN_MARKED_PACKETS", "WRED_ECN_MARKED_BYTES",
        "WRED_DROPPED_PACKETS", "WRED_DROPPED_BYTES")]  # fmt: skip
    watchdog = {"PFC_WD_STATUS": "operational", "PFC_WD_ACTION": "drop"}
    lossless = ["PFC_WD_QUEUE_STATS_DEADLOCK_DETECTED", "PFC_WD_QUEUE_STATS_DEADLOCK_RESTORED"]
    storms = {f"{alias}:{n}": {**watchdog, **leaves(lossless)} for alias in ALIASES for n in (3, 4)}
    queues: dict[str, dict[str, str]] = {}
    for alias in ALIASES:
        for n in range(QUEUES):
            queues[f"{alias}:{n}"] = {
                **leaves(queue),
                "SAI_QUEUE_STAT_CURR_OCCUPANCY_BYTES": "0",
                **storms.get(f"{alias}:{n}", {}),
            }
            queues[f"{alias}:{n}:periodic"] = {"SAI_QUEUE_STAT_SHARED_WATERMARK_BYTES": str(dice.randrange(10**6))}
    groups = {
        f"{alias}:{n}": {
            f"SAI_INGRESS_PRIORITY_GROUP_STAT_{what}_WATERMARK_BYTES": str(dice.randrange(10**6))
            for what in ("SHARED", "XOFF_ROOM")
        }
        for alias in ALIASES
        for n in range(8)
    }
    rate = ["RX_BPS", "TX_BPS", "RX_PPS", "TX_PPS"]
    rates = {
        alias: {
            **{name: f"{dice.uniform(1e9, 4e10):.6f}" for name in rate},
            "FEC_PRE_BER": f"{dice.uniform(1e-9, 1e-8):.3e}",
            "FEC_POST_BER": "0.0",
            "FEC_PRE_BER_MAX": "1.2e-08",
            "FEC_MAX_T": "2",
        }
        for alias in ALIASES
    }
    found: dict[tuple[str, str], Any] = {
        ("COUNTERS_DB", "COUNTERS/Ethernet*"): {alias: leaves(fields) for alias in ALIASES},
        ("COUNTERS_DB", "COUNTERS/Ethernet*/Queues"): queues,
        ("COUNTERS_DB", "COUNTERS/Ethernet*/Pfcwd"): storms,
        ("COUNTERS_DB", "PERIODIC_WATERMARKS/Ethernet*/PriorityGroups"): groups,
        ("COUNTERS_DB", "RATES/Ethernet*"): rates,
        ("COUNTERS_DB", "COUNTERS_PORT_NAME_MAP"): {
            name: f"oid:0x{0x1000000000002 + n:x}" for n, name in enumerate(NAMES)
        },
        ("CONFIG_DB", "DEVICE_METADATA"): {"localhost": {"hwsku": "ACS-TW6400-64x400G", "hostname": "leaf"}},
        **slow_answers(dice),
    }
    return {key: json.dumps(value).encode() for key, value in found.items()}


def slow_answers(dice: random.Random) -> dict[tuple[str, str], Any]:
    """Return the tables of APPL_DB and STATE_DB."""
    dom = {
        name: {
            "temperature": "45.5", "voltage": "3.31", "last_update_time": "Mon Nov 17 14:03:10 2025",
            **{f"{way}{lane}power": f"{dice.uniform(-3, 3):.3f}" for way in ("rx", "tx") for lane in range(1, 9)},
            **{f"tx{lane}bias": f"{dice.uniform(6, 8):.3f}" for lane in range(1, 9)},
        }
        for name in NAMES
    }  # fmt: skip
    limits = [f"{what}{side}{grade}" for what in ("temp", "vcc", "rxpower", "txpower", "txbias")
              for side in ("high", "low") for grade in ("alarm", "warning")]  # fmt: skip
    return {
        ("APPL_DB", "PORT_TABLE"): {
            name: {
                "alias": alias, "admin_status": "up", "oper_status": "up", "speed": "400000", "mtu": "9100",
                "lanes": ",".join(str(8 * n + lane) for lane in range(LANES)), "fec": "rs", "flap_count": "4",
                "last_up_time": "Mon Nov 17 14:03:10 2025", "last_down_time": "Mon Nov 17 14:03:01 2025",
            }
            for n, (name, alias) in enumerate(zip(NAMES, ALIASES, strict=True))
        },
        ("APPL_DB", "LAG_MEMBER_TABLE"): {f"PortChannel1:{name}": {"status": "enabled"} for name in NAMES[:4]},
        ("APPL_DB", "LLDP_ENTRY_TABLE"): {
            name: {
                "lldp_rem_sys_name": f"node-{n}", "lldp_rem_port_id": f"eth{n % 8}", "lldp_rem_port_id_subtype": "5",
                "lldp_rem_port_desc": "x", "lldp_rem_sys_desc": "Ubuntu", "lldp_rem_chassis_id": "0c:42:a1:00:00:01",
            }
            for n, name in enumerate(NAMES)
        },
        ("STATE_DB", "TRANSCEIVER_DOM_SENSOR"): dom,
        ("STATE_DB", "TRANSCEIVER_DOM_THRESHOLD"): {name: dict.fromkeys(limits, "5.0") for name in NAMES},
        ("STATE_DB", "TRANSCEIVER_INFO"): {
            name: {"manufacturer": "ACME", "model": "Q56-400G-DR4", "serial": f"X{n}", "type": "QSFP-DD"}
            for n, name in enumerate(NAMES)
        },
        ("STATE_DB", "PSU_INFO"): {
            f"PSU {n}": {"presence": "true", "status": "true", "power": f"{dice.uniform(500, 600):.2f}",
                         "voltage": "12.05", "current": "45.1", "temp": "38.2", "input_voltage": "230.1",
                         "input_current": "2.6", "max_power": "1500"}
            for n in (1, 2)
        },
        ("STATE_DB", "FAN_INFO"): {
            f"Fantray{n}_1": {"presence": "True", "status": "True", "speed": "55"} for n in range(1, 8)
        },
        ("STATE_DB", "TEMPERATURE_INFO"): {
            f"sensor {n}": {"temperature": "41.5", "warning_status": "False"} for n in range(20)
        },
    }  # fmt: skip


# ---- the server


@dataclass(slots=True)
class Switches:
    """All switches behind one address; answers are protobuf already, only their stamp is not looked at."""

    encoded: list[dict[tuple[str, str], Any]]

    async def subscribe(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        wanted: list[tuple[str, str]] = []
        turn = 0
        async for raw in requests:
            request = gnmi_pb2.SubscribeRequest.FromString(raw)
            if request.HasField("subscribe"):
                wanted = [
                    (request.subscribe.prefix.target, text_of(one.path)) for one in request.subscribe.subscription
                ]
            for key in wanted:
                if key in self.encoded[turn]:
                    yield self.encoded[turn][key][0]
            yield SYNC
            turn = (turn + 1) % len(self.encoded)

    async def get(self, raw: bytes, context: Any) -> bytes:
        request = gnmi_pb2.GetRequest.FromString(raw)
        keys = [(request.prefix.target, text_of(path)) for path in request.path]
        if not all(key in self.encoded[0] for key in keys):
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such path")
        return gnmi_pb2.GetResponse(notification=[self.encoded[0][key][1] for key in keys]).SerializeToString()

    async def capabilities(self, raw: bytes, context: Any) -> bytes:
        models = [gnmi_pb2.ModelData(name="sonic-db", organization="SONiC", version="0.1.0")]
        encodings = [gnmi_pb2.Encoding.JSON, gnmi_pb2.Encoding.JSON_IETF]
        return gnmi_pb2.CapabilityResponse(
            supported_models=models, supported_encodings=encodings, gNMI_version="0.7.0"
        ).SerializeToString()


SYNC = gnmi_pb2.SubscribeResponse(sync_response=True).SerializeToString()


def text_of(path: Any) -> str:
    return "/".join(element.name for element in path.elem)


def encode(database: str, path: str, value: bytes) -> tuple[bytes, Any]:
    names = [gnmi_pb2.PathElem(name=name) for name in path.split("/")]
    update = gnmi_pb2.Update(path=gnmi_pb2.Path(elem=names), val=gnmi_pb2.TypedValue(json_ietf_val=value))
    notification = gnmi_pb2.Notification(
        timestamp=time.time_ns(), prefix=gnmi_pb2.Path(target=database), update=[update]
    )
    return gnmi_pb2.SubscribeResponse(update=notification).SerializeToString(), notification


async def serve(rounds: int) -> None:
    """Answer until the standard input ends; no stream is asked more often than so many rounds."""
    encoded = [{key: encode(*key, value) for key, value in answers(turn).items()} for turn in range(rounds)]
    switches = Switches(encoded)
    server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
    methods = {
        "Subscribe": grpc.stream_stream_rpc_method_handler(switches.subscribe),
        "Get": grpc.unary_unary_rpc_method_handler(switches.get),
        "Capabilities": grpc.unary_unary_rpc_method_handler(switches.capabilities),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("gnmi.gNMI", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"port": port}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(None)


# ---- ours


def profile_of(what: str) -> Profile:
    """Return the packaged profile, or what it makes of COUNTERS/Ethernet* alone."""
    profile = load_profile("sonic_gnmi")
    if what == "whole":
        return profile
    groups = tuple(group for group in profile.groups if group.each["path"] == "COUNTERS/Ethernet*")
    return profile.model_copy(update={"groups": groups, "derived": ()})


async def collect(profile: Profile, port: int, targets: int, rounds: int) -> dict[str, float]:
    spare_gc()
    options = {"tls": "off"}
    collectors = [
        open_collector(
            Target(f"leaf-{n}", "gnmi", f"127.0.0.1:{port}", options=options, timeout=timedelta(seconds=30),
                   interval=timedelta(seconds=INTERVAL_S), tags={"site": "S", "rack": f"N{n // 4}"}),
            profile,
        )
        for n in range(targets)
    ]  # fmt: skip
    gate = asyncio.Semaphore(AT_ONCE)
    counts = [0, 0]

    async def poll(collector: Any, stamp: int) -> None:
        async with gate:
            result = await collector.poll(stamp)
        counts[0] += len(result.points)
        counts[1] += sum(len(point.fields) for point in result.points)

    async def one_round(number: int) -> None:
        await asyncio.gather(*(poll(each, START_NS + number * INTERVAL_S * 10**9) for each in collectors))

    for number in range(SLOW_EVERY):
        await one_round(number)
    counts[:] = [0, 0]
    start, wall = time.process_time(), time.perf_counter()
    for number in range(SLOW_EVERY, SLOW_EVERY + rounds):
        await one_round(number)
    used, wall = time.process_time() - start, time.perf_counter() - wall
    for each in collectors:
        await each.aclose()
    return {"cpu": used / rounds, "wall": wall / rounds, "points": counts[0] / rounds, "values": counts[1] / rounds}


# ---- the peer


def subscriptions(profile: Profile) -> dict[tuple[str, bool], list[str]]:
    """Return the paths that a profile asks for, and the names and map of ports, by database and whether each round."""
    known = answers(0)
    paths = {("COUNTERS_DB", "COUNTERS_PORT_NAME_MAP"): True, ("APPL_DB", "PORT_TABLE"): False}
    for group in profile.groups:
        place = (group.each["target"], group.each["path"])
        if place in known:
            paths[place] = paths.get(place, False) or any(spec.every == "fast" for spec in group.points)
    found: dict[tuple[str, bool], list[str]] = {}
    for (database, path), fast in paths.items():
        found.setdefault((database, fast), []).append(path)
    return found


def kilobytes(profile: Profile) -> tuple[float, float]:
    """Return what comes from one switch with each round, and with a slow one on top of it."""
    known, total = answers(0), {True: 0.0, False: 0.0}
    for (database, fast), paths in subscriptions(profile).items():
        total[fast] += sum(len(known[database, path]) for path in paths) / 1e3
    return total[True], total[False]


def peer(profile: Profile, port: int, targets: int, rounds: int) -> dict[str, float]:
    """Read and JSON-decode the same paths as often with pygnmi, a client for each database and cadence."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    fast, slow = [], []
    for _ in range(targets):
        for (database, often), paths in subscriptions(profile).items():
            client = gNMIclient(target=("127.0.0.1", port), insecure=True, grpc_options=options, skip_verify=True)
            client.connect()
            wanted = {
                "subscription": [{"path": path} for path in paths],
                "encoding": "json_ietf",
                "mode": "poll",
            }
            (fast if often else slow).append((client, client.subscribe_poll(wanted, database)))

    def one_round(number: int) -> None:
        due = fast + slow if number % SLOW_EVERY == 0 else fast
        list(workers.map(lambda each: each[1].get_update(60), due))

    with futures.ThreadPoolExecutor(AT_ONCE) as workers:
        for number in range(SLOW_EVERY):
            one_round(number)
        threads = threading.active_count()
        start, wall = time.process_time(), time.perf_counter()
        for number in range(SLOW_EVERY, SLOW_EVERY + rounds):
            one_round(number)
        used, wall = time.process_time() - start, time.perf_counter() - wall
    return {"cpu": used / rounds, "wall": wall / rounds, "threads": threads}


# ---- the run


def pin(core: int) -> None:
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {core})


def child(role: str, what: str, port: int, targets: int, rounds: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--role", role, "--what", what, "--port", str(port)]
    command += ["--targets", str(targets), "--rounds", str(rounds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def taken(found: dict[str, float]) -> str:
    return (
        f"{found['cpu']:6.2f} CPU s per {INTERVAL_S} s {found['cpu'] / INTERVAL_S:7.1%} of a core {found['mb']:6.0f} MB"
    )


def measure(options: argparse.Namespace) -> int:
    """Run the server, ours and the peer; print what they took."""
    command = [sys.executable, __file__, "--role", "server", "--rounds", str(options.rounds)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        port = json.loads(server.stdout.readline())["port"]
        kept = [compare(what, port, options) for what in ("ports", "whole")]
        server.stdin.close()
    print("kept" if kept[0] else f"BELOW THE PROMISE of {PROMISED_SHARE:.0%} of a core for the ports of 200 switches")
    return 0 if kept[0] else 1


def compare(what: str, port: int, options: argparse.Namespace) -> bool:
    """Measure ours and the peer on the ports or on the whole profile; return whether ours is below the promise."""
    fast, slow = kilobytes(profile_of(what))
    ours = child("ours", what, port, options.targets, options.rounds)
    few = min(options.targets, PEER_TARGETS)
    theirs = child("peer", what, port, few, options.rounds)
    theirs["cpu"] *= options.targets / few
    print(
        f"{what}: {options.targets} switches x {PORTS} ports x {len(port_fields())} leaves, {fast:.0f} kB each "
        f"{INTERVAL_S} s and {slow:.0f} kB more each {SLOW_EVERY * INTERVAL_S} s; load average {os.getloadavg()[0]:.1f}"
    )
    print(f"  ours   {taken(ours)}, socket to {ours['points']:.0f} points with {ours['values']:.0f} values")
    print(f"  pygnmi {taken(theirs)} and {theirs['threads']:.0f} threads for {few}, read and JSON-decoded only")
    complete = ours["values"] > options.targets * PORTS * 20
    return bool(complete and ours["cpu"] / INTERVAL_S < PROMISED_SHARE * options.targets / 200)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--targets", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--role", choices=("all", "server", "ours", "peer"), default="all")
    parser.add_argument("--what", choices=("ports", "whole"), default="whole")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    if options.role == "all":
        return measure(options)
    pin(1 if options.role == "server" else 0)
    if options.role == "server":
        asyncio.run(serve(SLOW_EVERY + options.rounds))
        return 0
    if options.role == "ours":
        found = asyncio.run(collect(profile_of(options.what), options.port, options.targets, options.rounds))
    else:
        found = peer(profile_of(options.what), options.port, options.targets, options.rounds)
    print(json.dumps({**found, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
