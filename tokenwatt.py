"""TokenWatt's command line: the door, and the only module that sees collectors, storage and dashboard.

Exit codes: 0 ok, 1 failed, 2 usage or configuration.
"""

import asyncio
import json
import signal
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import BaseModel, ConfigDict
from rich.console import Console

from collectors import local, profile_cli
from collectors.collector import CollectError, Target, UnknownDeviceError
from collectors.discovery import build_lists
from collectors.logs import quiet
from collectors.poller import place
from collectors.preflight import check_targets, load_files
from collectors.probe import ask, examine, find_target
from collectors.process import Pollers, SimulatorError, simulator
from collectors.profile import Library
from collectors.runtime import Fleet, Runtime
from collectors.settings import CollectorsSettings, build_targets
from collectors.snmp.traps_port import open_port
from collectors.terminal import PRINTERS, complain, print_found, print_offer, print_proof
from dashboard.settings import DashboardSettings
from storage.config import ConfigError, InvalidValueError, load_yaml
from storage.point import Point
from storage.settings import StorageSettings, open_store
from storage.store import Store, StoreError
from storage.writer import Writer

if TYPE_CHECKING:
    from dashboard.live import Live

app = typer.Typer(
    name="tokenwatt",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Watts to tokens, live: an AI factory from the GPU board to the facility meter.",
)
out = Console()
err = Console(stderr=True)

CONFIG_HELP = "the site's file; config/site.yaml is a commented sample"
DEFAULT_CONFIG = Path("config/site.yaml")
Config = Annotated[Path, typer.Option("--config", "-c", help=CONFIG_HELP)]
Port = Annotated[
    int | None,
    typer.Option(min=0, max=65_535, help="port to listen on, instead of dashboard.port; 0 picks one"),
]
Script = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|NAME",
        help="a script of faults: a file as config/demo.yaml, or a packaged one: facility, fabric, gpu",
    ),
]


def _multiple_of_eight(gpus: int) -> int:
    if gpus % 8:
        raise typer.BadParameter(f"{gpus} is no multiple of 8")
    return gpus


_SIZE_HELP = "size of the site, a multiple of 8"
Gpus = Annotated[int, typer.Option(min=8, max=10_240, help=_SIZE_HELP, callback=_multiple_of_eight)]
Seed = Annotated[int, typer.Option(min=0, help="the same seed gives the same site and the same load")]
Speed = Annotated[float, typer.Option(min=0.1, help="how fast load curves and scripted faults run")]


class Site(BaseModel):
    """`site.yaml`: one section per room."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    storage: StorageSettings = StorageSettings()
    collectors: CollectorsSettings
    dashboard: DashboardSettings = DashboardSettings()
    allow_plaintext_secrets: bool = False


def _play(recording: Mapping[str, Any], folder: Path, port: int = 0) -> AbstractAsyncContextManager[str]:
    from collectors.simulator.replay import play

    return play(recording, folder, port)


app.add_typer(profile_cli.make_app(_play), name="profile")


def main() -> None:
    """Run the command line and turn expected failures into a message and an exit code."""
    quiet()
    # Until a server waits for it, SIGTERM unwinds as Ctrl-C does: children end, temporary folders go.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except ConfigError as error:
        for problem in error.problems:
            _complain(problem)
        sys.exit(2)
    except (CollectError, StoreError, OSError) as error:
        _complain(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


_complain = partial(complain, err)


@app.command()
def version() -> None:
    """Print the versions of TokenWatt and what it stands on.

    Example: `tokenwatt version`
    """
    for name in ("tokenwatt", "dash", "plotly", "duckdb", "influxdb-client", "pysnmp", "gufo-snmp", "nvidia-ml-py"):
        out.print(f"{name} {installed_version(name)}", highlight=False)


@app.command()
def check(file: Annotated[Path, typer.Argument(help=CONFIG_HELP)]) -> None:
    """Validate a site, its inventory and its profiles without any I/O to devices; exit 2 lists every mistake.

    Example: `tokenwatt check config/site.yaml`
    """
    site, fleet = _load(file)
    check_targets(file, site.collectors, fleet.targets, fleet.library)
    out.print(f"{file}: ok, {_count(fleet)}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def probe(
    device: Annotated[str, typer.Argument(help="a target's name in the site's file, or a URL: snmp://public@host:161")],
    config: Config = DEFAULT_CONFIG,
    profile: Annotated[str | None, typer.Option(help="the device's profile; else it is asked what it is")] = None,
    output: Annotated[
        Literal["table", "lp", "json"], typer.Option("--format", help="how points are printed")
    ] = "table",
    timeout: Annotated[float, typer.Option(min=0.1, help="seconds to wait for the device")] = 10.0,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="a switch of the protocol: tls=insecure; repeatable")
    ] = None,
) -> None:
    """Poll one device once and print its points.

    Examples: `tokenwatt probe http://127.0.0.1:9100/metrics` · `tokenwatt probe snmp://public@10.0.0.7:161` ·
    `tokenwatt probe modbus://10.0.0.9:502?profile=supermicro_scdu` · `tokenwatt probe nvml:// --format lp`
    """
    target, fleet = _probe_target(device, config, profile, option or ())
    try:
        result, spoken = asyncio.run(ask(target, fleet.library, timeout, _complain))
    except UnknownDeviceError as error:
        # It answers, so the probe has not failed; but nothing is guessed.
        _complain(f"server=unknown {error}", "[yellow]warning[/]")
        return
    points = place(result.points, fleet.places)
    PRINTERS[output](out, points)
    for word, lines in (("missing", result.missing), ("rejected", result.rejected)):
        for what in lines:
            _complain(what, f"[yellow]{word}[/]")
    if not points:
        raise CollectError(f"{target.name}: the device answered, but gave no point")
    if output == "table":  # it takes its time, which a script does not have
        print_offer(err, asyncio.run(examine(target, spoken)))


@app.command()
def simulate(
    directory: Annotated[
        Path, typer.Option("--dir", help="where site.yaml, inventory.csv and control.json are written")
    ],
    gpus: Gpus = 64,
    seed: Seed = 1,
    speed: Speed = 1.0,
    faults: Script = None,
    storage: Annotated[Literal["duckdb", "influxdb"], typer.Option(help="the store that site.yaml names")] = "duckdb",
    child: Annotated[bool, typer.Option("--child", hidden=True, help="stop when standard input ends")] = False,
) -> None:
    """Play an AI factory on localhost over the real protocols and write a site.yaml that points at it.

    Example: `tokenwatt simulate --dir /tmp/factory --gpus 64`
    """
    from collectors.simulator.faults import ScriptError, find_script
    from collectors.simulator.site import simulate as play
    from collectors.simulator.stores import STORES

    try:
        script = find_script(faults) if faults else None
        asyncio.run(play(directory, gpus, seed, speed, script, storage=STORES[storage], child=child))
    except ScriptError as error:
        for mistake in str(error).splitlines():
            _complain(mistake)
        raise typer.Exit(2) from error


@app.command()
def up(
    config: Annotated[Path | None, typer.Option("--config", "-c", help=f"{CONFIG_HELP}, and the default")] = None,
    host: Annotated[str | None, typer.Option(help="address to listen on, instead of dashboard.host")] = None,
    port: Port = None,
    write_config: Annotated[
        bool, typer.Option("--write-config", help="look at this host and save what it has as the site's file")
    ] = False,
    look: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT[/PATH]", help="a further server or exporter to look for; repeatable"),
    ] = None,
    nvml_library: Annotated[
        Path | None, typer.Option(exists=True, help="look for GPUs with this libnvidia-ml.so.1, not the driver's own")
    ] = None,
) -> None:
    """Run everything on this machine: collectors, store and dashboard.

    Without a site's file it looks at this host: GPUs, and inference servers and exporters on their usual ports. It
    shows what it found live and keeps nothing, unless --write-config saves it.

    Examples: `tokenwatt up` · `tokenwatt up --config config/site.yaml` · `tokenwatt up --write-config` ·
    `tokenwatt up --look 10.0.1.11:8001`
    """
    with _site_file(config, look or (), nvml_library, save=write_config) as path:
        site, fleet = _load(path)
        check_targets(path, site.collectors, fleet.targets, fleet.library)
        if not fleet.targets and not fleet.lists:
            hint = "name some, or run `tokenwatt up` in another folder to see what this host has"
            _complain(f"{path} names no device: {hint}", "[yellow]warning[/]")
        with _running(path, site) as live, _web(live, site.dashboard, host, port) as url:
            _wait_for_signal(_listening(url))


@app.command()
def collect(config: Config = DEFAULT_CONFIG) -> None:
    """Poll this site's targets into its store, without a dashboard.

    Example: `tokenwatt collect --config config/site.yaml`
    """
    site, fleet = _load(config)
    check_targets(config, site.collectors, fleet.targets, fleet.library)
    with _store(config, site) as store, _collecting(config, store, site):
        _wait_for_signal(f"collecting from {_count(fleet)}; Ctrl-C stops")


@app.command()
def serve(
    config: Config = DEFAULT_CONFIG,
    host: Annotated[str | None, typer.Option(help="address to listen on, instead of dashboard.host")] = None,
    port: Port = None,
) -> None:
    """Serve the dashboard from a store that others fill.

    Example: `tokenwatt serve --config config/site.yaml --port 8060`
    """
    site, _fleet = _load(config)
    with _store(config, site) as store, _live(store, site, dict) as live, _web(live, site.dashboard, host, port) as url:
        _wait_for_signal(_listening(url))


@app.command()
def demo(
    gpus: Gpus = 64,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="port to listen on; 0 picks one")] = 8060,
    seed: Seed = 1,
    speed: Speed = 1.0,
    faults: Script = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", file_okay=False, help="keep the site and its data in DIR")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="run headless, compare with the factory's own state, exit")
    ] = False,
    seconds: Annotated[float, typer.Option(min=10, help="with --check: how long to run before comparing")] = 45.0,
    patience: Annotated[
        float, typer.Option(min=1, help="with --check: findings may take so many times as long, on a slow machine")
    ] = 1.0,
) -> None:
    """Show a simulated AI factory live; nothing is left behind unless --keep.

    Examples: `tokenwatt demo` · `tokenwatt demo --gpus 1024` · `tokenwatt demo --check --gpus 64 --seconds 45`
    """
    with ExitStack() as stack:
        directory = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tokenwatt-")))
        options = ["--gpus", str(gpus), "--seed", str(seed), "--speed", str(speed)]
        options += ["--faults", faults] if faults else []
        stack.enter_context(_factory(directory, options))
        config = directory / "site.yaml"
        site, _fleet = _load(config)
        live = stack.enter_context(_running(config, site))
        url = stack.enter_context(_web(live, site.dashboard, host, 0 if check else port))
        if check:
            _prove(url, directory, seconds, patience)
        else:
            _wait_for_signal(_listening(url))


def _load(path: Path) -> tuple[Site, Fleet]:
    """Read a site, its inventory and its profiles; raise ConfigError with every mistake."""
    site = load_yaml(path, Site)
    settings = site.collectors
    library = Library(settings.folders)
    inventory = load_files(settings, library)
    targets = build_targets(settings, inventory)
    lists = build_lists(settings, inventory, library)
    publish = partial(inventory.points, settings.tags)
    traps = settings.traps.address if settings.traps else None
    return site, Fleet(targets, library, settings.tags, inventory.places(), publish, settings.concurrency, lists, traps)


def _count(fleet: Fleet) -> str:
    lists = f" and {len(fleet.lists)} lists of targets" if fleet.lists else ""
    return f"{len(fleet.targets)} targets{lists}"


@contextmanager
def _site_file(config: Path | None, look: Sequence[str], library: Path | None, *, save: bool) -> Iterator[Path]:
    """Yield the site's file to run with: the one there is, or else one that says what this host has."""
    if not save and (config or DEFAULT_CONFIG.exists()):
        if look or library:
            raise typer.BadParameter(f"--look and --nvml-library do without a site's file: {config or DEFAULT_CONFIG}")
        yield config or DEFAULT_CONFIG
        return
    with tempfile.TemporaryDirectory(prefix="tokenwatt-") as folder:
        path = (config or DEFAULT_CONFIG) if save else Path(folder) / "site.yaml"
        local.refuse_existing(path)
        host = gethostname()
        try:
            with err.status("looking at this host ..."):
                around = local.look_around(host, Library(), look, str(library.resolve()) if library else "")
        except InvalidValueError as error:
            raise typer.BadParameter(f"{error.reason}: {error.hint}", param_hint="--look") from error
        print_found(out, around)
        if not around.found:
            way = "start one, name it with --look HOST:PORT, write a site.yaml, or run `tokenwatt demo`"
            raise CollectError(f"nothing on this host can be shown: {way}")
        local.write_site(path, host, around.found)
        if save:
            out.print(f"Saved as {path}", highlight=False, markup=False, soft_wrap=True)
        yield path


@contextmanager
def _store(config: Path, site: Site) -> Iterator[Store]:
    store = open_store(site.storage, config.parent)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _collecting(config: Path, store: Store, site: Site) -> Iterator[Writer]:
    """Poll the fleet into the store: pollers in a process of their own, so that no burst of answers delays the wall."""
    if site.collectors.traps:
        # Told here and now; the pollers, a process of their own, would only say it in the log.
        open_port(site.collectors.traps.address).close()
    writer = Writer(store, site.storage.batch)
    pollers = Pollers(_poll_for_parent, config, writer.put)
    pollers.start()
    try:
        yield writer
    finally:
        pollers.close()
        writer.close()


def _poll_for_parent(config: Path, give: Callable[[Sequence[Point]], None], stopped: asyncio.Event) -> Awaitable[None]:
    """Return the coroutine that polls the site's fleet, in the pollers' own process."""
    quiet()
    _site, fleet = _load(config)
    return Runtime(fleet, give).run(stopped)


@contextmanager
def _live(store: Store, site: Site, stats: Callable[[], dict[str, float]]) -> "Iterator[Live]":
    from dashboard.live import Live

    live = Live(store, site.dashboard, stats)
    live.start()
    try:
        yield live
    finally:
        live.close()


@contextmanager
def _running(config: Path, site: Site) -> "Iterator[Live]":
    with (
        _store(config, site) as store,
        _collecting(config, store, site) as writer,
        _live(store, site, writer.stats) as live,
    ):
        yield live


def _web(live: "Live", settings: DashboardSettings, host: str | None, port: int | None) -> AbstractContextManager[str]:
    from dashboard.web import serving

    return serving(live, settings, host, port)


@contextmanager
def _factory(directory: Path, options: Sequence[str]) -> Iterator[None]:
    """Run the simulator as a child process, ready when this yields."""
    with ExitStack() as stack:
        try:
            with err.status("building the factory ..."):
                stack.enter_context(simulator(directory, options))
        except SimulatorError as error:
            raise typer.Exit(2) if error.code == 2 else error from error  # 2: it has told what is wrong
        yield


def _listening(url: str) -> str:
    return f"TokenWatt is up: [bold]{url}[/]   Ctrl-C stops"


def _wait_for_signal(words: str) -> None:
    """Say that all is up, which a signal may follow at once, and sleep until SIGINT or SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    out.print(words, highlight=False, soft_wrap=True)
    stop.wait()


def _prove(url: str, directory: Path, seconds: float, patience: float) -> None:
    """Compare what the dashboard says with the factory's own state; exit 1 if they differ by more than 1 %."""
    from collectors.simulator import check as proof

    control = json.loads((directory / "control.json").read_text())["url"]
    with err.status(f"running for {seconds:g} s ..."):
        try:
            rows, agree = proof.check(url, control, seconds=seconds, patience=patience)
        except proof.CheckError as error:
            raise OSError(str(error)) from error
    print_proof(out, rows)
    if not agree:
        raise typer.Exit(1)


def _probe_target(device: str, config: Path, profile: str | None, options: Sequence[str]) -> tuple[Target, Fleet]:
    fleet = Fleet((), Library()) if "://" in device else _load(config)[1]
    try:
        target = find_target(device, fleet.targets, config, options)
    except InvalidValueError as error:
        raise typer.BadParameter(f"{error.reason}: {error.hint}") from error
    target = replace(target, profile=profile or target.profile)
    speaks = fleet.library.profile(target.profile).protocol if target.profile else target.protocol
    if speaks != target.protocol:
        raise typer.BadParameter(f"the profile {target.profile!r} speaks {speaks}, {device!r} {target.protocol}")
    return target, fleet


if __name__ == "__main__":
    main()
