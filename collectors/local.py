"""What this host has: its GPUs through NVML, and inference servers and exporters on their usual ports of loopback.

All are asked at once. A server is recognised by its page (`identify`), never by its port alone; one that no profile
fits is told and not polled. What was found becomes a site's file and its inventory.

Source of the ports: the servers' own documentation and Dockerfiles; they are what each takes when nobody says another.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

from collectors.address import parse_target_url
from collectors.collector import (
    AuthenticationError,
    CollectError,
    DeviceRefusedError,
    DeviceTimeoutError,
    Target,
    UnknownDeviceError,
)
from collectors.poller import identify, open_collector
from collectors.profile import Library
from storage.config import InvalidValueError

#: port -> who listens there when nobody says otherwise
USUAL_PORTS: Mapping[int, str] = {
    8000: "vLLM, trtllm-serve, NIM, Dynamo",
    30000: "SGLang",
    8002: "Triton",
    8080: "TGI, llama.cpp",
    3000: "TGI",
    8081: "Dynamo worker",
    4000: "LiteLLM",
    9400: "dcgm-exporter",
    5000: "AMD device-metrics-exporter",
    29999: "Intel XPU Manager",
    9100: "node_exporter",
    9273: "Telegraf",
}
#: names of what no one has named yet, in the files that are written
SITE, RACK, INVENTORY = "LOCAL", "rack-1", "inventory.csv"
#: where they have their page. trtllm-serve empties its statistics at each reading of /metrics, so that comes last
PATHS = ("/v1/metrics", "/prometheus/metrics", "/metrics")
LOOPBACK = "127.0.0.1"
_LOOPBACKS = (LOOPBACK, "localhost", "[::1]")
#: what one page, and what NVML with all its boards may take
PAGE_TIMEOUT = timedelta(seconds=2)
NVML_TIMEOUT = timedelta(seconds=15)

_HEAD = """\
# Written by `tokenwatt up`: what it found on this host. Check it with `tokenwatt check`; all other settings stand with
# their defaults in the sample config/site.yaml of the sources.
"""
_INVENTORY_HEAD = """\
# Where things stand. Give site and rack their names; expected_count is the host's number of GPUs.
kind,id,parent,relation,expected_count
"""


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that answers."""

    name: str
    url: str
    #: "" where none fits, and for NVML, which needs none
    profile: str
    #: what it said, where it cannot be polled
    why: str = ""
    #: boards that NVML shows
    gpus: int = 0
    #: it is this host's own
    is_local: bool = True


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was looked for: what can be polled, what answers and cannot, what is not there."""

    found: Sequence[Found]
    unknown: Sequence[Found]
    missing: Sequence[str]


def look_around(
    host: str,
    library: Library,
    endpoints: Sequence[str] = (),
    nvml: str = "",
    ports: Mapping[int, str] = USUAL_PORTS,
) -> Surroundings:
    """Ask for everything at once.

    Args:
        host: this host's name.
        library: the profiles that a page may fit.
        endpoints: further servers, `host:port` or `host:port/path`.
        nvml: another library than the driver's own.
        ports: where to look on loopback, and for whom.

    Raises:
        InvalidValueError: an endpoint that is none.
    """
    places = {f"{LOOPBACK}:{port}": who for port, who in ports.items()}
    for endpoint in endpoints:
        places.setdefault(_checked(endpoint), "--look")
    named = {_home(place) for place in places if "/" in place}
    places = {place: who for place, who in places.items() if "/" in place or _home(place) not in named}
    return asyncio.run(_look_around(host, library, places, nvml))


def _checked(endpoint: str) -> str:
    place, slash, path = endpoint.partition("/")
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        raise InvalidValueError(f"{endpoint!r} is no HOST:PORT", "write for example 127.0.0.1:8001")
    return urlsplit(parse_target_url(f"http://{place}").address).netloc + (slash + path if path else "")


def _home(place: str) -> str:
    """Return `host:port` of a place, this host's loopback by one name: the same server is not counted twice."""
    host, _, port = place.partition("/")[0].rpartition(":")
    return f"{LOOPBACK if host.lower() in _LOOPBACKS else host}:{port}"


async def _look_around(host: str, library: Library, places: dict[str, str], nvml: str) -> Surroundings:
    pages = [path for profile in library.of_protocol("exposition") for path in profile.match.get("paths", ())]
    paths = list(dict.fromkeys((*PATHS[:-1], *pages, *PATHS[-1:])))
    asked = (_ask_nvml(host, nvml), *(_ask_endpoint(place, paths, library) for place in places))
    answers = dict(
        zip(["NVML", *(f"{who} {place}" for place, who in places.items())], await asyncio.gather(*asked), strict=True)
    )
    found = [answer for answer in answers.values() if isinstance(answer, Found)]
    return Surroundings(
        found=list(_named_apart(_once(each for each in found if not each.why))),
        unknown=[each for each in found if each.why],
        missing=[f"{what} ({why})" if why else what for what, why in answers.items() if isinstance(why, str)],
    )


async def _ask_nvml(host: str, library: str) -> Found | str:
    """Return this host's GPUs, or why there are none."""
    collector = open_collector(Target(host, "nvml", library, timeout=NVML_TIMEOUT), None)
    try:
        result = await collector.poll(time.time_ns())
    except CollectError as error:
        return str(error).partition(": ")[2] or str(error)
    finally:
        await collector.aclose()
    boards = {p.tags["gpu"] for p in result.points if p.measurement == "gpu" and not p.tags.get("mig")}
    return Found(host, f"nvml://{quote(library)}", "", gpus=len(boards)) if boards else "it shows no GPU"


async def _ask_endpoint(place: str, paths: Sequence[str], library: Library) -> Found | str:
    """Return what answers at `host:port`, or at the one path that `place` may name; "" where nothing does."""
    told: Found | str = ""
    for path in [""] if "/" in place else paths:
        url = f"http://{place}{path}"
        target = Target(place, "exposition", url, timeout=PAGE_TIMEOUT)
        try:
            profile = (await identify(target, library)).profile
            return Found(_name(profile, place), url, profile, is_local=_home(place).startswith(f"{LOOPBACK}:"))
        except UnknownDeviceError as error:
            told = Found(place, url, "", why=str(error).partition("server unknown: ")[2].partition(";")[0])
        except AuthenticationError:
            told = told or Found(place, url, "", why="it wants credentials: write it into a site.yaml with them")
        except (DeviceRefusedError, DeviceTimeoutError):
            break
        except CollectError:
            continue
    return told


def _name(profile: str, place: str) -> str:
    host, _, port = _home(place).rpartition(":")
    return f"{profile}-{port}" if host == LOOPBACK else f"{profile}-{host.strip('[]').replace(':', '-')}-{port}"


def _once(found: Iterable[Found]) -> Iterator[Found]:
    """Yield what was found without pages that were found by another name of loopback already."""
    pages = set[tuple[str, str]]()
    for each in found:
        parts = urlsplit(each.url)
        page = (_home(parts.netloc), parts.path)
        if page not in pages:
            pages.add(page)
            yield each


def _named_apart(found: Iterable[Found]) -> Iterator[Found]:
    """Yield what was found with names that differ: a proxy may hold several servers on one port."""
    used: Counter[str] = Counter()
    for each in found:
        used[each.name] += 1
        yield replace(each, name=f"{each.name}-{used[each.name]}") if used[each.name] > 1 else each


def site_files(host: str, found: Sequence[Found]) -> tuple[str, str]:
    """Return the text of a site.yaml and of the inventory.csv beside it that say what was found on this host."""
    targets = [dict(_target(each, host)) for each in found]
    site = {"collectors": {"site": SITE, "inventory": INVENTORY, "targets": targets}}
    text = _HEAD + yaml.safe_dump(site, sort_keys=False, allow_unicode=True, width=120)
    gpus = next((each.gpus for each in found if each.gpus), "")
    return (
        text,
        f"{_INVENTORY_HEAD}site,{SITE},,contains,\nrack,{RACK},{SITE},contains,\nhost,{host},{RACK},contains,{gpus}\n",
    )


def _target(each: Found, host: str) -> Iterator[tuple[str, Any]]:
    yield "name", each.name
    yield "url", each.url
    if each.profile:
        yield "profile", each.profile
    if each.is_local and each.name != host:
        yield "host", host


def write_site(path: Path, host: str, found: Sequence[Found]) -> None:
    """Write a site's file and the inventory beside it.

    Raises:
        FileExistsError: one of them is there already; nothing is written then.
        OSError: the folder cannot be written.
    """
    refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    site, inventory = site_files(host, found)
    for file, text in ((path.with_name(INVENTORY), inventory), (path, site)):
        with file.open("x", encoding="utf-8") as out:
            out.write(text)


def refuse_existing(path: Path) -> None:
    """Raise FileExistsError when the site's file or the inventory beside it is there already."""
    for file in (path, path.with_name(INVENTORY)):
        if file.exists():
            raise FileExistsError(f"{file} is there already and is not overwritten: name another file with --config")
