"""What a Redfish service has of power, cooling and chassis: its resources, crawled, and their properties by name.

Source: DMTF DSP2046 2025.4; names that packaged profiles read are mapped as they do.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from collectors.collector import CollectError, Target
from collectors.drafting import Draft, DraftGroup, Found, Walk, as_keys, known_points, shown
from collectors.profile import Group, Library, PointSpec
from collectors.redfish.client import ROOT, NoResourceError, Resource, Session

_BRANCHES = ("ThermalEquipment", "PowerEquipment", "Chassis")
_MOST = 400
#: what Redfish tells of a resource itself
_DULL = re.compile(r"@|\b(Id|Name|Description|RelatedItem|Links|Oem|UUID|SerialNumber|PartNumber)\b")

Known = Mapping[str, Sequence[tuple[Group, PointSpec]]]


async def draft(target: Target, library: Library, walk: Walk) -> Draft:
    """Return the resources under ThermalEquipment, PowerEquipment and Chassis with all that they say.

    Raises:
        CollectError: no answer, or no such resource.
    """
    session = Session(target)
    try:
        tree = await _crawl(session)
    finally:
        await session.close()
    root = tree.get(ROOT.rstrip("/"), {})
    branch = next((name for name in _BRANCHES if name in root), "")
    known = known_points(library, "redfish")
    groups = [group for pattern, uris in _patterns(tree).items() if (group := _group(pattern, uris, tree, known)).found]
    if not groups:
        raise CollectError(f"{target.name} {target.address}: nothing under {', '.join(_BRANCHES)} says a value")
    product = " ".join(str(root[key]) for key in ("Vendor", "Product") if root.get(key))
    notes = [f"Only the first {_MOST} resources were read."] if len(tree) >= _MOST else []
    return Draft("redfish", product or "unknown Redfish device", groups, tree, match={"root_has": branch}, notes=notes)


async def _crawl(session: Session) -> dict[str, Resource]:
    """Return the service root and the resources of the branches, by their paths."""
    top = ROOT.rstrip("/")
    tree: dict[str, Resource] = {top: await _get(session, ROOT) or {}}
    waiting = [f"{top}/{name}" for name in _BRANCHES]
    wanted = tuple(waiting)
    while waiting and len(tree) < _MOST:
        uri = waiting.pop(0)
        resource = await _get(session, uri)
        if uri in tree or resource is None:
            continue
        tree[uri] = resource
        waiting += [link for link in _links(resource) if link.startswith(wanted) and link not in tree]
    return tree


async def _get(session: Session, uri: str) -> Resource | None:
    try:
        return await session.get(uri)
    except NoResourceError:
        return None


def _links(value: object) -> Iterator[str]:
    """Yield the paths that a resource names at any depth."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key == "@odata.id" and isinstance(each, str) and "#" not in each:
                yield each.rstrip("/")
            elif key not in ("Links", "RelatedItem"):
                yield from _links(each)
    elif isinstance(value, list):
        for each in value:
            yield from _links(each)


def _patterns(tree: Mapping[str, Resource]) -> Mapping[str, Sequence[str]]:
    """Return the resources that are no collection, by their path with `*` for each member of one."""
    collections = {uri for uri, resource in tree.items() if "Members" in resource}
    patterns: dict[str, list[str]] = {}
    for uri in sorted(tree.keys() - collections - {ROOT.rstrip("/")}):
        steps = uri.split("/")
        above = ("/".join(steps[:n]) for n in range(len(steps)))
        pattern = "/".join("*" if parent in collections else step for parent, step in zip(above, steps, strict=True))
        patterns.setdefault(pattern, []).append(uri)
    return patterns


def _group(pattern: str, uris: Sequence[str], tree: Mapping[str, Resource], known: Known) -> DraftGroup:
    """Return the readings of alike resources; values are those of the first that has them."""
    values: dict[str, Any] = {}
    for uri in uris:
        values = {**dict(_flat(tree[uri])), **values}
    like = _like(pattern, known)
    names = _names(pattern, like)
    found = [Found(at, shown(value), _known(at, known, like, names)) for at, value in values.items() if _says(at)]
    kept = [each for each in found if each.point or isinstance(values[each.at], int | float)]
    return DraftGroup({"uri": pattern, "as": names}, kept)


def _says(at: str) -> bool:
    return not _DULL.search(at)


def _flat(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and value of each scalar of a resource."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _flat(each, f"{at}.{key}" if at else str(key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _flat(each, f"{at}[{number}]")
    elif value is not None and not isinstance(value, bool):
        yield at, value


def _like(pattern: str, known: Known) -> Group | None:
    """Return the packaged group that reads the same resources, or resources of the same collection."""
    groups = {id(group): group for specs in known.values() for group, _ in specs}.values()
    exact = (group for group in groups if group.each.get("uri") == pattern)
    near = (group for group in groups if _tail(str(group.each.get("uri", ""))) == _tail(pattern))
    return next(exact, None) or next(near, None)


def _tail(uri: str) -> str:
    """Return the last name of a path and the stars behind it: Pumps/*."""
    return "/".join(uri.split("/")[-2:]) if uri.endswith("*") else uri.rpartition("/")[2]


def _names(pattern: str, like: Group | None) -> list[str]:
    """Return a name for each star: those of the packaged group from the end, else the collection's in the singular."""
    steps = pattern.split("/")
    names = [re.sub(r"(?<!i)s$", "", steps[n - 1].lower()) for n, step in enumerate(steps) if step == "*"]
    given = list(like.each.get("as", ())) if like else []
    if len(given) >= len(names):
        return [str(name) for name in given[len(given) - len(names) :]]
    names[len(names) - len(given) :] = map(str, given)
    return [name if names.index(name) == n else f"{name}{n}" for n, name in enumerate(names)]


def _known(at: str, known: Known, like: Group | None, names: Sequence[str]) -> Mapping[str, Any]:
    """Return the keys of a property that the group knows, else those that all groups agree upon for its name."""
    specs = known.get(at, ())
    own = [(group, spec) for group, spec in specs if group is like]
    # What a status or a bare reading means depends on the resource that has it.
    if not own and len({spec.to for _, spec in specs}) == 1 and not at.startswith(("Status.", "Reading")):
        own = list(specs)
    return as_keys(*own[0], names) if own else {}
