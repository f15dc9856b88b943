"""Lists of targets as Prometheus reads them: real files, a real HTTP server, and the runtime that follows them."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from collectors.address import parse_target_url
from collectors.collector import Target
from collectors.discovery import Lists, TargetList, build_lists, check_source
from collectors.inventory import Inventory, load_inventory
from collectors.profile import Library
from collectors.runtime import Fleet, Runtime
from collectors.settings import CollectorsSettings, DiscoverySettings, HttpList
from storage.config import Secret
from storage.lineprotocol import encode
from storage.point import Point

EMPTY = Inventory()


def target_list(inventory: Inventory = EMPTY, **source: object) -> TargetList:
    settings = CollectorsSettings(site="S", source="c1", discovery=(DiscoverySettings.model_validate(source),))
    (made,) = build_lists(settings, inventory, Library())
    return made


def write(path: Path, *groups: object) -> Path:
    path.write_text(json.dumps(groups))
    return path


def group(*targets: str, **labels: str) -> dict[str, object]:
    return {"targets": list(targets), "labels": labels}


def names(targets: Sequence[Target]) -> list[str]:
    return [target.name for target in targets]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "collectors.discovery"]


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "collectors")


# What a list says


async def test_an_entry_is_a_target_with_the_list_s_settings(tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", group("10.0.0.1:9400", rack="A01", job="dcgm", zone="x", __meta_x="y"))
    options = {"profile": "vllm", "timeout": "2s", "username": "me", "password": Secret("p"), "options": {"tls": "on"}}
    (target,) = await target_list(file_sd=path, **options).look()
    assert (target.name, target.protocol, target.address) == (
        "10.0.0.1:9400",
        "exposition",
        "http://10.0.0.1:9400/metrics",
    )
    assert (target.profile, target.interval, target.timeout) == ("vllm", timedelta(seconds=5), timedelta(seconds=2))
    assert (target.username, target.password, target.options) == ("me", Secret("p"), {"tls": "on"})
    assert target.tags == {"rack": "A01", "job": "dcgm", "site": "S", "source": "c1"}


@pytest.mark.parametrize(
    ("labels", "url", "name"),
    [
        ({}, "http://h:1/metrics", "h:1"),
        ({"__scheme__": "https"}, "https://h:1/metrics", "h:1"),
        ({"__metrics_path__": "/v1/metrics"}, "http://h:1/v1/metrics", "h:1/v1/metrics"),
        ({"__metrics_path__": "probe"}, "http://h:1/probe", "h:1/probe"),
        ({"__param_b": "c d", "__param_a": "x"}, "http://h:1/metrics?a=x&b=c+d", "h:1?a:x&b:c_d"),
    ],
)  # fmt: skip
async def test_labels_make_the_url_and_the_name(tmp_path: Path, labels: dict[str, str], url: str, name: str) -> None:
    (target,) = await target_list(file_sd=write(tmp_path / "t.json", group("h:1", **labels))).look()
    assert (target.address, target.name) == (url, name)
    assert parse_target_url(url).address == url


async def test_the_inventory_locates_a_target_by_its_name_else_by_its_host(tmp_path: Path) -> None:
    (tmp_path / "inventory.csv").write_text(
        "kind,id,parent,relation\nsite,S,,contains\nrack,A01,S,contains\nhost,node-1,A01,contains\n"
        "rack,A02,S,contains\nhost,node-2,A02,contains\nengine,h:1,node-2,contains\n"
    )
    inventory = load_inventory(tmp_path / "inventory.csv")
    path = write(tmp_path / "t.json", group("h:1", "h:2", host="node-1", rack="elsewhere"), group("h:3", host="other"))
    by_name, by_host, unknown = await target_list(inventory, file_sd=path).look()
    assert (by_name.tags["host"], by_name.tags["rack"]) == ("node-2", "A02")
    assert (by_host.tags["host"], by_host.tags["rack"]) == ("node-1", "A01")
    assert (unknown.tags["host"], "rack" in unknown.tags) == ("other", False)


async def test_yaml_is_read_with_all_scalars_as_text(tmp_path: Path) -> None:
    path = tmp_path / "t.yml"
    path.write_text("- targets: ['h:1', h:2]\n  labels: {rack: 12, row: yes, pod: null}\n- targets: []\n")
    first, second = await target_list(file_sd=path).look()
    assert names([first, second]) == ["h:1", "h:2"]
    assert (first.tags["rack"], first.tags["row"], first.tags["pod"]) == ("12", "yes", "null")


async def test_a_pattern_takes_every_file_and_lets_those_go_that_vanish(tmp_path: Path) -> None:
    for number in (1, 2):
        write(tmp_path / f"gpu-{number}.json", group(f"h:{number}"))
    write(tmp_path / "other.json", group("h:9"))
    found = target_list(file_sd=tmp_path / "gpu-*.json")
    assert names(await found.look()) == ["h:1", "h:2"]
    (tmp_path / "gpu-1.json").unlink()
    write(tmp_path / "gpu-3.json", group("h:3"))
    assert names(await found.look()) == ["h:2", "h:3"]
    assert names(await target_list(file_sd=tmp_path / "none-*.json").look()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"targets": []}', "the whole must be a list, not a mapping"),
        ('["h:1"]', "[0] must be a mapping, not text"),
        ('[{"targets": "h:1"}]', "[0].targets must be a list, not text"),
        ('[{}, {"targets": ["h:1", 5]}]', "[1].targets[1] must be text, not 5"),
        ('[{"targets": [null]}]', "[0].targets[0] must be text, not null"),
        ('[{"targets": [], "labels": {"a": 1}}]', "[0].labels.a must be text, not 1"),
        ('[{"target": ["h:1"]}]', "[0]: unknown key 'target'; a group has `targets` and `labels`"),
        ('[{"targets": ["h:1"]},\n ]', "is not JSON: Expecting value, line 2 column 2"),
        ("", "is not JSON: Expecting value, line 1 column 1"),
        ("[" * 100_000, "recursion"),
    ],
)
async def test_a_wrong_list_is_named_with_what_and_where_once_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, words: str
) -> None:
    path = write(tmp_path / "t.json", group("h:1", "h:2"))
    found = target_list(file_sd=path)
    await found.look()
    path.write_text(text)
    assert names(await found.look()) == ["h:1", "h:2"]
    assert names(await found.look()) == ["h:1", "h:2"]
    (line,) = said(caplog)
    assert line.startswith(f"file_sd {path}: ")
    assert words in line
    assert line.endswith("; its 2 targets stay as they are")
    write(path, group("h:3"))
    assert names(await found.look()) == ["h:3"]
    assert said(caplog)[1:] == [f"{path}: can be read again, 1 targets"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- targets: [h:1\n", "expected"),
        ("- " * 20 + "a", "is nested too deeply"),
        ("targets: [h:1]", "the whole must be a list, not a mapping"),
    ],
)
async def test_a_wrong_yaml_file_is_named_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, words: str
) -> None:
    (tmp_path / "t.yaml").write_text(text)
    assert await target_list(file_sd=tmp_path / "t.yaml").look() == []
    assert words in said(caplog)[0]


async def test_a_file_that_is_not_there_keeps_what_it_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "t.json", group("h:1"))
    found = target_list(file_sd=path)
    await found.look()
    path.unlink()
    assert names(await found.look()) == ["h:1"]
    assert said(caplog) == [
        f"file_sd {path}: cannot be read: No such file or directory; its 1 targets stay as they are"
    ]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (group("http://h:1/metrics"), "is no host:port"),
        (group("me@h:1"), "is no host:port"),
        (group(""), "is no host:port"),
        (group("h:port"), "its host or its port is malformed"),
        (group("h:1", __scheme__="ftp"), "__scheme__ 'ftp' is not allowed"),
        (group("h:1", __metrics_path__="/" + "x" * 200), "makes a name of 204 letters"),
    ],
)
async def test_a_wrong_target_is_left_out_alone_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, entry: dict[str, object], words: str
) -> None:
    found = target_list(file_sd=write(tmp_path / "t.json", entry, group("h:2")))
    assert names(await found.look()) == names(await found.look()) == ["h:2"]
    (line,) = said(caplog)
    assert f"{tmp_path / 't.json'}: [0].targets[0]: " in line
    assert words in line


# Several lists, and the site's own targets


async def test_one_address_is_one_target_and_one_name_is_used_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fixed = [
        Target("engine-1", "exposition", "http://10.0.0.1/metrics"),
        Target("h:5", "exposition", "http://10.0.0.5:9/metrics"),
        Target("node-1", "nvml", ""),
    ]
    first = target_list(file_sd=write(tmp_path / "a.json", group("10.0.0.1:80", "H:2", "h:3", "h:5")))
    second = target_list(file_sd=write(tmp_path / "b.json", group("h:2", "h:4"), group("h:3", __scheme__="https")))
    lists = Lists([first, second], fixed)
    for _ in range(2):
        await lists.look(second)
        await lists.look(first)
    assert names(lists.targets()) == ["H:2", "h:3", "h:4"]
    assert sorted(said(caplog)) == [
        "h:3 https://h:3/metrics: is left out: a target of that name has another address",
        "h:5 http://h:5/metrics: is left out: a target of that name has another address",
    ]


async def test_a_page_that_a_target_without_path_has_found_is_not_polled_twice(tmp_path: Path) -> None:
    fixed = [
        Target("trtllm-1", "exposition", "http://10.0.0.1:8000"),
        Target("nim-1", "exposition", "http://10.0.0.2:8000/"),
        Target("litellm-1", "exposition", "http://10.0.0.3:4000/metrics/"),
    ]
    groups = (
        group("10.0.0.1:8000", "10.0.0.1:8001", __metrics_path__="/prometheus/metrics"),
        group("10.0.0.2:8000", __metrics_path__="/v1/metrics"),
        group("10.0.0.3:4000"),
    )
    one = target_list(file_sd=write(tmp_path / "a.json", *groups))
    lists = Lists([one], fixed)
    await lists.look(one)
    assert names(lists.targets()) == ["10.0.0.1:8001/prometheus/metrics"]


# http_sd


@dataclass(slots=True)
class Server:
    """A web server with a list of targets, pages that they point at, and what it was asked."""

    url: str = ""
    address: str = ""
    groups: list[object] = field(default_factory=list)
    status: int = 200
    body: str | None = None
    authorization: list[str] = field(default_factory=list)

    async def discover(self, request: web.Request) -> web.Response:
        self.authorization.append(request.headers.get("Authorization", ""))
        body = json.dumps(self.groups) if self.body is None else self.body
        return web.Response(status=self.status, text=body, content_type="application/json")

    async def metrics(self, _: web.Request) -> web.Response:
        return web.Response(text='vllm:generation_tokens_total{model_name="m",engine="0"} 42\n')


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_get("/sd", server.discover)
    app.router.add_get("/{name}/metrics", server.metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.address = f"127.0.0.1:{runner.addresses[0][1]}"
    server.url = f"http://{server.address}/sd"
    try:
        yield server
    finally:
        await runner.cleanup()


async def test_a_list_over_http_is_read_again_at_each_look(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as server:
        found = target_list(http_sd=server.url)
        server.groups = [group("h:1"), group("h:2")]
        assert names(await found.look()) == ["h:1", "h:2"]
        server.groups = []
        assert names(await found.look()) == []
    assert said(caplog) == []


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (503, "[]", "HTTP 503 'Service Unavailable'"),
        (401, "[]", "HTTP 401 'Unauthorized': give the target a password"),
        (200, "<html>", "is not JSON: Expecting value, line 1 column 1: '<html>'"),
    ],
)
async def test_a_list_that_cannot_be_had_is_told_once_and_changes_nothing(
    caplog: pytest.LogCaptureFixture, status: int, body: str, words: str
) -> None:
    async with serving() as server:
        found = target_list(http_sd=server.url)
        server.groups = [group("h:1")]
        await found.look()
        server.status, server.body = status, body
        assert names(await found.look()) == names(await found.look()) == ["h:1"]
    assert names(await found.look()) == ["h:1"]  # nobody listens any more
    (line,) = said(caplog)
    assert server.url in line
    assert words in line


async def test_the_list_has_its_own_credentials() -> None:
    async with serving() as server:
        for source in ({"username": "me", "password": Secret("pw")}, {"password": Secret("token")}, {}):
            await target_list(http_sd={"url": server.url, **source}, username="x", password=Secret("y")).look()
        basic = base64.b64encode(b"me:pw").decode()
        assert server.authorization == [f"Basic {basic}", "Bearer token", ""]


def test_switches_of_the_list_that_exclude_each_other_are_found_without_asking() -> None:
    source = HttpList.model_validate({"url": "https://h/sd", "options": {"tls": "insecure", "ca": "/ca.pem"}})
    with pytest.raises(Exception, match="keep one of them"):
        check_source(DiscoverySettings(http_sd=source))


# The runtime


@dataclass(slots=True)
class Run:
    """A runtime that follows lists, and the points that it gave."""

    points: list[Point] = field(default_factory=list)

    def health(self) -> set[str]:
        """Return the targets whose health was told since the last `forget`."""
        return {point.tags["device"] for point in self.points if point.measurement == "device"}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running(lists: Sequence[TargetList], fixed: Sequence[Target] = ()) -> AsyncIterator[Run]:
    run, stop = Run(), asyncio.Event()
    task = asyncio.create_task(Runtime(Fleet(fixed, Library(), lists=lists), run.points.extend).run(stop))
    try:
        yield run
    finally:
        stop.set()
        await task


async def test_targets_come_go_and_change_while_the_others_go_on() -> None:
    async with serving() as server:

        def listed(*entries: tuple[str, str]) -> None:
            server.groups = [
                group(server.address, __metrics_path__=f"/{name}/metrics", rack=rack, job="vllm")
                for name, rack in entries
            ]

        name = {each: f"{server.address}/{each}/metrics" for each in "abc"}
        fixed = Target(
            "own", "exposition", f"http://{server.address}/own/metrics", "vllm",
            interval=timedelta(seconds=0.5), timeout=timedelta(seconds=20),
        )  # fmt: skip
        listed(("a", "A01"), ("b", "A01"))
        found = target_list(http_sd=server.url, refresh="1s", profile="vllm", interval="500ms", timeout="20s")
        async with running([found], [fixed]) as run:
            await run.until(lambda: run.health() == {"own", name["a"], name["b"]})
            encode(run.points)  # the store takes them
            listed(("b", "A02"), ("c", "A01"))
            await run.until(lambda: name["c"] in run.health() and moved(run, name["b"], "A02"))
            run.points.clear()
            await run.until(lambda: run.health() >= {"own", name["b"], name["c"]} and len(run.points) > 20)
            assert run.health() == {"own", name["b"], name["c"]}
            assert {p.tags["rack"] for p in run.points if p.tags.get("device") == name["b"]} == {"A02"}
            assert {p.fields["up"] for p in run.points if p.measurement == "device"} == {1}
            server.status = 500
            run.points.clear()
            await run.until(lambda: len(server.authorization) > 6 and len(run.points) > 20)
            assert run.health() == {"own", name["b"], name["c"]}


def moved(run: Run, device: str, rack: str) -> bool:
    return any(p.tags.get("device") == device and p.tags.get("rack") == rack for p in run.points)


async def test_a_target_that_vanishes_in_the_middle_of_a_poll_leaves_no_word() -> None:
    """The poll is cancelled: its failure would else be told as the health of a target that is no more."""
    asked, release = asyncio.Event(), asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await release.wait()
        writer.close()

    silent = await asyncio.start_server(hang, "127.0.0.1", 0)
    address = f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    async with serving() as server:
        server.groups = [group(address)]
        found = target_list(http_sd=server.url, refresh="1s", profile="vllm", interval="500ms", timeout="60s")
        async with running([found]) as run:
            await run.until(asked.is_set)
            server.groups = []
            looks = len(server.authorization)
            await run.until(lambda: len(server.authorization) > looks + 1)
            release.set()
            looks = len(server.authorization)
            await run.until(lambda: len(server.authorization) > looks)
            assert run.health() == set()
    silent.close()
    await silent.wait_closed()


async def test_ten_thousand_targets_are_taken_and_let_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "collectors.runtime")
    path = write(tmp_path / "t.json", *(group(f"127.0.0.1:{1 + n}", rack=f"A{n % 50}") for n in range(10_000)))
    found = target_list(file_sd=path, refresh="1s", profile="vllm", interval="1h")

    def told(words: str) -> bool:
        return any(words in record.getMessage() for record in caplog.records)

    async with running([found]) as run:
        await run.until(lambda: told("10000 targets have come from the lists: 127.0.0.1:1, 127.0.0.1:2, "))
        write(path)
        await run.until(lambda: told("10000 targets have gone from the lists"))
