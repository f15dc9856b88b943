"""What a gNMI device offers beyond the points of a poll: `tokenwatt probe gnmi://...` prints it.

Modes are tried one after the other: a device has one stream at a time from us. All in all it takes some ten seconds.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from pygnmi.spec.v080 import gnmi_pb2

from collectors.collector import CollectError, Target
from collectors.decode import Batch
from collectors.gnmi.client import GnmiClient, GnmiStream, token_end
from collectors.gnmi.errors import PollRefusedError
from collectors.gnmi.health import MAP_DATABASE, MAP_PATH, PORTS_PATH
from collectors.gnmi.links import PORT_DATABASE, PORT_TABLE
from collectors.gnmi.map import MapGuard
from collectors.gnmi.rows import Ports, Table, read_tables
from collectors.gnmi.stream import Changes, Sampler
from collectors.profile import Profile

#: SAMPLE is asked for each second, and must bring its second value within so long; ON_CHANGE its table. Units: s
TRIAL_S = 4.0
#: how often, and for how long, counters are looked at for their update period. Units: s
LOOK_S, LOOKS = 0.25, 12
_STEP_S = 0.05
NO_HINT = "this image or hardware does not tell it"


async def examine(target: Target, profile: Profile) -> Sequence[str]:
    """Return what the device offers, a line each: versions, paths, modes, update period, map, absent fields, TLS.

    Raises:
        CollectError: it does not answer at all.
    """
    client = GnmiClient(target)
    tables = read_tables(profile, target)
    lines = [*_capabilities(await client.capabilities()), *await _trust(client, target)]
    answers, refused = await _ask_all(client, tables)
    lines += _paths(answers, refused, tables)
    lines += await _modes(client, answers)
    lines += _map(answers)
    return [*lines, *_absent(target, profile, tables, answers)]


def _capabilities(found: Any) -> list[str]:
    models = ", ".join(f"{model.name} {model.version}".strip() for model in found.supported_models)
    encodings = ", ".join(gnmi_pb2.Encoding.Name(number) for number in found.supported_encodings)
    return [f"gNMI {found.gNMI_version}, encodings {encodings or 'none'}, models {models or 'none'}"]


async def _trust(client: GnmiClient, target: Target) -> list[str]:
    """Return what is known of certificate and token; the connection itself was trusted by gRPC before."""
    lines = []
    if client.jwt and target.password is not None:
        end = token_end(target.password.reveal())
        lines.append(f"token: {f'until {_day(end)}' if end else 'does not say when it expires'}")
    if target.options.get("tls", "on") == "off":
        return [*lines, "TLS: off: names, passwords and counters go in clear"]
    try:
        async with asyncio.timeout(target.timeout.total_seconds()):
            return [*lines, f"TLS: certificate valid until {_day(await _certificate_end(target))}"]
    except (OSError, ssl.SSLError, TimeoutError) as error:
        return [*lines, f"TLS: on; the certificate's end could not be read: {error or 'no answer'}"]


async def _certificate_end(target: Target) -> float:
    """Return when the server's certificate ends, checked as gRPC does (epoch seconds)."""
    host, _, port = target.address.rpartition(":")
    context = ssl.create_default_context(cafile=target.options.get("ca"))
    if "cert" in target.options:
        context.load_cert_chain(target.options["cert"], target.options.get("key"))
    context.set_alpn_protocols(["h2"])
    name = target.options.get("server_name", host.strip("[]"))
    _, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context, server_hostname=name)
    try:
        certificate: Mapping[str, Any] = writer.get_extra_info("peercert")
    finally:
        writer.transport.abort()
    return float(ssl.cert_time_to_seconds(certificate["notAfter"]))


def _day(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


Place = tuple[str, str]


async def _ask_all(client: GnmiClient, tables: Sequence[Table]) -> tuple[dict[Place, Any], dict[Place, str]]:
    """Ask for every path of the profile by itself, and for the map and the names of ports."""
    places = dict.fromkeys([(table.each.target, table.each.path) for table in tables])
    places |= dict.fromkeys([(MAP_DATABASE, MAP_PATH), (PORT_DATABASE, PORT_TABLE)])
    answers, refused = {}, {}
    channel = client.open_channel()
    try:
        for place in places:
            try:
                answers[place] = await client.get(*place, channel)
            except PollRefusedError as error:
                refused[place] = str(error).removeprefix(f"{client.where}: Get ")
    finally:
        await channel.close()
    return answers, refused


def _paths(answers: Mapping[Place, Any], refused: Mapping[Place, str], tables: Sequence[Table]) -> list[str]:
    databases = dict.fromkeys(database for database, _ in (*answers, *refused))
    lines = []
    for database in databases:
        good = [f"{path} ({_size(answer)})" for (own, path), answer in answers.items() if own == database]
        lines.append(f"{database}: {', '.join(good) or 'no path answers'}")
        for (own, path), why in refused.items():
            if own == database:
                lines.append(f"{database} {path}: refused: {why}{_loss(tables, (own, path))}")
    return lines


def _size(answer: object) -> str:
    if isinstance(answer, Mapping):
        return f"{len(answer)} {'rows' if any(isinstance(v, Mapping) for v in answer.values()) else 'leaves'}"
    return "no data" if answer is None else "one leaf"


def _loss(tables: Sequence[Table], place: Place) -> str:
    fields = [spec.to for t in tables if (t.each.target, t.each.path) == place for spec in t.group.points]
    instead = {s.to for t in tables if (t.each.target, t.each.unless) == place for s in t.group.points}
    if fields and instead.issuperset(fields):
        return ": another path is read for it, less often"
    return f": without it no {', '.join(dict.fromkeys(fields))}" if fields else ""


async def _modes(client: GnmiClient, answers: Mapping[Place, Any]) -> list[str]:
    """Try the modes on the ports' counters and their table, where these answer."""
    lines = []
    if answers.get((MAP_DATABASE, PORTS_PATH)) is not None:
        lines.append(f"POLL of {PORTS_PATH}: {await _poll(client)}")
        lines.append(f"SAMPLE of {PORTS_PATH}: {await _sample(client)}")
    if answers.get((PORT_DATABASE, PORT_TABLE)) is not None:
        lines.append(f"ON_CHANGE of {PORT_TABLE}: {await _on_change(client)}")
    return lines


async def _poll(client: GnmiClient) -> str:
    """Poll the counters until they changed a few times; return whether that works and how often they change."""
    stream = GnmiStream(client, MAP_DATABASE, (PORTS_PATH,))
    changes, before, took = [], None, 0.0
    try:
        for _ in range(LOOKS):
            start = time.monotonic()
            now = (await stream.poll()).get(PORTS_PATH)
            took = max(took, time.monotonic() - start)
            if before is not None and now != before:
                changes.append(start)
            before = now
            await asyncio.sleep(LOOK_S)
    except CollectError as error:
        return f"refused: {error}"
    finally:
        await stream.aclose()
    return f"accepted, a round takes {1e3 * took:.0f} ms at most; counters change {_period(changes)}"


def _period(changes: Sequence[float]) -> str:
    if len(changes) < 2:
        return f"less often than {LOOK_S * LOOKS / 2:g} s"
    period = (changes[-1] - changes[0]) / (len(changes) - 1)
    return f"each {period:.1f} s" if period > 2 * LOOK_S else f"with each look, {LOOK_S:g} s apart"


async def _sample(client: GnmiClient) -> str:
    sampler = Sampler(client, MAP_DATABASE, (PORTS_PATH,), 1.0)
    async with _running(sampler):
        await _until(lambda: sampler.proven or sampler.error is not None)
        if sampler.error is not None:
            return f"refused: {sampler.error}"
        silent = "silent after its first value, as images up to 202511 are: not used"
        return "proven by a second value" if sampler.proven else silent


async def _on_change(client: GnmiClient) -> str:
    changes = Changes(client, PORT_DATABASE, PORT_TABLE)
    async with _running(changes):
        await _until(lambda: changes.synced or changes.error is not None)
        if changes.error is not None:
            return f"refused: {changes.error}"
        return "accepted: link changes are told at once" if changes.synced else "silent: links are told by polls"


@asynccontextmanager
async def _running(stream: Sampler | Changes) -> AsyncIterator[None]:
    stream.start()
    try:
        yield
    finally:
        await stream.aclose()


async def _until(condition: Any) -> None:
    end = time.monotonic() + TRIAL_S
    while not condition() and time.monotonic() < end:
        await asyncio.sleep(_STEP_S)


def _map(answers: Mapping[Place, Any]) -> list[str]:
    fresh = answers.get((MAP_DATABASE, MAP_PATH))
    if not isinstance(fresh, Mapping):
        return ["map of ports: cannot be checked, COUNTERS_PORT_NAME_MAP does not answer"]
    guard = MapGuard()
    ports = Ports.read(answers.get((PORT_DATABASE, PORT_TABLE)))
    guard.look(answers.get((MAP_DATABASE, PORTS_PATH)) or {}, fresh, ports, 0.0)
    return [guard.text() if guard.lost or guard.gone else f"map of ports: fresh, {len(guard.fresh)} ports"]


def _absent(target: Target, profile: Profile, tables: Sequence[Table], answers: Mapping[Place, Any]) -> list[str]:
    """Return the fields that no row has though their path answers, by the setting that enables them."""
    batch = Batch(target, profile)
    ports = Ports.read(answers.get((PORT_DATABASE, PORT_TABLE)))
    asked = [table for table in tables if answers.get((table.each.target, table.each.path)) is not None]
    for table in asked:
        table.add(answers[table.each.target, table.each.path], ports, slow=True, batch=batch)
    given = {f"{point.measurement}.{name}" for point in batch.finish(0).points for name in point.fields}
    by_hint: dict[str, dict[str, None]] = {}
    for spec in (spec for table in asked for spec in table.group.points if spec.to not in given):
        by_hint.setdefault(spec.hint, {})[spec.to] = None
    return [f"absent: {', '.join(fields)}: {hint or NO_HINT}" for hint, fields in by_hint.items()]
