"""Not our simulator: `probe` and `collect` against net-snmp's agent, Prometheus' node exporter and Mosquitto."""

import json
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from command import Answer, call, grown, peek, rows, started
from services import free_port, listens, program, running, until

pytestmark = [pytest.mark.service("snmpd"), pytest.mark.service("prometheus-node-exporter")]
pytestmark += [pytest.mark.service("mosquitto"), pytest.mark.xdist_group("real"), pytest.mark.timeout(240)]

AUTH, PRIV = "auth-of-the-test", "priv-of-the-test"
NAMES = {"agent-v2c", "agent-v3", "node-1", "bms"}
NET = Path("/sys/class/net")
#: SNMPv1 GET of sysUpTime.0, community public (RFC 1157)
GET = bytes.fromhex("302602010004067075626c6963a019020101020100020100300e300c06082b060102010103000500")
#: point type, metadata beyond the object's, value: what NVIDIA's DSX Exchange contract has a BMS publish
TOLD = (
    ("Rack", "RackPower", "kW", 120.5),
    ("Rack", "RackLiquidSupplyTemperature", "C", 45.0),
    ("Rack", "RackLiquidReturnTemperature", "C", 55.0),
    ("Rack", "RackLiquidFlow", "LPM", 177.0),
    ("Rack", "RackLeakDetect", None, 1),
    ("PowerMeter", "ActivePower", "kW", 2500.125),
)
OBJECTS = {"Rack": {"rackLocationId": "A07"}, "PowerMeter": {"objectId": "meter-main"}}

Tokenwatt = Callable[..., Answer]


@dataclass(frozen=True, slots=True)
class Machine:
    """Real servers on this machine, and the site that names them."""

    config: Path
    snmp_port: int
    page_port: int
    broker_port: int


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("real")
    made = Machine(folder / "site.yaml", free_port(socket.SOCK_DGRAM), free_port(), free_port())
    write_site(made)
    with ExitStack() as stack:
        stack.enter_context(running(agent_command(folder, made.snmp_port), lambda: agent_answers(made.snmp_port)))
        page = [program("prometheus-node-exporter"), f"--web.listen-address=127.0.0.1:{made.page_port}"]
        stack.enter_context(running(page, lambda: listens(made.page_port)))
        conf = folder / "mosquitto.conf"
        conf.write_text(f"listener {made.broker_port} 127.0.0.1\npersistence false\nallow_anonymous true\n")
        stack.enter_context(running([program("mosquitto"), "-c", conf], lambda: listens(made.broker_port)))
        stack.enter_context(building(made.broker_port))
        yield made


def write_site(machine: Machine) -> None:
    v3 = f"snmp://watt@127.0.0.1:{machine.snmp_port}?version=3&auth=sha256&priv=aes128"
    # Tests share their machine: an answer may be late without a fault of anybody's.
    polled = "interval: 1s, timeout: 20s"
    machine.config.write_text(
        f"""\
collectors:
  site: REAL
  source: test
  inventory: inventory.csv
  targets:
    - {{name: agent-v2c, url: "snmp://public@127.0.0.1:{machine.snmp_port}", {polled}}}
    - {{name: agent-v3, url: "{v3}", {polled}, password: "${{TEST_AUTH}}", priv_password: "${{TEST_PRIV}}"}}
    - {{name: node-1, url: "http://127.0.0.1:{machine.page_port}/metrics", {polled}}}
    - {{name: bms, url: "mqtt://127.0.0.1:{machine.broker_port}", {polled}}}
""",
    )
    machine.config.with_name("inventory.csv").write_text(
        "kind,id,parent,relation,scope\nsite,REAL,,contains,\nrow,A,REAL,contains,\nrack,A07,A,contains,rack\n"
        "host,node-1,A07,contains,\nmeter,meter-main,REAL,contains,facility\n"
    )


def agent_command(folder: Path, port: int) -> list[str | Path]:
    """Return the command of an snmpd with a v2c community and a v3 user (SHA-256, AES-128), without root's rights."""
    conf = folder / "snmpd-own.conf"
    conf.write_text(
        f"agentaddress udp:127.0.0.1:{port}\nrocommunity public 127.0.0.1\n"
        f"createUser watt SHA-256 {AUTH} AES {PRIV}\nrouser watt priv\nsysName this-machine\n"
    )
    setting = ["env", f"SNMP_PERSISTENT_DIR={folder}", f"SNMPCONFPATH={folder}", "MIBS="]
    return [*setting, program("snmpd"), "-f", "-C", "-c", conf, "-Lf", folder / "snmpd.log", "-r"]


def agent_answers(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.2)
        probe.connect(("127.0.0.1", port))
        try:
            probe.send(GET)
            return bool(probe.recv(1500))
        except OSError:
            return False


@contextmanager
def building(port: int) -> Iterator[None]:
    """Publish as a building management system does: retained metadata once, values and heartbeat again and again."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    stopped = threading.Event()
    teller = threading.Thread(target=tell, args=(client, stopped), name="building")
    teller.start()
    try:
        yield
    finally:
        stopped.set()
        teller.join()
        client.disconnect()
        client.loop_stop()


def tell(client: paho.Client, stopped: threading.Event) -> None:
    for kind, point, unit, _ in TOLD:
        body = {**OBJECTS[kind], "objectType": kind, "pointType": point, **({"engUnit": unit} if unit else {})}
        client.publish(f"BMS/v1/PUB/Metadata/{kind}/{point}/dc1/x", json.dumps(body), retain=True)
    while not stopped.wait(0.5):
        for kind, point, value in (("System", "HeartbeatTimestampBms", 1), *((k, p, v) for k, p, _, v in TOLD)):
            body = {"value": value, "timestamp": 1_743_620_423_000, "quality": 1}
            client.publish(f"BMS/v1/PUB/Value/{kind}/{point}/dc1/x", json.dumps(body))


@pytest.fixture
def probe(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], list[dict[str, Any]]]:
    """Return the points that `tokenwatt probe` prints as JSON."""
    monkeypatch.setenv("TEST_AUTH", AUTH)
    monkeypatch.setenv("TEST_PRIV", PRIV)

    def ask(device: str) -> list[dict[str, Any]]:
        answer = call(capsys, monkeypatch, ("probe", device, "--config", machine.config, "--format", "json"))
        assert answer.code == 0, answer.err
        points: list[dict[str, Any]] = json.loads(answer.out)
        return points

    return ask


Probe = Callable[[str], list[dict[str, Any]]]


def fields_of(points: list[dict[str, Any]], measurement: str, **tags: str) -> dict[str, Any]:
    """Return the fields of the one point with these tags."""
    found = [p for p in points if p["measurement"] == measurement and tags.items() <= p["tags"].items()]
    assert len(found) == 1, found
    fields: dict[str, Any] = found[0]["fields"]
    return fields


def received(interface: str) -> int:
    """Return the bytes that the kernel has counted into an interface."""
    return int((NET / interface / "statistics" / "rx_bytes").read_text())


def ports() -> set[str]:
    """Return the interfaces of which the node exporter's profile tells: not the loopback, nothing virtual."""
    virtual = r"lo$|veth|docker|br-|cali|cni|flannel|cilium|lxc|virbr|tap|tun|dummy|ifb|kube|bonding_masters"
    return {path.name for path in NET.iterdir() if not re.match(virtual, path.name)}


@pytest.mark.parametrize("device", ["URL", "agent-v2c", "agent-v3"])
def test_probe_of_snmpd_shows_this_machine_s_interfaces(machine: Machine, probe: Probe, device: str) -> None:
    points = probe(f"snmp://public@127.0.0.1:{machine.snmp_port}" if device == "URL" else device)
    high = received("lo")
    interfaces = {p["tags"]["interface"] for p in points if p["measurement"] == "interface"}
    assert "lo" in interfaces
    assert interfaces <= {path.name for path in NET.iterdir()}
    loopback = fields_of(points, "interface", interface="lo")
    assert 0 < loopback["rx_bytes_total"] <= high
    assert loopback["oper_up"] == 1
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert fields_of(points, "switch")["uptime_seconds"] == pytest.approx(uptime, abs=60)


@pytest.mark.parametrize("device", ["URL", "node-1"])
def test_probe_of_the_node_exporter_shows_this_machine_s_ports(machine: Machine, probe: Probe, device: str) -> None:
    low = {port: received(port) for port in ports()}
    points = probe(f"http://127.0.0.1:{machine.page_port}/metrics" if device == "URL" else device)
    high = {port: received(port) for port in ports()}
    seen = {p["tags"]["interface"]: p["fields"] for p in points if p["measurement"] == "interface"}
    assert seen.keys() == low.keys()
    assert all(low[port] <= seen[port]["rx_bytes_total"] <= high[port] for port in seen)


@pytest.mark.parametrize("device", ["URL", "bms"])
def test_probe_of_mosquitto_hears_the_building(machine: Machine, probe: Probe, device: str) -> None:
    points = probe(f"mqtt://127.0.0.1:{machine.broker_port}" if device == "URL" else device)
    assert fields_of(points, "power", kind="rack", rack="A07") == {"active_watts": pytest.approx(120_500)}
    assert fields_of(points, "power", device="meter-main") == {"active_watts": pytest.approx(2_500_125)}
    assert fields_of(points, "leak", rack="A07") == {"state": 2}
    # 177 L/min of PG25 that warm by 10 K carry 118.3 kW
    heat = [p for p in points if "heat_watts" in p["fields"]]
    assert [p["fields"]["heat_watts"] for p in heat] == [pytest.approx(118_300, abs=50)]
    assert heat[0]["tags"].get("row") == (None if device == "URL" else "A")  # the inventory knows the rack's row


def test_collect_stores_what_all_of_them_say(machine: Machine, tmp_path: Path) -> None:
    store = machine.config.with_name("tokenwatt.duckdb")
    secrets = {"TEST_AUTH": AUTH, "TEST_PRIV": PRIV}
    with started("collect", "--config", machine.config, log=tmp_path / "stderr.log", **secrets) as collect:
        collect.line("collecting from 4 targets")
        until(grown(store, lambda: heard_twice(store)), 120, "each device to be heard twice")
        answer = collect.stop(signal.SIGTERM)
    assert answer.code == 0
    assert [line for line in answer.err.splitlines() if not line.startswith("INFO ")] == []
    assert {(row["device"], row["up"], row["profile"]) for row in rows(store, "device") if row["up"]} == {
        ("agent-v2c", 1, "net_snmp"),
        ("agent-v3", 1, "net_snmp"),
        ("node-1", 1, "node_exporter"),
        ("bms", 1, "nvidia_dsx_bms"),
    }
    counted = rows(store, "interface")
    for agent in ("agent-v2c", "agent-v3"):
        octets = [r["rx_bytes_total"] for r in counted if (r["device"], r["interface"]) == (agent, "lo")]
        assert len(octets) >= 2
        assert octets == sorted(octets)
        assert 0 < octets[0] <= octets[-1] <= received("lo")
    assert {r["interface"] for r in counted if r["host"] == "node-1"} == ports()
    assert {r["rack"] for r in counted if r["host"] == "node-1"} == {"A07"}
    watts = {(r["device"], r["scope"], r["row"]): r["active_watts"] for r in rows(store, "power")}
    assert watts == {
        ("A07", "rack", "A"): pytest.approx(120_500),
        ("meter-main", "facility", ""): pytest.approx(2_500_125),
    }
    assert {r["state"] for r in rows(store, "leak")} == {2}


def heard_twice(store: Path) -> bool:
    """Return whether the store holds two polls of each device, and what the building says."""
    health = [row["device"] for row in peek(store, "device") if row["up"]]
    return all(health.count(name) >= 2 for name in NAMES) and len(peek(store, "leak")) > 0
