"""What a Redfish service is: the profile that fits it, and what it offers beyond its readings."""

from collections.abc import Sequence

from collectors.collector import CollectError, ProtocolError, UnknownDeviceError
from collectors.profile import Profile
from collectors.redfish.client import ROOT, NoResourceError, Session
from collectors.redfish.each import Options, Table, read_tables, split_uri
from collectors.redfish.paths import Path, Resource, look_up, parse_path
from collectors.redfish.rows import Finder

_VERSION = parse_path("RedfishVersion")
_VENDOR, _PRODUCT = parse_path("Vendor"), parse_path("Product")
_EXPAND = parse_path("ProtocolFeaturesSupported.ExpandQuery.NoLinks")
_STREAM = parse_path("ServerSentEventUri")
_SECONDARY = "/redfish/v1/ThermalEquipment/CDUs/*/SecondaryCoolantConnectors/*"


async def find_profile(session: Session, candidates: Sequence[Profile]) -> Profile:
    """Return the first profile whose `match` the service fits.

    Raises:
        CollectError: no answer.
        UnknownDeviceError: none fits; the message names the profiles tried.
    """
    root = await _root(session)
    finder = Finder(session, Options())
    for profile in candidates:
        if profile.match and await _matches(profile, root, finder):
            return profile
    names = ", ".join(profile.profile for profile in candidates)
    raise UnknownDeviceError(f"{session.where}: fits none of the profiles {names}; name one in the target")


async def describe(session: Session, profile: Profile, options: Options) -> Sequence[str]:
    """Return what the service is and offers, a line each.

    Raises:
        CollectError: it does not answer.
    """
    root = await _root(session)
    names = [str(value) for path in (_VENDOR, _PRODUCT) if (value := _value(root, path)) is not None]
    lines = [f"Redfish {_value(root, _VERSION) or 'of an unknown version'}" + (f": {' '.join(names)}" if names else "")]
    is_offered = _value(root, _EXPAND) is True
    lines.append(f"$expand: {'offered' if is_offered else 'not offered: each resource costs a request'}")
    lines.append(await _events(session, options))
    return lines + await _hints(profile, Finder(session, options))


async def _root(session: Session) -> Resource:
    try:
        return await session.get(ROOT)
    except NoResourceError as e:
        raise ProtocolError(f"{session.where}: no Redfish service: {e}") from e


def _value(resource: Resource, path: Path) -> object:
    try:
        return look_up(resource, path)
    except KeyError:
        return None


async def _events(session: Session, options: Options) -> str:
    try:
        service = await session.get("/redfish/v1/EventService")
    except NoResourceError:
        service = {}
    except CollectError as error:
        return f"events: not known: {error}"
    if _value(service, _STREAM) is None:
        return "events: no server-sent events: leaks are seen at the next poll"
    return (
        f"events: server-sent events, {'used' if options.events else 'not used: option events: on, max_connections: 2'}"
    )


async def _hints(profile: Profile, finder: Finder) -> list[str]:
    """Return what to set in the target where the service has more than the profile can tell apart."""
    lines = []
    if "primary_loop" in finder.options.variables and not await finder.exists(split_uri(_SECONDARY)):
        lines.append(
            "one coolant loop, which it calls primary: where that is the technology loop (TCS), as of a liquid-to-air "
            "unit, set option primary_loop: tcs"
        )
    for table in profile.once(read_tables):
        tags = str([table.group.tags, [spec.tags for spec in table.group.points]])
        told_apart = [name for name in table.names[:1] if f"{{{name}}}" not in tags]
        for name, found in [(name, await _names(finder, table, name)) for name in told_apart]:
            line = f"several of {name}: {', '.join(found)}: name one by option {name}, a target for each"
            lines += [line] if len(found) > 1 and line not in lines else []
    return lines


async def _names(finder: Finder, table: Table, name: str) -> Sequence[str]:
    return list(dict.fromkeys(row.variables[name] for row in await finder.rows([table])))


async def _matches(profile: Profile, root: Resource, finder: Finder) -> bool:
    has, lacks = (_listed(profile.match.get(key, ())) for key in ("root_has", "root_lacks"))
    if not all(name in root for name in has) or any(name in root for name in lacks):
        return False
    uri = profile.match.get("has")
    return uri is None or await finder.exists(split_uri(str(uri)))


def _listed(value: object) -> Sequence[str]:
    return [value] if isinstance(value, str) else [str(one) for one in value] if isinstance(value, list | tuple) else ()
