"""`tokenwatt up` without a site's file: it finds what this host has, shows it live, and saves it where told."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
import yaml
from command import Answer, Running, offspring, run, started
from services import free_port, until

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Host:
    """A simulated GPU host: its NVML library, and its inference server as `host:port/path`."""

    library: str
    engine: str
    gpus: int


@pytest.fixture(scope="module")
def gpu_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("simulated")
    with started("simulate", "--dir", folder, "--gpus", 64, log=folder / "stderr.log") as simulator:
        simulator.line("^ready$")
        targets = yaml.safe_load((folder / "site.yaml").read_text())["collectors"]["targets"]
        library = next(urlsplit(t["url"]).path for t in targets if t["url"].startswith("nvml://"))
        engine = next(t["url"].removeprefix("http://") for t in targets if t.get("profile") == "vllm")
        yield Host(library, engine, 8)


@contextmanager
def up(folder: Path, *arguments: object) -> Iterator[Running]:
    """Run `tokenwatt up` in a folder, in a process group of its own as a terminal makes one."""
    options = ("up", "--port", "0", *arguments)
    log = folder / "stderr.log"
    with started(*options, log=log, stdin=None, cwd=folder, own_group=True, TMPDIR=str(folder)) as process:
        yield process


def listening(process: Running) -> str:
    """Return the address that it prints once it listens; there are others in the table before."""
    return process.line(r"TokenWatt is up: (http://[\w.]+:\d+)")[1]


def snapshot(url: str) -> dict[str, Any]:
    try:
        with urlopen(f"{url}/api/v1/snapshot", timeout=30) as response:  # our own loopback address
            found: dict[str, Any] = json.load(response)
    except HTTPError as error:  # 503: no snapshot yet
        error.close()
        return {"numbers": {}}
    return found


def racks(shown: dict[str, Any]) -> list[str]:
    return [rack["name"] for each in shown["layout"]["rows"] for rack in each["racks"]]


def known(url: str, *names: str) -> Callable[[], bool]:
    def condition() -> bool:
        numbers = snapshot(url)["numbers"]
        return all((numbers.get(name) or {}).get("value") for name in names)

    return condition


def row(said: str, word: str) -> list[str]:
    """Return the cells of the table's row that has this word."""
    line = next(line for line in said.splitlines() if "│" in line and word in line)
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_what_is_found_is_shown_live_and_leaves_nothing(gpu_host: Host, tmp_path: Path) -> None:
    with up(tmp_path, "--nvml-library", gpu_host.library, "--look", gpu_host.engine) as process:
        url = listening(process)
        said = "".join(process.said)
        until(known(url, "output_tokens_per_second", "gpu_board_watts", "gpus_seen"), 120, "numbers of this host")
        until(lambda: racks(snapshot(url)) == ["rack-1"], 60, "the inventory to be read")
        shown = snapshot(url)
        answer = process.stop(signal.SIGINT)
    assert row(said, "nvml://")[1:] == [f"nvml://{gpu_host.library}", f"{gpu_host.gpus} GPUs"]
    assert row(said, gpu_host.engine)[1:] == [f"http://{gpu_host.engine}", "vllm"]
    assert said.count("Looked for and not found: ") == 1
    assert "SGLang 127.0.0.1:30000" in said
    assert shown["numbers"]["gpus_seen"]["value"] == shown["site"]["gpus"] == gpu_host.gpus
    # eight boards of at most 1 kW, of which none draws less than 50 W
    assert 400 < shown["numbers"]["gpu_board_watts"]["value"] < 8_000
    assert answer.code == 0
    assert "Traceback" not in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["stderr.log"]


def test_what_is_found_is_saved_as_a_site_that_check_accepts(gpu_host: Host, tmp_path: Path) -> None:
    with up(tmp_path, "--write-config", "--nvml-library", gpu_host.library, "--look", gpu_host.engine) as process:
        process.line("Saved as config/site.yaml")
        url = listening(process)
        until(known(url, "gpus_seen"), 120, "the GPUs to be seen")
        assert process.stop(signal.SIGTERM).code == 0
    path = tmp_path / "config" / "site.yaml"
    checked = run("check", path)
    assert (checked.code, checked.err) == (0, "")
    targets = yaml.safe_load(path.read_text())["collectors"]["targets"]
    assert {t["url"] for t in targets} >= {f"nvml://{gpu_host.library}", f"http://{gpu_host.engine}"}
    inventory = (tmp_path / "config" / "inventory.csv").read_text()
    assert f"contains,{gpu_host.gpus}\n" in inventory
    assert (tmp_path / "config" / "tokenwatt.duckdb").exists()
    before = path.read_text(), inventory
    again = run("up", "--write-config", "--nvml-library", gpu_host.library, cwd=tmp_path)
    assert (again.code, again.out) == (1, "")
    assert again.err == (
        "error config/site.yaml is there already and is not overwritten: name another file with --config\n"
    )
    assert (path.read_text(), (tmp_path / "config" / "inventory.csv").read_text()) == before


def test_a_saved_site_may_have_another_name_and_is_what_up_takes_by_default(gpu_host: Host, tmp_path: Path) -> None:
    file = tmp_path / "config" / "site.yaml"
    options = ("--write-config", "--config", file, "--look", gpu_host.engine)
    with up(tmp_path, *options) as process:
        listening(process)
        assert process.stop(signal.SIGINT).code == 0
    with up(tmp_path) as process:
        url = listening(process)
        assert "Found on this host" not in "".join(process.said)
        until(known(url, "output_tokens_per_second"), 120, "the tokens of the saved site")
        assert process.stop(signal.SIGINT).code == 0


def test_a_host_that_has_nothing_ends_with_1_and_the_way_out(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    answer = run("up", "--port", 0, "--look", nobody, cwd=tmp_path)
    if "Found on this host" in answer.out:
        pytest.skip("this machine runs a server on one of the usual ports")
    assert answer.code == 1
    assert answer.out.startswith("Looked for and not found: NVML (")
    assert f"--look {nobody}" in answer.out
    assert "tokenwatt demo" in answer.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--config", "none.yaml"), "none.yaml: does not exist (check the path)"),
        (("--config", "none.yaml", "--look", "127.0.0.1:1"), "--look and --nvml-library do without"),
        (("--look", "127.0.0.1"), "'127.0.0.1' is no HOST:PORT"),
        (("--nvml-library", "/nowhere/libnvidia-ml.so.1"), "does not exist"),
    ],
)
def test_wrong_usage_ends_with_2(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    answer = run("up", *arguments, cwd=tmp_path)
    assert (answer.code, answer.out) == (2, "")
    assert words in " ".join(answer.err.split())


def test_a_site_without_devices_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text('collectors:\n  site: S\nstorage:\n  path: ":memory:"\n')
    with up(tmp_path, "--config", "site.yaml") as process:
        listening(process)
        answer = process.stop(signal.SIGINT)
    assert answer.code == 0
    assert "warning site.yaml names no device: " in answer.err


@pytest.mark.parametrize("stage", ["starting", "pollers"])
def test_ctrl_c_while_it_starts_ends_it_without_a_traceback(tmp_path: Path, stage: str) -> None:
    """A terminal sends Ctrl-C to the whole group: to a child that is still importing, too."""
    (tmp_path / "site.yaml").write_text('collectors:\n  site: S\nstorage:\n  path: ":memory:"\n')
    with up(tmp_path, "--config", "site.yaml") as process:
        if stage == "starting":
            until(lambda: ready_for_signals(process.process.pid), 60, "the program to take signals")
        else:
            until(lambda: len(offspring(process.process.pid)) >= 2, 60, "the pollers' process")
        os.killpg(process.process.pid, signal.SIGINT)
        answer: Answer = process.end(60)
    assert "Traceback" not in answer.err
    assert "KeyboardInterrupt" not in answer.err
    until(lambda: not offspring(process.process.pid), 20, "its children to end")


def ready_for_signals(pid: int) -> bool:
    """Return whether the process has a handler for SIGTERM: its `main` has begun (Linux)."""
    time.sleep(0)
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)
