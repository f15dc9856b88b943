"""Profiles read again while collectors run: what changed is used, what became wrong is told once."""

import asyncio
import errno
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from aiohttp import web
from pages import serve

from collectors.collector import Target
from collectors.poller import slot_ns
from collectors.profile import Library
from collectors.runtime import Fleet, Runtime
from storage.config import ConfigError
from storage.point import Point

PAGE = "acme_busy 0.25\nacme_queue 7\n"
_ticks = count(1_700_000_000)


def text(name: str = "acme", at: str = "acme_busy", prefix: str = "acme_", more: str = "") -> str:
    return (
        f"profile: {name}\nmodel: M\nkind: exporter\nprotocol: exposition\nsource: none\n"
        f"match: {{prefix: {prefix}}}\n"
        f"groups:\n  - points:\n      - {{to: coolant.valve_ratio, at: {at}}}\n{more}"
    )


def write(folder: Path, content: str, name: str = "acme") -> None:
    """Write a profile's file as an editor does, with a change time of its own whatever the file system's grain."""
    path, draft = folder / f"{name}.yaml", folder / "draft.tmp"
    draft.write_text(content, "utf-8")
    os.utime(draft, (0, next(_ticks)))
    draft.replace(path)


def address(library: Library, name: str = "acme") -> str:
    at = library.profile(name).groups[0].points[0].at
    assert isinstance(at, str)
    return at


def test_a_changed_file_is_read_again_and_told_once(tmp_path: Path) -> None:
    write(tmp_path, text())
    library = Library([tmp_path])
    assert address(library) == "acme_busy"
    assert library.refresh() == frozenset()
    write(tmp_path, text(at="acme_load"))
    assert address(library) == "acme_busy"
    assert library.refresh() == {"acme"}
    assert address(library) == "acme_load"
    assert library.refresh() == frozenset()


def test_a_file_that_says_the_same_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, text())
    library = Library([tmp_path])
    library.profile("acme")
    write(tmp_path, "# a remark\n" + text())
    assert library.refresh() == frozenset()


def test_a_file_that_became_wrong_is_told_once_and_the_old_profile_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, text())
    library = Library([tmp_path])
    library.profile("acme")
    write(tmp_path, text().replace("coolant.valve_ratio", "coolant.walve_ratio"))
    with caplog.at_level(logging.ERROR):
        assert [library.refresh() for _ in range(3)] == [frozenset()] * 3
    (record,) = caplog.records
    assert f"{tmp_path / 'acme.yaml'}:9: groups[0].points[0].to" in record.getMessage()
    assert "what was read of it before stays in force" in record.getMessage()
    assert address(library) == "acme_busy"
    write(tmp_path, text(at="acme_load"))
    assert library.refresh() == {"acme"}
    assert address(library) == "acme_load"


def test_a_profile_whose_file_is_gone_stays_in_force(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, text())
    library = Library([tmp_path])
    library.profile("acme")
    (tmp_path / "acme.yaml").unlink()
    with caplog.at_level(logging.ERROR):
        assert [library.refresh() for _ in range(2)] == [frozenset()] * 2
    assert len(caplog.records) == 1
    assert address(library) == "acme_busy"
    write(tmp_path, text(at="acme_load"))
    assert library.refresh() == {"acme"}


def test_a_changed_part_changes_the_profiles_that_extend_it(tmp_path: Path) -> None:
    write(tmp_path, "poll: {slow: 60s}\n", "_shared")
    write(tmp_path, "extends: _shared\n" + text())
    write(tmp_path, text("other"), "other")
    library = Library([tmp_path])
    for name in ("acme", "other"):
        library.profile(name)
    write(tmp_path, "poll: {slow: 90s}\n", "_shared")
    assert library.refresh() == {"acme"}
    assert library.profile("acme").poll.slow == "90s"


def test_a_profile_of_the_site_s_own_wins_by_name_from_then_on(tmp_path: Path) -> None:
    own, packaged = tmp_path / "own", tmp_path / "packaged"
    own.mkdir()
    packaged.mkdir()
    write(packaged, text())
    library = Library([own, packaged])
    library.profile("acme")
    write(own, text(at="acme_load"))
    assert library.refresh() == {"acme"}
    assert address(library) == "acme_load"
    (own / "acme.yaml").unlink()
    assert library.refresh() == {"acme"}
    assert address(library) == "acme_busy"


def test_a_file_that_comes_is_a_candidate_once_it_is_right(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    library = Library([tmp_path])
    assert library.of_protocol("exposition") == []
    write(tmp_path, text().replace("valve", "walve"))
    with caplog.at_level(logging.ERROR):
        assert [library.refresh() for _ in range(2)] == [frozenset()] * 2
    assert len(caplog.records) == 1
    assert library.of_protocol("exposition") == []
    with pytest.raises(ConfigError):
        library.profile("acme")
    write(tmp_path, text())
    assert library.refresh() == {"acme"}
    assert [profile.profile for profile in library.of_protocol("exposition")] == ["acme"]


def exporter() -> AbstractAsyncContextManager[str]:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=PAGE)

    return serve(metrics)


async def run(fleet: Fleet, steps: Sequence[tuple[Callable[[Point], bool], Callable[[], None]]]) -> None:
    """Run until each step's point was seen; then its action is taken."""
    left, stop = list(steps), asyncio.Event()

    def put(points: Sequence[Point]) -> None:
        for point in points:
            if left and left[0][0](point):
                left.pop(0)[1]()
        if not left:
            stop.set()

    async with asyncio.timeout(60):
        await Runtime(fleet, put).run(stop)


def says(source: str, fields: Mapping[str, object]) -> Callable[[Point], bool]:
    return lambda p: p.measurement == "coolant" and p.fields == fields and p.tags["device"] == source


def says_of(measurement: str, source: str) -> Callable[[Point], bool]:
    return lambda p: p.measurement == measurement and p.tags["device"] == source


async def test_running_targets_are_asked_by_the_changed_profile(tmp_path: Path) -> None:
    write(tmp_path, text())
    tenth = timedelta(seconds=0.1)
    async with exporter() as url:
        named = Target("named", "exposition", url, "acme", interval=tenth)
        found = Target("found", "exposition", url, interval=tenth)
        fleet = Fleet([named, found], Library([tmp_path]), profiles_every=tenth / 2)
        busy, queue = {"valve_ratio": 0.25}, {"level_ratio": pytest.approx(0.07)}
        broken = text(at="acme_queue", more="nonsense: 1\n")
        mended = text(at="acme_queue, unit: '%'").replace("valve_ratio", "level_ratio")
        await run(
            fleet,
            [
                (says("named", busy), lambda: None),
                (says("found", busy), lambda: write(tmp_path, broken)),
                (says("named", busy), lambda: None),
                (says("found", busy), lambda: write(tmp_path, mended)),
                (says("named", queue), lambda: None),
                (says("found", queue), lambda: None),
            ],
        )


async def test_energy_goes_on_when_a_profile_is_read_again(tmp_path: Path) -> None:
    power = text().replace("coolant.valve_ratio, at: acme_busy", "power.active_watts, at: acme_queue")
    write(tmp_path, power)
    tenth = timedelta(seconds=0.1)
    joules: list[float] = []
    changed = power + "      - {to: coolant.valve_ratio, at: acme_busy}\n"

    def has_grown(point: Point) -> bool:
        if point.measurement == "power":
            joules.append(float(point.fields["integrated_joules_total"]))
        return bool(joules) and joules[-1] > 2.0

    async with exporter() as url:
        own = [Target("acme-1", "exposition", url, "acme", interval=tenth)]
        fleet = Fleet(own, Library([tmp_path]), profiles_every=tenth / 2)
        await run(
            fleet,
            [
                (has_grown, lambda: write(tmp_path, changed)),
                (says_of("coolant", "acme-1"), lambda: None),
                (has_grown, lambda: None),
            ],
        )
    assert joules == sorted(joules)


#: ms; 440 is the least that both grids share, so that a stamp seldom lies on either
BEFORE_MS, AFTER_MS = 88, 110


def lies_on(point: Point, interval_ms: int) -> bool:
    return slot_ns(point.tags["device"], interval_ms * 1_000_000, point.time_ns) == point.time_ns


async def test_a_changed_cadence_moves_those_that_have_no_interval_of_their_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def cadence(milliseconds: int) -> str:
        return text() + f"poll: {{fast: {milliseconds}ms}}\n"

    write(tmp_path, cadence(BEFORE_MS))
    before = timedelta(milliseconds=BEFORE_MS)
    seen: dict[str, list[Point]] = {"named": [], "found": [], "own": []}

    def is_polled(name: str, interval_ms: int, times: int) -> Callable[[Point], bool]:
        """Say whether the last polls of a target lie on that grid, and on the other one not all of them."""
        other = BEFORE_MS if interval_ms == AFTER_MS else AFTER_MS

        def check(point: Point) -> bool:
            if point.measurement == "device":
                seen[point.tags["device"]].append(point)
            last = seen[name][-times:]
            fits = len(last) == times and all(lies_on(p, interval_ms) for p in last)
            return fits and not all(lies_on(p, other) for p in last)

        return check

    async with exporter() as url:
        targets = [
            Target("named", "exposition", url, "acme", interval=before, follows_profile=True),
            Target("found", "exposition", url, interval=timedelta(seconds=0.5), follows_profile=True),
            Target("own", "exposition", url, "acme", interval=before),
        ]
        fleet = Fleet(targets, Library([tmp_path]), profiles_every=before)
        with caplog.at_level(logging.INFO):
            await run(
                fleet,
                [
                    (is_polled("found", BEFORE_MS, 3), lambda: None),
                    (is_polled("named", BEFORE_MS, 3), lambda: write(tmp_path, cadence(AFTER_MS))),
                    (is_polled("named", AFTER_MS, 3), lambda: None),
                    (is_polled("found", AFTER_MS, 3), lambda: None),
                    (is_polled("own", BEFORE_MS, 3), lambda: None),
                ],
            )
    assert all(lies_on(p, BEFORE_MS) for p in seen["own"])
    for points in seen.values():
        stamps = [p.time_ns for p in points]
        assert stamps == sorted(set(stamps))
    [told] = [record.getMessage() for record in caplog.records if "poll.fast" in record.getMessage()]
    assert told == "1 targets have another interval by poll.fast of their profile: named"


def hidden_link(folder: Path) -> None:
    (folder / ".#acme.yaml").symlink_to("operator@host.123:1")


def network_folder(folder: Path) -> None:
    (folder / "._acme.yaml").write_bytes(b"\0\5\26\7\xff")


def link_to_nowhere(folder: Path) -> None:
    (folder / "other.yaml").symlink_to("nowhere")


def folder_of_that_name(folder: Path) -> None:
    (folder / "other.yaml").mkdir()


@pytest.mark.parametrize("leave", [hidden_link, network_folder, link_to_nowhere, folder_of_that_name])
def test_what_editors_leave_beside_a_profile_is_no_profile(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, leave: Callable[[Path], None]
) -> None:
    """Emacs locks a file with a hidden link, network folders keep a second file for each."""
    write(tmp_path, text())
    leave(tmp_path)
    library = Library([tmp_path])
    with caplog.at_level(logging.ERROR):
        assert [found.profile for found in library.of_protocol("exposition")] == ["acme"]
        library.refresh()
    assert not caplog.records


def test_a_file_of_a_wrong_name_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, text())
    library = Library([tmp_path])
    library.profile("acme")
    write(tmp_path, text(), "acme (copy)")
    with caplog.at_level(logging.ERROR):
        assert [library.refresh() for _ in range(3)] == [frozenset()] * 3
    (record,) = caplog.records
    assert "acme (copy).yaml" in record.getMessage()
    assert "rename the file: acme_copy.yaml" in record.getMessage()


def test_the_path_of_a_profile_that_is_gone_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no profile 'acme'"):
        Library([tmp_path]).path("acme")


def test_a_folder_that_cannot_be_read_leaves_the_profiles_as_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network folder that is away answers every call with an error of the system."""
    write(tmp_path, text())
    library = Library([tmp_path])
    library.profile("acme")

    def away(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        patched.setattr(Path, "stat", away)
        patched.setattr(Path, "glob", away)
        assert [library.refresh() for _ in range(3)] == [frozenset()] * 3
    (record,) = caplog.records
    assert "what was read of it before stays in force" in record.getMessage()
    assert address(library) == "acme_busy"
    write(tmp_path, text(at="acme_load"))
    assert library.refresh() == {"acme"}


def test_a_file_that_is_being_written_is_left_for_the_next_look(tmp_path: Path) -> None:
    """The first half of a profile is a profile too: it must not take readings away for as long as an editor writes."""
    path = tmp_path / "acme.yaml"
    write(tmp_path, text(more="      - {to: coolant.level_ratio, at: acme_level}\n"))
    now = [0.0]
    library = Library([tmp_path], clock=lambda: now[0])
    assert len(library.profile("acme").groups[0].points) == 2
    path.write_text(text())
    os.utime(path, (0, 1_800_000_000))
    now[0] = 1_800_000_000.5
    assert library.refresh() == frozenset()
    assert len(library.profile("acme").groups[0].points) == 2
    now[0] = 1_800_000_001.5
    assert library.refresh() == {"acme"}
    assert len(library.profile("acme").groups[0].points) == 1


def test_a_new_file_that_is_being_written_is_found_by_the_next_look(tmp_path: Path) -> None:
    now = [0.0]
    library = Library([tmp_path], clock=lambda: now[0])
    write(tmp_path, text())
    now[0] = (tmp_path / "acme.yaml").stat().st_mtime + 0.5
    assert library.refresh() == frozenset()
    now[0] += 1.0
    assert library.refresh() == {"acme"}


def test_a_file_from_the_future_is_not_waited_for(tmp_path: Path) -> None:
    """The clock of a network folder may go before ours."""
    now = [0.0]
    library = Library([tmp_path], clock=lambda: now[0])
    write(tmp_path, text())
    assert library.refresh() == {"acme"}
