"""`tokenwatt profile`: list profiles, hold one against a recorded or a real device, draft one for a device of your own.

Exit codes: 0 ok, 1 the device does not answer or answers otherwise than expected, 2 usage, or a file with mistakes.
"""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
import yaml
from rich.console import Console

from collectors.checks import Checks
from collectors.collector import CollectError, PollResult
from collectors.drafting import Draft, Walk, flow, write_profile, write_recording
from collectors.drafting import draft as walk_device
from collectors.probe import probe, target_of
from collectors.profile import PACKAGED, Library, Profile, list_profiles
from collectors.recording import (
    Recording,
    differences,
    expectation,
    load_recording,
    not_played,
    poll_recorded,
    target_at,
)
from collectors.terminal import PRINTERS, complain
from storage.config import InvalidValueError, suggest


class Play(Protocol):
    """Play a recording, whose folders are relative to `folder`, on a port, 0 picks one; yields the URL to poll."""

    def __call__(
        self, recording: Mapping[str, Any], folder: Path, port: int = 0, /
    ) -> AbstractAsyncContextManager[str]:
        """Return the player."""
        ...


out = Console()
err = Console(stderr=True)

#: a register number as lists count them that begin at 40001 or 30001
_COUNTED = re.compile(r"\b(holding|input):([34])(\d{4})\b.*illegal address")

_HELP = """Device profiles: list them, hold one against a recording or a device, draft one for your own device.

Examples: `tokenwatt profile list` · `tokenwatt profile test my_cdu.yaml --against modbus://10.0.0.9:502` ·
`tokenwatt profile new modbus://10.0.0.9:502 -o my_cdu.yaml`
"""
_FOLDER_HELP = "a folder of profiles of your own, which win by name over those that come with TokenWatt"
Folder = Annotated[Path | None, typer.Option("--profiles", file_okay=False, exists=True, help=_FOLDER_HELP)]
Seconds = Annotated[float, typer.Option(min=0.1, help="seconds to wait for the device")]


def make_app(play: Play) -> typer.Typer:
    """Return the commands; `play` serves recordings, which the collectors cannot do themselves."""
    app = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        help=_HELP,
    )

    @app.callback()
    def _hand_on(context: typer.Context) -> None:
        context.obj = play

    app.command("list")(list_all)
    app.command("test")(hold_against)
    app.command("new")(draft_new)
    app.command("play")(play_recording)
    app.command()(schema)
    return app


def list_all(
    folder: Folder = None,
    protocol: Annotated[str | None, typer.Option(help="only those that speak it: modbus, snmp, redfish ...")] = None,
) -> None:
    """List the profiles there are: name, protocol, kind and model.

    Examples: `tokenwatt profile list` · `tokenwatt profile list --protocol modbus`
    """
    library = Library(_folders(folder))
    profiles = [library.profile(name) for name in list_profiles(_folders(folder))]
    spoken = {profile.protocol for profile in profiles}
    if protocol and protocol not in spoken:
        raise typer.BadParameter(f"no profile speaks {protocol!r}: {suggest(protocol, spoken)}")
    rows = [(p.profile, p.protocol, p.kind, p.model) for p in profiles if protocol in (None, p.protocol)]
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    for *columns, model in rows:
        head = "  ".join(f"{text:<{width}}" for text, width in zip(columns, widths, strict=True))
        out.print(f"{head}  {model}", highlight=False, markup=False, soft_wrap=True)


def schema() -> None:
    """Print the JSON Schema of profiles, for editors that complete and check YAML.

    Example: `tokenwatt profile schema > profile.schema.json`
    """
    from collectors.profile_schema import text

    typer.echo(text(), nl=False)


def hold_against(
    context: typer.Context,
    profile: Annotated[str, typer.Argument(help="a profile's name, or the path of its YAML file")],
    against: Annotated[
        str,
        typer.Option(
            metavar="FILE|FOLDER|URL",
            help="a recording, a folder of Redfish resources as DMTF publishes them, or a device's URL",
        ),
    ],
    folder: Folder = None,
    timeout: Seconds = 10.0,
    write_expect: Annotated[
        bool, typer.Option("--write-expect", help="write what came into the recording, as what to expect from now on")
    ] = False,
) -> None:
    """Poll a recorded or a real device with a profile; exit 1 where it answers otherwise than its recording expects.

    Examples: `tokenwatt profile test my_cdu.yaml --against modbus://10.0.0.9:502` ·
    `tokenwatt profile test apc_rpdu2 --against pdu.yaml`
    """
    read = _load_profile(profile, folder)
    if "://" in against:
        if write_expect:
            raise typer.BadParameter("is for recordings: make one with `tokenwatt profile new URL --record FILE`")
        _show(asyncio.run(_poll_url(against, read, timeout)), read)
        return
    path, recording = _load_recorded(against, read)
    result = asyncio.run(_poll_played(context.obj, path, recording, read, timeout))
    _show(result, read)
    if write_expect:
        _write_expect(path, recording, result)
    else:
        _judge(path, recording, result)


def _folders(folder: Path | None) -> tuple[Path, ...]:
    return (folder, PACKAGED) if folder else (PACKAGED,)


def _load_profile(name: str, folder: Path | None) -> Profile:
    """Return the profile of that name, or that in a file.

    Raises:
        ConfigError: there is none, or it has mistakes.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") and "/" not in name:
        return Library(_folders(folder)).profile(name)
    if not path.is_file():
        beside = [str(other) for end in (".yaml", ".yml") if (other := path.with_name(path.name + end)).is_file()]
        hint = f"write {beside[0]}" if beside else "name a packaged profile, or see `tokenwatt profile list`"
        raise typer.BadParameter(f"there is no file {name}: {hint}")
    return Library((path.parent, *_folders(folder))).profile(path.stem)


def _load_recorded(against: str, profile: Profile) -> tuple[Path, Recording]:
    """Return the recording that a file or a folder of Redfish resources is."""
    path = Path(against)
    if path.is_dir():
        path = path.resolve()
        recording = Recording(profile=profile.profile, redfish={"tree": path.name})
    elif path.is_file():
        recording = load_recording(path)
    else:
        raise typer.BadParameter(f"there is no file or folder {against}; a device is a URL such as modbus://host:502")
    if recording.protocol != profile.protocol:
        what = f"{against} holds answers of {recording.protocol}, the profile {profile.profile} speaks"
        raise typer.BadParameter(f"{what} {profile.protocol}", param_hint="--against")
    return path, recording


async def _poll_url(url: str, profile: Profile, timeout_s: float) -> PollResult:
    try:
        target = target_at(url, profile, {})
    except InvalidValueError as error:
        raise _bad_url(error) from error
    return await probe(target, profile, timeout_s)


def _bad_url(error: InvalidValueError) -> typer.BadParameter:
    return typer.BadParameter(f"{error.reason}: {error.hint}" if error.hint else error.reason)


@asynccontextmanager
async def _playing(play: Play, path: Path, recording: Recording, port: int = 0) -> AsyncIterator[str]:
    """Play a recording; what in it cannot be played is a mistake in its file."""
    try:
        player = play(recording.answers, path.parent, port)
        url = await player.__aenter__()
    except ValueError as error:
        raise not_played(path, recording, error) from error
    except OSError as error:
        if not port:
            raise
        raise typer.BadParameter(f"{port} cannot be had: {error}; name another", param_hint="--port") from error
    try:
        yield url
    finally:
        await player.__aexit__(None, None, None)


async def _poll_played(play: Play, path: Path, recording: Recording, profile: Profile, timeout_s: float) -> PollResult:
    async with _playing(play, path, recording) as url:
        return await poll_recorded(recording, url, profile, timeout_s)


def _show(result: PollResult, profile: Profile) -> None:
    """Print what a poll gave, and which of its readings contradict each other: those a running site would withhold."""
    PRINTERS["table"](out, result.points)
    doubted = Checks().check(result.points, profile.derived).rejected
    for word, lines in (("missing", result.missing), ("rejected", result.rejected), ("implausible", doubted)):
        for what in lines:
            complain(err, what, f"[yellow]{word}[/]")
    if hint := _counted_from_one(result.missing):
        complain(err, hint, "[yellow]note[/]")
    if not result.points:
        raise CollectError("the device answered, but gave no point")


def _counted_from_one(missing: Sequence[str]) -> str:
    """Return what a register number like 40101 probably means, where one is among what is missing, else ""."""
    found = next((match for line in missing if (match := _COUNTED.search(line))), None)
    if found is None or not int(found[3]):
        return ""
    meant = f"{'holding' if found[2] == '4' else 'input'}:{int(found[3]) - 1}"
    return f"{found[2]}{found[3]} of a register list is mostly {meant} here, where numbers begin at 0"


def _judge(path: Path, recording: Recording, result: PollResult) -> None:
    """Tell how the poll differs from what the recording expects; exit 1 where it does."""
    lines = differences(recording, result)
    for line in lines:
        complain(err, line, "[red]differs[/]")
    if lines:
        raise typer.Exit(1)
    told = f"{len(result.points)} points, {len(result.missing)} readings missing"
    if recording.expect is None:
        told += "; it has no `expect` to compare with: once the points are right, run this with --write-expect"
    else:
        told += ": all as expected"
    out.print(f"{path}: {told}", highlight=False, markup=False, soft_wrap=True)


def _write_expect(path: Path, recording: Recording, result: PollResult) -> None:
    if path.is_dir():
        raise typer.BadParameter("a folder cannot say what to expect: write a recording with redfish: {tree: FOLDER}")
    if recording.expect is not None:
        raise typer.BadParameter(f"{path} has an `expect` already: take it out, and `missing`, to have it written anew")
    rows = "".join(f"  - {flow(row)}\n" for row in expectation(result))
    text = path.read_text("utf-8")
    missing = f"missing: {len(result.missing)}\n" if result.missing and "missing" not in yaml.safe_load(text) else ""
    path.write_text(f"{text.rstrip()}\nexpect:\n{rows}{missing}", "utf-8")
    out.print(f"{path}: {len(result.points)} points are expected from now on", highlight=False, soft_wrap=True)


def draft_new(
    context: typer.Context,
    device: Annotated[
        str, typer.Argument(metavar="URL|RECORDING", help="modbus://10.0.0.9:502, or a recording of a device")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="file to write; its name is the profile's")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(dir_okay=False, help="also write what was seen, as a recording to test against")
    ] = None,
    kind: Annotated[str, typer.Option(help="what it is: cdu, rack_pdu, power_shelf, meter ...")] = "device",
    unit: Annotated[int, typer.Option(min=0, max=255, help="Modbus: unit id")] = 1,
    registers: Annotated[str, typer.Option(metavar="FIRST-LAST", help="Modbus: registers to ask for")] = "0-199",
    inputs: Annotated[str, typer.Option(metavar="FIRST-LAST", help="Modbus: inputs and coils to ask for")] = "0-63",
    listen: Annotated[float, typer.Option(min=0.5, help="MQTT: seconds to listen")] = 5.0,
    timeout: Seconds = 120.0,
) -> None:
    """Walk a device and draft a profile: what packaged profiles know of it is mapped, the rest stands as comments.

    Examples: `tokenwatt profile new modbus://10.0.0.9:502 --registers 0-120 -o my_cdu.yaml` ·
    `tokenwatt profile new snmp://public@10.0.0.7:161 -o my_pdu.yaml --record my_pdu.rec.yaml`
    """
    for path in (output, record):
        if path is not None and path.exists():
            raise typer.BadParameter(f"{path} is there already and is not overwritten: name another file")
    walk = Walk(unit, _span(registers, "--registers"), _span(inputs, "--inputs"), listen)
    drafted = asyncio.run(_draft(context.obj, device, walk, timeout))
    name = output.stem if output else "draft"
    text = write_profile(drafted, name, kind, f"drafted from {device}")
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, "utf-8")
        _tell(drafted, output)
    if record is not None:
        record.write_text(write_recording(drafted, name, f"recorded from {device}", {}), "utf-8")
        complain(err, f"what was seen: `tokenwatt profile test {output or name} --against {record}`", f"{record}:")


def play_recording(
    context: typer.Context,
    recording: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="a recording")],
    port: Annotated[int, typer.Option(min=0, max=65_535, help="port to listen on; 0 picks one")] = 0,
) -> None:
    """Answer as a recorded device does, on this machine over its real protocol, until Ctrl-C.

    Example: `tokenwatt profile play docs/examples/acme-cdu.yaml --port 1502`
    """
    asyncio.run(_play_until_stopped(context.obj, recording, port))


async def _play_until_stopped(play: Play, path: Path, port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with _playing(play, path, load_recording(path), port) as url:
        out.print(f"{path} answers at {url}   Ctrl-C stops", highlight=False, markup=False, soft_wrap=True)
        await stopped.wait()


def _span(text: str, option: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last) <= 0xFFFF):
        raise typer.BadParameter(f"{text!r} is no span: write 0-199, up to 65535", param_hint=option)
    return int(first), int(last)


async def _draft(play: Play, device: str, walk: Walk, timeout_s: float) -> Draft:
    try:
        async with asyncio.timeout(timeout_s):
            if "://" in device:
                return await walk_device(target_of(device), Library(), walk)
            path = Path(device)
            if not path.is_file():
                raise typer.BadParameter(f"there is no file {device}; a device is a URL such as modbus://host:502")
            async with _playing(play, path, load_recording(path)) as url:
                return await walk_device(target_of(url), Library(), walk)
    except TimeoutError as error:
        raise CollectError(f"{device}: not walked in {timeout_s:g} s; ask for less, or set --timeout") from error
    except InvalidValueError as error:
        raise _bad_url(error) from error


def _tell(drafted: Draft, path: Path) -> None:
    found = [each for group in drafted.groups for each in group.found]
    mapped = sum("to" in each.point for each in found)
    told = f"{len(found)} readings, {mapped} of them mapped; the others are comments to complete"
    complain(err, told, f"{path}:")
    for note in drafted.notes:
        complain(err, note, "[yellow]note[/]")
