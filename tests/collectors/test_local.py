"""What a host has, found for real: servers on loopback, NVML through the simulator's library, and the files written."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from nvml_scenario import start_simulator
from services import free_port

from collectors.inventory import load_inventory
from collectors.local import USUAL_PORTS, Found, Surroundings, look_around, refuse_existing, site_files, write_site
from collectors.profile import Library
from collectors.settings import CollectorsSettings, build_targets
from collectors.simulator import nvml
from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from storage.config import InvalidValueError, load_yaml
from tokenwatt import Site

#: what happens to run on this machine is no part of a test
NO_LIBRARY = "/nowhere/libnvidia-ml.so.1"
VLLM = 'vllm:generation_tokens_total{model_name="m",engine="0"} 42\n'


def look(*endpoints: str, nvml: str = NO_LIBRARY) -> Surroundings:
    return look_around("host-1", Library(), endpoints, nvml, ports={})


@contextmanager
def serving(pages: Mapping[str, tuple[int, str]]) -> Iterator[tuple[str, list[str]]]:
    """Serve these pages; yield the address and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, text = pages.get(self.path, (404, "no such page"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("path", ["/metrics", "/v1/metrics", "/prometheus/metrics"])
def test_a_server_is_known_by_its_page_wherever_that_is(path: str) -> None:
    with serving({path: (200, VLLM)}) as (address, _):
        around = look(address)
    port = address.partition(":")[2]
    assert around.found == [Found(f"vllm-{port}", f"http://{address}{path}", "vllm")]
    assert around.unknown == []
    assert [what.partition(" ")[0] for what in around.missing] == ["NVML"]


def test_one_server_is_found_once_although_it_has_its_page_twice() -> None:
    with serving({"/metrics": (200, VLLM), "/v1/metrics": (200, VLLM)}) as (address, asked):
        (found,) = look(address, address).found
    assert found.url == f"http://{address}/v1/metrics"
    assert asked == ["/v1/metrics"]


def test_a_path_may_be_named_and_is_asked_alone() -> None:
    pages = {"/a/metrics": (200, VLLM), "/b/metrics": (200, VLLM), "/metrics": (200, VLLM)}
    with serving(pages) as (address, asked):
        found = look(f"{address}/a/metrics", f"{address}/b/metrics").found
    port = address.partition(":")[2]
    assert [(each.name, each.url) for each in found] == [
        (f"vllm-{port}", f"http://{address}/a/metrics"),
        (f"vllm-{port}-2", f"http://{address}/b/metrics"),
    ]
    assert sorted(asked) == ["/a/metrics", "/b/metrics"]


@pytest.mark.parametrize("way", ["127.0.0.1:{}", "127.0.0.1:{}/metrics", "localhost:{}", "localhost:{}/metrics"])
def test_one_page_is_found_once_however_it_is_named(way: str) -> None:
    """Its tokens would count twice."""
    with serving({"/metrics": (200, VLLM)}) as (address, _):
        port = address.partition(":")[2]
        around = look_around("host-1", Library(), [way.format(port)], NO_LIBRARY, ports={int(port): "vLLM"})
    (found,) = around.found
    assert (found.name, found.is_local) == (f"vllm-{port}", True)


def test_a_path_that_is_named_goes_before_the_usual_ones() -> None:
    with serving({"/metrics": (200, VLLM), "/v1/metrics": (200, VLLM)}) as (address, asked):
        (found,) = look(address, f"{address}/metrics").found
    assert (found.url, asked) == (f"http://{address}/metrics", ["/metrics"])


def test_an_unknown_page_is_told_and_not_polled() -> None:
    with serving({"/metrics": (200, "zeta_a 1\nzeta_b 2\n")}) as (address, _):
        around = look(address)
    (unknown,) = around.unknown
    assert (unknown.url, unknown.profile) == (f"http://{address}/metrics", "")
    assert "zeta_" in unknown.why
    assert around.found == []


def test_a_page_that_wants_credentials_is_told() -> None:
    with serving({"/metrics": (401, "")}) as (address, _):
        (unknown,) = look(address).unknown
    assert "credentials" in unknown.why


def test_credentials_on_one_path_hide_no_page_on_another() -> None:
    """vLLM with an API key guards all that begins with /v1."""
    with serving({"/v1/metrics": (401, ""), "/metrics": (200, VLLM)}) as (address, _):
        around = look(address)
    assert [found.profile for found in around.found] == ["vllm"]
    assert around.unknown == []


def test_what_is_no_page_of_metrics_and_what_is_not_there_is_missing() -> None:
    nobody = f"127.0.0.1:{free_port()}"
    with serving({"/metrics": (200, "<html>hello</html>")}) as (address, _):
        around = look(address, nobody)
    assert (around.found, around.unknown) == ([], [])
    assert around.missing[1:] == [f"--look {address}", f"--look {nobody}"]


@pytest.mark.parametrize("endpoint", ["8001", "host", ":8001", "host:port", "http://h:1", "h/metrics", "h:99999"])
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidValueError):
        look(endpoint)


def test_the_usual_ports_are_looked_at() -> None:
    with serving({"/metrics": (200, VLLM)}) as (address, _):
        port = int(address.partition(":")[2])
        around = look_around("host-1", Library(), (), NO_LIBRARY, ports={port: "vLLM", free_port(): "SGLang"})
    assert [found.name for found in around.found] == [f"vllm-{port}"]
    assert around.missing[1].startswith("SGLang 127.0.0.1:")
    assert USUAL_PORTS.keys() >= {8000, 30000, 8002, 9400, 9100}


def test_nvml_tells_its_boards_or_why_not(tmp_path: Path) -> None:
    factory = Factory(build_layout(8), seed=1, start=time.time())

    async def start() -> None:
        await (await start_simulator(factory, tmp_path)).close()  # the library and its state stay

    asyncio.run(start())
    library = str(tmp_path / factory.layout.hosts[0].name / nvml.LIBRARY)
    around = look(nvml=library)
    assert around.found == [Found("host-1", f"nvml://{library}", "", gpus=8)]
    around = look()
    assert around.found == []
    (missing,) = around.missing
    assert missing.startswith("NVML (")
    assert "NVIDIA driver" in missing


FOUND = [
    Found("host-1", "nvml:///opt/my%20lib.so", "", gpus=8),
    Found("vllm-8000", "http://127.0.0.1:8000/metrics", "vllm"),
    Found("vllm-gpu-2-8001", "http://gpu-2:8001/metrics", "vllm", is_local=False),
]


def test_what_was_found_is_written_as_a_site(tmp_path: Path) -> None:
    path = tmp_path / "config" / "site.yaml"
    write_site(path, "host-1", FOUND)
    settings: CollectorsSettings = load_yaml(path, Site).collectors
    assert settings.inventory is not None
    inventory = load_inventory(settings.inventory)
    gpus, engine, other = build_targets(settings, inventory)
    place = {"rack": "rack-1", "host": "host-1"}
    assert (gpus.protocol, gpus.address) == ("nvml", "/opt/my lib.so")
    assert gpus.tags.items() >= place.items()
    assert (engine.name, engine.address, engine.profile) == ("vllm-8000", "http://127.0.0.1:8000/metrics", "vllm")
    assert engine.tags.items() >= place.items()
    assert "host" not in other.tags  # it is on another host, whose name nobody said
    (host,) = [item for item in inventory.items if item.kind == "host"]
    assert host.numbers == {"expected_count": 8}


def test_a_number_of_gpus_that_nobody_knows_is_left_out() -> None:
    _, inventory = site_files("host-1", FOUND[1:])
    assert inventory.splitlines()[-1] == "host,host-1,rack-1,contains,"


@pytest.mark.parametrize("name", ["site.yaml", "inventory.csv"])
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=rf"{name} is there already"):
        refuse_existing(tmp_path / "site.yaml")
    with pytest.raises(FileExistsError):
        write_site(tmp_path / "site.yaml", "host-1", FOUND)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]
