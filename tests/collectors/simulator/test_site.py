"""The whole simulated site: its files, its devices, its end."""

import asyncio
import csv
import io
import json
import signal
import socket
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
import pytest
import yaml

from collectors.simulator.inventory import COLUMNS, write_inventory
from collectors.simulator.layout import build_layout
from collectors.simulator.service import Device
from collectors.simulator.site import write_files

PROGRAM = """
import asyncio, sys
from pathlib import Path
from collectors.simulator.site import simulate
faults = Path(sys.argv[3]) if len(sys.argv) > 3 else None
asyncio.run(simulate(Path(sys.argv[1]), gpus=int(sys.argv[2]), faults_file=faults))
"""


async def begin(directory: Path, gpus: int, *faults: Path) -> asyncio.subprocess.Process:
    """Start the simulator in its own process."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-c",
        PROGRAM,
        str(directory),
        str(gpus),
        *map(str, faults),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def answers(url: str) -> bool:
    """Return whether something listens at a target's address."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    kind = socket.SOCK_DGRAM if parts.scheme == "snmp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_DGRAM:
            try:
                probe.bind((parts.hostname, parts.port or 0))
            except OSError:
                return True
            return False
        return probe.connect_ex((parts.hostname, parts.port or 0)) == 0


async def test_site_is_served_described_and_ended_cleanly(tmp_path: Path) -> None:
    process = await begin(tmp_path, 64)
    assert process.stdout is not None
    first = await asyncio.wait_for(process.stdout.readline(), 60)
    if first != b"ready\n":
        pytest.fail((await process.communicate())[1].decode())
    site = yaml.safe_load((tmp_path / "site.yaml").read_text())
    control = json.loads((tmp_path / "control.json").read_text())["url"]
    targets = {target["name"]: target for target in site["collectors"]["targets"]}
    layout = build_layout(64)
    things = (*layout.cdus, *layout.switches, *layout.pdus, *layout.shelves, *layout.hosts)
    assert {thing.name for thing in things} <= targets.keys()
    assert len(targets) == len(site["collectors"]["targets"])
    urls = [target["url"] for target in targets.values()]
    remote = [url for url in urls if not url.startswith(("nvml:", "mqtt:"))]
    broker = next(urlsplit(url) for url in urls if url.startswith("mqtt:"))
    async with aiomqtt.Client(str(broker.hostname), broker.port or 0):
        pass
    assert [url for url in remote if not answers(url)] == []
    idle = await asyncio.to_thread(get, f"{control}/idle")
    assert len(idle) == 16
    begun = time.time()
    truth: dict[str, float] = {}
    while not truth:
        try:
            truth = await asyncio.to_thread(get, f"{control}/truth?start={begun - 0.2}&end={begun + 1.8}")
        except urllib.error.HTTPError as error:
            error.close()
            assert time.time() < begun + 60
            await asyncio.sleep(0.1)
    assert 20_000 < truth["gpu_board_joules"] / 2 < 64_000
    process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, errors.decode()) == (0, "")
    async with asyncio.timeout(60):
        while [url for url in remote if answers(url)]:  # another test may have been given one of its ports
            await asyncio.sleep(0.1)


async def test_a_wrong_fault_script_ends_it_before_it_is_ready(tmp_path: Path) -> None:
    script = tmp_path / "faults.yaml"
    script.write_text("- {at: 5, kind: leek, object: A01}\n")
    process = await begin(tmp_path / "site", 8, script)
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert output == b""
    assert "entry 1: unknown fault: 'leek', did you mean 'leak'?" in errors.decode()
    assert not (tmp_path / "site" / "site.yaml").exists()


def test_files_hold_what_a_collector_needs(tmp_path: Path) -> None:
    layout = build_layout(64)
    devices = [
        Device("leaf-1", "snmp://public@127.0.0.1:1161?version=2c", "sonic", 5.0),
        Device("leaf-3", "snmp://user@127.0.0.1:1162?version=3", "sonic", 0.5, "secret", "private"),
        Device("node-a01-1", "nvml:///tmp/libnvidia-ml.so.1", None, 1.0),
        Device("vllm-node-a01-1", "http://127.0.0.1:8000/metrics", "vllm", 5.0),
    ]
    write_files(tmp_path, layout, devices, "http://127.0.0.1:9")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["control.json", "inventory.csv", "site.yaml"]
    site = yaml.safe_load((tmp_path / "site.yaml").read_text())
    assert site["allow_plaintext_secrets"] is True
    assert site["collectors"]["synthetic"] is True
    assert site["collectors"]["targets"] == [
        {
            "name": "leaf-1",
            "url": "snmp://public@127.0.0.1:1161?version=2c",
            "interval": "5s",
            "timeout": "4s",
            "profile": "sonic",
        },
        {
            "name": "leaf-3",
            "url": "snmp://user@127.0.0.1:1162?version=3",
            "interval": "0.5s",
            "timeout": "0.4s",
            "profile": "sonic",
            "password": "secret",
            "priv_password": "private",
        },
        {"name": "node-a01-1", "url": "nvml:///tmp/libnvidia-ml.so.1", "interval": "1s", "timeout": "0.8s"},
        {
            "name": "vllm-node-a01-1",
            "url": "http://127.0.0.1:8000/metrics",
            "interval": "5s",
            "timeout": "4s",
            "profile": "vllm",
        },
    ]
    assert (tmp_path / "site.yaml").stat().st_mode & 0o077 == 0  # it holds passwords
    rows = list(csv.DictReader(io.StringIO((tmp_path / "inventory.csv").read_text())))
    assert [(row["id"], row["parent"], row["model"]) for row in rows if row["kind"] == "engine"] == [
        ("vllm-node-a01-1", "node-a01-1", "llama-3.1-70b")
    ]


def test_inventory_names_each_hosts_boards_and_server() -> None:
    layout = build_layout(64)
    engines = {host.name: layout.server_of(host) for host in layout.hosts if host.engine is not None}
    rows = list(csv.DictReader(io.StringIO(write_inventory(layout, engines))))
    boards = {row["id"]: row["model"] for row in rows if row["kind"] == "host" and row["relation"] == "contains"}
    assert [name for name, model in boards.items() if model == "AMD Instinct MI355X"] == ["node-a01-2"]
    assert sorted(boards.values()).count("NVIDIA B200") == 7
    servers = {row["id"]: row["model"] for row in rows if row["kind"] == "engine"}
    assert {name: model for name, model in servers.items() if name.startswith("sglang-")} == {
        "sglang-node-a02-2": "deepseek-r1",
        "sglang-node-b01-1": "deepseek-r1",
    }
    assert len(servers) == 6


@pytest.mark.parametrize("gpus", [8, 64, 10_240])
def test_inventory_is_one_tree_with_known_parents(gpus: int) -> None:
    layout = build_layout(gpus)
    rows = list(csv.DictReader(io.StringIO(write_inventory(layout, {}))))
    assert tuple(rows[0]) == COLUMNS
    known = {row["id"] for row in rows}
    contained = [row["id"] for row in rows if row["relation"] == "contains"]
    assert len(contained) == len(set(contained)) == len(known)
    assert {row["parent"] for row in rows} - {""} <= known
    assert [row["id"] for row in rows if not row["parent"]] == [layout.site]
    assert len({(row["kind"], row["id"], row["parent"], row["relation"]) for row in rows}) == len(rows)
    cooled = [row["id"] for row in rows if row["relation"] == "cools"]
    assert [name for name in cooled if not name.startswith("tcs-")] == [rack.name for rack in layout.racks]
    loops = {row["id"]: row["parent"] for row in rows if (row["kind"], row["relation"]) == ("loop", "cools")}
    assert list(loops.values()) == [cdu.name for cdu in layout.cdus]
    assert {row["parent"] for row in rows if (row["kind"], row["relation"]) == ("rack", "cools")} == loops.keys()
    fed = {(row["id"], row["parent"]) for row in rows if row["relation"] == "feeds"}
    feeds = {"feed-a", "feed-b"}
    assert fed >= {(feed, "meter-it") for feed in feeds}
    assert fed >= {(shelf.name, feed) for shelf in layout.shelves for feed in feeds}
    assert fed >= {(rack.name, rack.shelf) for rack in layout.racks}
    assert {row["rated_watts"] for row in rows if row["kind"] == "feed" and row["relation"] == "contains"} == {
        str(layout.meters[2].rated_watts)
    }
    gpus_expected = sum(int(row["expected_count"]) for row in rows if row["kind"] == "host" and row["expected_count"])
    assert gpus_expected == gpus
