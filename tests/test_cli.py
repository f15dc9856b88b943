"""The command line: its help, its exit codes, and each command against a simulated site over the real protocols."""

import json
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
import yaml
from command import ROOT, Answer, call, grown, lives, offspring, parse, peek, rows, run, started, subcommands
from services import free_port, listens, until

from storage.schema import MEASUREMENTS

# Each start of the program costs seconds, on a busy machine many.
pytestmark = pytest.mark.timeout(240)

COMMANDS = ("demo", "up", "collect", "serve", "simulate", "check", "probe", "profile", "version")
#: scheme of a target's URL -> a measurement that its device cannot be without
PROTOCOLS = {
    "nvml": "gpu",
    "http": "inference",
    "snmp": "interface",
    "gnmi": "interface",
    "modbus": "power",
    "redfish": "coolant",
    "mqtt": "power",
}

#: seconds; the simulated building system has told everything after ten, and enough after five
LISTEN = 5

Tokenwatt = Callable[..., Answer]


@pytest.fixture
def tokenwatt(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tokenwatt:
    """Run the command in this process: where neither signals nor its start are the question."""
    return lambda *arguments: call(capsys, monkeypatch, arguments)


@dataclass(frozen=True, slots=True)
class Simulated:
    """A running `tokenwatt simulate`."""

    folder: Path
    site: Mapping[str, Any]

    @property
    def config(self) -> Path:
        return self.folder / "site.yaml"

    def target(self, scheme: str) -> Mapping[str, str]:
        """Return the first target with a URL of this scheme; of the metrics pages, an inference server."""
        targets = [t for t in self.site["collectors"]["targets"] if t["url"].startswith(f"{scheme}://")]
        return cast("Mapping[str, str]", next(t for t in targets if scheme != "http" or t["profile"] == "vllm"))

    def copy(self, folder: Path) -> Path:
        """Write the site's file again, for a store of its own in that folder; return its path."""
        targets = [patient(target) for target in self.site["collectors"]["targets"]]
        collectors = {**self.site["collectors"], "targets": targets, "inventory": str(self.folder / "inventory.csv")}
        path = folder / "site.yaml"
        path.write_text(yaml.safe_dump({**self.site, "collectors": collectors}))
        path.chmod(0o600)
        return path


def patient(target: Mapping[str, str]) -> Mapping[str, str]:
    """Return the target with the time that devices on a busy machine need, for each request too."""
    url = target["url"]
    if url.startswith("modbus://"):
        url += f"{'&' if '?' in url else '?'}timeout=20s"
    return {**target, "url": url, "timeout": "20s"}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    """A site of 64 GPUs, which has a device of each protocol."""
    folder = tmp_path_factory.mktemp("simulated")
    with started("simulate", "--dir", folder, "--gpus", 64, log=folder / "stderr.log") as simulator:
        simulator.line("^ready$")
        yield Simulated(folder, yaml.safe_load((folder / "site.yaml").read_text()))


def assert_ended(processes: set[int]) -> None:
    assert processes
    until(lambda: not any(map(lives, processes)), 60, "the processes that it started to end")


def status(url: str) -> int:
    with urlopen(url, timeout=30) as response:  # our own loopback address
        return int(response.status)


# Help


def test_help_lists_all_commands(tokenwatt: Tokenwatt) -> None:
    answer = tokenwatt("--help")
    assert answer.code == 0
    assert sorted(re.findall(r"(?m)^│ ([a-z]+)  ", answer.out)) == sorted(COMMANDS)
    assert sorted(subcommands()) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_shows_examples_that_it_takes(tokenwatt: Tokenwatt, command: str) -> None:
    answer = tokenwatt(command, "--help")
    assert answer.code == 0
    assert re.search(rf"Examples?: tokenwatt {command}", answer.out)
    examples = re.findall(rf"`(tokenwatt {command}\b[^`]*)`", subcommands()[command].help)
    assert examples
    for example in examples:
        parse(shlex.split(example)[1:])


def test_without_a_command_it_shows_the_help_and_ends_with_2(tokenwatt: Tokenwatt) -> None:
    answer = tokenwatt()
    assert answer.code == 2
    assert "simulate" in answer.out + answer.err


def test_version_names_what_is_installed() -> None:
    answer = run("version")
    assert (answer.code, answer.err) == (0, "")
    assert dict(line.split() for line in answer.out.splitlines())["tokenwatt"] == version("tokenwatt")
    assert f"duckdb {version('duckdb')}" in answer.out


# Usage


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bogus",), "No such command 'bogus'"),
        (("check",), "Missing argument"),
        (("check", "--quick", "x"), "No such option"),
        (("demo", "--gpus", "9"), "9 is no multiple of 8"),
        (("demo", "--gpus", "0"), "greater than or equal to 8"),
        (("demo", "--port", "70000"), "less than or equal to 65535"),
        (("demo", "--seed", "-1"), "greater than or equal to 0"),
        (("demo", "--check", "--seconds", "1"), "greater than or equal to 10"),
        (("simulate", "--dir", "/nowhere", "--gpus", "12"), "12 is no multiple of 8"),
        (("simulate",), "Missing option '--dir'"),
        (("probe", "ftp://10.0.0.1"), "unknown scheme 'ftp'"),
        (("probe", "snmp://10.0.0.1?version=3"), "version=3 needs a user"),
        (("probe", "nvml://", "--format", "xml"), "'xml' is not one of"),
        (("probe", "http://127.0.0.1:1/metrics", "--profile", "apc_rpdu2"), "speaks snmp"),
        (("probe", "nvml://", "--profile", "vllm"), "speaks exposition"),
        (("probe", "leaf-1"), "has no target 'leaf-1'"),
        (("probe", "http://127.0.0.1:1/metrics", "--option", "tsl=on"), "did you mean 'tls'?"),
        (("probe", "redfish://h?tls=off", "--option", "tls=on"), "tls stands in the URL too"),
        (("probe", "nvml://", "--option", "workload"), "an option is name=value"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_why(tokenwatt: Tokenwatt, arguments: tuple[str, ...], words: str) -> None:
    answer = tokenwatt(*arguments)
    told = " ".join(re.sub("[│╭╮╰╯─]", " ", answer.err).split())
    assert answer.code == 2
    assert words in told


@pytest.mark.parametrize("url", ["modbus://127.0.0.1:1?profile=apc_rpdu", "snmp://127.0.0.1:1?profile=apc_rpdu"])
def test_probe_with_an_unknown_profile_names_those_there_are(tokenwatt: Tokenwatt, url: str) -> None:
    answer = tokenwatt("probe", url)
    assert answer.code == 2
    assert "there is no profile 'apc_rpdu' (did you mean 'apc_rpdu2'?)" in answer.err


# check


def test_check_passes_the_sample_and_a_simulated_site(tokenwatt: Tokenwatt, simulated: Simulated) -> None:
    sample = ROOT / "config" / "site.yaml"
    assert tokenwatt("check", sample) == Answer(0, f"{sample}: ok, 0 targets\n", "")
    number = len(simulated.site["collectors"]["targets"])
    assert tokenwatt("check", simulated.config) == Answer(0, f"{simulated.config}: ok, {number} targets\n", "")


def test_check_counts_lists_of_targets_and_looks_at_their_credentials(tokenwatt: Tokenwatt, tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    good = '    - {http_sd: "https://127.0.0.1:1/sd", refresh: 30s}\n    - {file_sd: "targets/*.json"}\n'
    path.write_text(f"collectors:\n  site: S\n  discovery:\n{good}")
    assert tokenwatt("check", path) == Answer(0, f"{path}: ok, 0 targets and 2 lists of targets\n", "")
    wrong = '    - {http_sd: {url: "https://h/sd", options: {tls: insecure, ca: ca.pem}}}\n'
    path.write_text(f"collectors:\n  site: S\n  discovery:\n{good}{wrong}")
    answer = tokenwatt("check", path)
    assert answer.code == 2
    assert answer.err.startswith(f"error {path}:6: collectors.discovery[2]: ")
    assert "keep one of them" in answer.err


def test_mistakes_in_a_site_end_with_2_and_their_place_on_standard_error(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("collectors:\n  site: S\nstorage:\n  engine: duckbd\ndashboard:\n  port: 99999\n")
    answer = run("collect", "--config", path)
    assert (answer.code, answer.out) == (2, "")
    first, second = answer.err.splitlines()
    assert first.startswith(f"error {path}:4: storage.engine: 'duckbd' is not allowed (did you mean 'duckdb'?")
    assert second.startswith(f"error {path}:6: dashboard.port: ")


def test_foreign_text_is_no_markup(tokenwatt: Tokenwatt, tmp_path: Path) -> None:
    """Rich would take `[/red]` for a closing tag, fail on it, and swallow `[bold]`."""
    path = tmp_path / "site.yaml"
    path.write_text('collectors:\n  site: S\n  "[/red]": 1\n  "[bold]": 1\n')
    answer = tokenwatt("check", path)
    assert answer.code == 2
    assert f"{path}:3: collectors.[/red]: unknown key" in answer.err
    assert f"{path}:4: collectors.[bold]: unknown key" in answer.err


# probe


def parts(line: str) -> tuple[str, dict[str, str], list[str], int]:
    """Return measurement, tags, field names and time stamp of a line of line protocol."""
    matched = re.fullmatch(r"((?:\\.|[^ \\])+) ((?:\"(?:\\.|[^\"\\])*\"|[^ \"])+) (\d+)", line)
    assert matched, line
    measurement, *tags = re.split(r"(?<!\\),", matched[1])
    fields = re.findall(r"(\w+)=(?:\"(?:\\.|[^\"\\])*\"|-?\d+i|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?:,|$)", matched[2])
    assert fields, line
    pairs = (re.split(r"(?<!\\)=", tag) for tag in tags)
    return measurement, dict(pairs), fields, int(matched[3])


@pytest.mark.parametrize("scheme", PROTOCOLS)
def test_probe_of_a_site_s_target_prints_line_protocol(tokenwatt: Tokenwatt, simulated: Simulated, scheme: str) -> None:
    name = simulated.target(scheme)["name"]
    begun = time.time_ns()
    answer = tokenwatt("probe", name, "--config", simulated.config, "--format", "lp", "--timeout", LISTEN)
    assert answer.code == 0
    lines = [parts(line) for line in answer.out.splitlines()]
    for measurement, tags, fields, time_ns in lines:
        assert set(tags) <= set(MEASUREMENTS[measurement].tags)
        assert set(fields) <= set(MEASUREMENTS[measurement].fields)
        assert (tags["site"], tags["synthetic"]) == ("DEMO-1", "true")
        assert begun <= time_ns <= time.time_ns()
    assert PROTOCOLS[scheme] in {line[0] for line in lines}
    assert "rack" in {tag for line in lines for tag in line[1]} or scheme == "redfish"


@pytest.mark.parametrize("scheme", PROTOCOLS)
def test_probe_of_a_url_finds_the_profile_and_prints_json(
    tokenwatt: Tokenwatt, simulated: Simulated, scheme: str
) -> None:
    target = simulated.target(scheme)
    url = target["url"]
    if scheme == "redfish":
        url = url.replace("@", f":{target['password']}@")
    answer = tokenwatt("probe", url, "--format", "json", "--timeout", LISTEN)
    assert answer.code == 0
    points = json.loads(answer.out)
    assert all(point["fields"] and point["time_ns"] > 0 for point in points)
    assert PROTOCOLS[scheme] in {point["measurement"] for point in points}
    assert f"profile {target['profile']}," in answer.err if scheme != "nvml" else answer.err == ""
    assert target.get("password", "no password") not in answer.out + answer.err


def test_probe_takes_switches_of_the_protocol(tokenwatt: Tokenwatt, simulated: Simulated) -> None:
    address = urlsplit(simulated.target("gnmi")["url"]).netloc
    plain = tokenwatt("probe", f"gnmi://{address}", "--option", "tls=off", "--format", "lp", "--timeout", LISTEN)
    assert plain.code == 0
    assert plain.out
    encrypted = tokenwatt("probe", f"gnmi://{address}", "--option", "tls=on", "--timeout", "3")
    assert encrypted.code == 1


def test_probe_prints_a_table(simulated: Simulated) -> None:
    answer = run("probe", patient(simulated.target("modbus"))["url"], "--timeout", LISTEN)
    assert answer.code == 0
    blocks = re.split(r"(?m)^(?=\w)", answer.out)
    whole = [block for block in blocks if block.startswith("power ") and "circuit=total" in block]
    assert whole
    for block in whole:
        fields = {words[0]: words[1:] for line in block.splitlines()[1:] if (words := line.split())}
        assert float(fields["active_watts"][0]) > 0
        assert fields["active_watts"][1:] == ["watts"]


def test_probe_prints_the_buckets_of_a_histogram_on_one_line(simulated: Simulated) -> None:
    answer = run("probe", simulated.target("http")["url"], "--timeout", LISTEN)
    assert answer.code == 0
    lines = answer.out.splitlines()
    (at,) = (i for i, line in enumerate(lines) if line.startswith("inference_latency") and "metric=ttft" in line)
    assert re.fullmatch(r"    le (\S+: \d+, ){10,}\+Inf: \d+", lines[at + 1])


@pytest.mark.parametrize("scheme", sorted(PROTOCOLS.keys() - {"nvml"}))
def test_a_device_that_is_not_there_ends_with_1_and_is_named(tokenwatt: Tokenwatt, scheme: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    options = {"gnmi": "?tls=off", "redfish": "?tls=off", "http": "/metrics"}.get(scheme, "")
    answer = tokenwatt("probe", f"{scheme}://{address}{options}", "--timeout", "2")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith(f"error {address} ")


def test_a_device_that_says_nothing_ends_with_1_in_time(tokenwatt: Tokenwatt) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        answer = tokenwatt("probe", f"http://{address}/metrics", "--timeout", "0.5")
    assert answer.code == 1
    assert answer.err.startswith(f"error {address} http://{address}/metrics: ")


def test_a_library_that_is_not_there_ends_with_1(tokenwatt: Tokenwatt) -> None:
    answer = tokenwatt("probe", "nvml:///nowhere/libnvidia-ml.so.1")
    assert answer.code == 1
    assert "/nowhere/libnvidia-ml.so.1" in answer.err
    assert "nvml:///path/libnvidia-ml.so.1" in answer.err  # the way out


# collect, up, serve


def test_collect_fills_the_store_and_ends_cleanly_with_sigterm(simulated: Simulated, tmp_path: Path) -> None:
    config = simulated.copy(tmp_path)
    log = tmp_path / "stderr.log"
    store = tmp_path / "tokenwatt.duckdb"
    names = {target["name"] for target in simulated.site["collectors"]["targets"]}
    with started("collect", "--config", config, log=log) as collect:
        collect.line(f"collecting from {len(names)} targets")
        polled = grown(store, lambda: names == {row["device"] for row in peek(store, "device") if row["up"]})
        until(polled, 120, "each device to answer")
        children = offspring(collect.process.pid)
        answer = collect.stop(signal.SIGTERM)
    assert (answer.code, answer.err) == (0, "")
    assert_ended(children)
    health = rows(store, "device")
    assert {row["device"] for row in health if row["up"]} == names
    assert {row["synthetic"] for row in health} == {"true"}
    uuids = {row["gpu"] for row in rows(store, "gpu")}
    assert uuids
    assert all(row["power_watts"] > 0 for row in rows(store, "gpu"))
    assert {row["kind"] for row in rows(store, "inventory")} >= {"site", "rack", "host", "meter"}


def test_up_serves_and_a_second_one_is_told_what_to_do(simulated: Simulated, tmp_path: Path) -> None:
    config = simulated.copy(tmp_path)
    with started("up", "--config", config, "--port", 0, log=tmp_path / "first.log") as first:
        url = first.url()
        assert status(f"{url}/healthz") == 200
        second = run("up", "--config", config, "--port", 0)
        assert (second.code, second.out) == (1, "")
        assert str(tmp_path / "tokenwatt.duckdb") in second.err
        assert f"pid {first.process.pid}" in second.err
        assert "stop the other one" in second.err
        until(lambda: seen(url), 120, "all GPUs to be seen")
        children = offspring(first.process.pid)
        answer = first.stop(signal.SIGINT)
    assert (answer.code, answer.err) == (0, "")
    assert_ended(children)
    with started("serve", "--config", config, "--port", 0, log=tmp_path / "serve.log") as serve:
        url = serve.url()
        assert status(f"{url}/healthz") == 200
        # Samples are too old to be shown after 15 s, which a start may take; racks are four and one with a PDU.
        until(lambda: racks(url) == 5, 120, "the racks that `up` has stored to be shown")
        answer = serve.stop(signal.SIGINT)
    assert (answer.code, answer.err) == (0, "")


def snapshot(url: str) -> Mapping[str, Any]:
    """Return what the dashboard shows, of nothing while it shows nothing."""
    try:
        with urlopen(f"{url}/api/v1/snapshot", timeout=60) as response:  # our own loopback address
            return cast("Mapping[str, Any]", json.load(response))
    except HTTPError as error:  # 503: no snapshot yet
        error.close()
        return {"numbers": {}, "site": {}}


def seen(url: str) -> bool:
    """Return whether the dashboard has seen a GPU."""
    return (snapshot(url)["numbers"].get("gpus_seen", {}).get("value") or 0) > 0


def racks(url: str) -> int:
    """Return the number of racks that the dashboard knows."""
    return int(snapshot(url)["site"].get("racks", 0))


def test_a_port_in_use_ends_with_1_and_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text('collectors:\n  site: S\nstorage:\n  path: ":memory:"\n')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = run("serve", "--config", tmp_path / "site.yaml", "--port", port)
    assert (answer.code, answer.out) == (1, "")
    assert (
        answer.err
        == f"error cannot listen on 127.0.0.1:{port}: Address already in use; give another --port or --host\n"
    )


# simulate, demo


def test_simulate_ends_cleanly_with_sigterm(tmp_path: Path) -> None:
    with started("simulate", "--dir", tmp_path / "site", "--gpus", 8, log=tmp_path / "stderr.log") as simulator:
        simulator.line("^ready$")
        control = json.loads((tmp_path / "site" / "control.json").read_text())
        assert control["pid"] == simulator.process.pid
        assert simulator.stop(signal.SIGTERM) == Answer(0, "ready\n", "")
    until(lambda: not listens(urlsplit(control["url"]).port or 0), what="its port to be closed")


def test_simulate_as_a_child_ends_with_its_standard_input(tmp_path: Path) -> None:
    options = ("--dir", tmp_path / "site", "--gpus", 8, "--child")
    with started("simulate", *options, log=tmp_path / "stderr.log", stdin=subprocess.PIPE) as simulator:
        simulator.line("^ready$")
        assert simulator.end() == Answer(0, "ready\n", "")  # `communicate` closes the pipe


def test_a_wrong_script_of_faults_ends_with_2_from_the_demo_too(tmp_path: Path) -> None:
    script = tmp_path / "faults.yaml"
    script.write_text("- {at: 5, kind: leek, object: A01}\n- {at: soon, kind: leak, object: A01}\n")
    answer = run("demo", "--gpus", 8, "--port", 0, "--faults", script, TMPDIR=str(tmp_path))
    assert (answer.code, answer.out) == (2, "")
    first, second = [line for line in answer.err.splitlines() if line.startswith("error ")]
    assert first.startswith(f"error {script}: entry 1: unknown fault: 'leek', did you mean 'leak'?")
    assert second.startswith(f"error {script}: entry 2: at and seconds are numbers")
    assert list(tmp_path.iterdir()) == [script]


def test_an_unknown_script_of_faults_names_those_there_are(tmp_path: Path) -> None:
    answer = run("simulate", "--dir", tmp_path / "site", "--gpus", 8, "--faults", "gpus")
    assert (answer.code, answer.out) == (2, "")
    assert re.search(r"error .*'?gpus'?", answer.err)
    assert re.search(r"\bgpu\b", answer.err)
    assert list(tmp_path.iterdir()) == []


def test_a_packaged_script_of_faults_is_called_by_its_name(tmp_path: Path) -> None:
    options = ("--dir", tmp_path / "site", "--gpus", 64, "--faults", "gpu")
    with started("simulate", *options, log=tmp_path / "stderr.log") as simulator:
        simulator.line("^ready$")
        control = json.loads((tmp_path / "site" / "control.json").read_text())["url"]
        with urlopen(f"{control}/faults", timeout=30) as response:  # our own loopback address
            planned = json.load(response)["faults"]
    assert {fault["kind"] for fault in planned} >= {"engine_restart", "gpu_reset", "driver_reload"}


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "not kept"])
def test_a_demo_leaves_its_data_where_told_and_nothing_else(tmp_path: Path, keep: bool) -> None:
    temporary, kept = tmp_path / "tmp", tmp_path / "kept"
    temporary.mkdir()
    options = ("--keep", kept) if keep else ()
    with started(
        "demo", "--gpus", 8, "--port", 0, *options, log=tmp_path / "stderr.log", TMPDIR=str(temporary)
    ) as demo:
        url = demo.url()
        until(lambda: not keep or seen(url), 120, "the demo to see its GPUs")
        children = offspring(demo.process.pid)
        answer = demo.stop(signal.SIGINT)
    assert (answer.code, [line for line in answer.err.splitlines() if not is_of_health(line)]) == (0, [])
    assert_ended(children)
    assert list(temporary.iterdir()) == []
    assert kept.exists() == keep
    if keep:
        health = rows(kept / "tokenwatt.duckdb", "device")
        assert {row["device"] for row in health if row["up"]} == {row["device"] for row in health}
        assert run("check", kept / "site.yaml").code == 0


def is_of_health(line: str) -> bool:
    """Return whether a line of the log says that a device was lost or is back: a busy machine misses a second."""
    return re.search(r"^(WARNING|INFO) .*(timeout|no (complete )?answer|answers again)", line) is not None


def test_a_demo_stopped_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with started("demo", "--gpus", 8, "--port", 0, log=tmp_path / "stderr.log", TMPDIR=str(temporary)) as demo:
        until(lambda: offspring(demo.process.pid), 60, "the demo to start its factory")
        children = offspring(demo.process.pid)
        assert demo.stop(signal.SIGTERM).code == 130
    assert_ended(children)
    assert list(temporary.iterdir()) == []


def test_a_killed_demo_takes_its_children_with_it(tmp_path: Path) -> None:
    with started("demo", "--gpus", 8, "--port", 0, log=tmp_path / "stderr.log", TMPDIR=str(tmp_path)) as demo:
        assert status(f"{demo.url()}/healthz") == 200
        children = offspring(demo.process.pid)
        demo.process.kill()
        demo.process.wait(10)
        assert_ended(children)
