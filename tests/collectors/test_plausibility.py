"""What an exporter's energy and power cannot be, judged by what it said before."""

import pytest
from aiohttp import web
from pages import serve

from collectors.collector import Target
from collectors.plausibility import Plausibility
from collectors.poller import Poller
from collectors.precedence import Precedence
from collectors.profile import Library
from storage.point import Point

SECOND = 10**9
START = 1_760_000_000


def board(second: float, joules: float | None = None, exporter: str = "dcgm", **more: float) -> Point:
    fields: dict[str, float | int | str] = {**more}
    if joules is not None:
        fields["energy_joules_total"] = joules
    return Point("gpu", {"gpu": "GPU-1", "exporter": exporter}, fields, int((START + second) * SECOND))


def taken(plausibility: Plausibility, point: Point) -> float | None:
    """Return the energy that is left of a point, or None."""
    kept, refused = plausibility.check([point])
    energy = kept[0].fields.get("energy_joules_total") if kept else None
    assert (energy is None) == bool(refused)
    return None if energy is None else float(energy)


def test_steady_counters_pass() -> None:
    plausibility = Plausibility()
    for second in range(0, 600, 5):
        point = board(second, 1000.0 + 650.0 * second, power_watts=650.0, power_limit_watts=700.0)
        assert plausibility.check([point]) == ([point], [])


@pytest.mark.parametrize("offset", [0, 1, 14, 29])
@pytest.mark.parametrize("poll_s", [1, 5, 15, 30])
def test_pages_that_are_renewed_each_30_s_pass_at_any_poll_and_full_power(offset: int, poll_s: int) -> None:
    plausibility = Plausibility()
    for second in range(0, 900, poll_s):
        renewed = (second + offset) // 30 * 30
        point = board(second, 1e6 + 700.0 * renewed, power_watts=700.0, power_limit_watts=700.0)
        assert plausibility.check([point]) == ([point], [])


def test_growth_above_the_limit_is_refused() -> None:
    plausibility = Plausibility()
    for second in (0, 5, 10, 15):
        assert taken(plausibility, board(second, 650.0 * second, power_limit_watts=700.0)) == 650.0 * second
    # from the change at 10 s: 10 s + one poll of 5 s at 1.3 x 700 W are 13650 J over its 6500 J
    assert taken(plausibility, board(20, 6500.0 + 13651.0, power_limit_watts=700.0)) is None
    assert taken(plausibility, board(25, 650.0 * 25, power_limit_watts=700.0)) == 650.0 * 25


def test_without_a_limit_no_board_draws_more_than_3000_watts() -> None:
    plausibility = Plausibility()
    for second in (0, 5, 10, 15):
        assert taken(plausibility, board(second, 650.0 * second)) is not None
    assert taken(plausibility, board(20, 6500.0 + 1.3 * 3000 * 15 - 1)) is not None
    assert taken(plausibility, board(25, 3.69e12)) is None


def test_a_limit_that_comes_now_and_then_is_remembered() -> None:
    plausibility = Plausibility()
    plausibility.check([board(0, power_limit_watts=300.0)])
    kept, refused = plausibility.check([board(5, power_watts=601.0, temperature_celsius=50.0)])
    assert kept[0].fields == {"temperature_celsius": 50.0}
    assert refused == ["gpu.power_watts[gpu=GPU-1]=601.0: more than 2 times the limit of 300 W"]


def test_power_at_twice_the_limit_passes() -> None:
    point = board(0, power_watts=1400.0, power_limit_watts=700.0)
    assert Plausibility().check([point]) == ([point], [])


def test_energy_that_falls_and_comes_back_never_counts() -> None:
    # Intel: intel/xpumanager issue 130
    plausibility = Plausibility()
    readings = [(0, 5_000_000.0), (5, 5_001_000.0), (10, 200.0), (15, 200.0), (20, 5_004_000.0), (25, 5_005_000.0)]
    told = [taken(plausibility, board(second, joules, exporter="xpum")) for second, joules in readings]
    assert told == [5_000_000.0, 5_001_000.0, None, None, 5_004_000.0, 5_005_000.0]


def test_a_restarted_counter_counts_from_its_second_reading() -> None:
    plausibility = Plausibility()
    readings = [(0, 5_000_000.0), (5, 5_001_000.0), (10, 300.0), (15, 1300.0), (20, 2300.0)]
    told = [taken(plausibility, board(second, joules)) for second, joules in readings]
    assert told == [5_000_000.0, 5_001_000.0, None, 1300.0, 2300.0]


def test_a_fall_that_is_no_restart_is_refused_until_the_counter_is_back() -> None:
    plausibility = Plausibility()
    readings = [(0, 5000.0), (5, 6000.0), (10, 5500.0), (15, 5900.0), (20, 8000.0)]
    assert [taken(plausibility, board(*reading)) for reading in readings] == [5000.0, 6000.0, None, None, 8000.0]


def test_a_fall_that_stays_is_believed_after_ten_minutes() -> None:
    plausibility = Plausibility()
    told = [
        taken(plausibility, board(*reading)) for reading in [(0, 6000.0), (5, 5000.0), (600, 5400.0), (605, 5405.0)]
    ]
    assert told == [6000.0, None, None, 5405.0]


def test_a_frozen_counter_under_load_is_not_trusted_for_ten_minutes() -> None:
    plausibility = Plausibility()

    def told(second: float, joules: float) -> float | None:
        return taken(plausibility, board(second, joules, power_watts=500.0, power_limit_watts=700.0))

    # exporters renew each 30 s: a minute is not frozen yet
    assert [told(second, 1000.0) for second in (0, 30, 60)] == [1000.0, 1000.0, 1000.0]
    assert told(61, 1000.0) is None
    # not even when it moves again
    assert [told(second, 9000.0) for second in (100, 400, 660)] == [None, None, None]
    assert [told(second, joules) for second, joules in ((661, 300_000.0), (666, 302_500.0))] == [300_000.0, 302_500.0]


def test_a_board_of_which_nothing_moves_under_load_is_told_by_an_exporter_that_hangs() -> None:
    plausibility = Plausibility()

    def told(second: float, joules: float, **more: float) -> list[str]:
        kept, _ = plausibility.check([board(second, joules, power_watts=500.0, power_limit_watts=700.0, **more)])
        return [name for point in kept for name in point.fields]

    rest = ["power_watts", "power_limit_watts", "temperature_celsius"]
    assert told(0, 1000.0, temperature_celsius=60.0) == [*rest, "energy_joules_total"]
    # the counter is refused after a minute; the rest after five, for then it is old too
    assert [told(second, 1000.0, temperature_celsius=60.0) for second in (100, 300, 301, 600)] == [rest, rest, [], []]
    # power of another instant: the page is renewed
    assert told(605, 1000.0, temperature_celsius=61.0) == rest


async def test_a_source_that_hangs_makes_room_for_another() -> None:
    async def dcgm(_: web.Request) -> web.Response:
        rows = 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{UUID="GPU-1"} 5000\n'
        return web.Response(text=rows + 'DCGM_FI_DEV_POWER_USAGE{UUID="GPU-1"} 400\n')

    async def telegraf(_: web.Request) -> web.Response:
        return web.Response(text='nvidia_smi_power_draw{uuid="GPU-1"} 90\n')

    precedence, told = Precedence(), []
    async with serve(dcgm) as first, serve(telegraf) as second:
        pages = {"dcgm-1": (first, "dcgm_exporter"), "telegraf-1": (second, "telegraf_nvidia_smi")}
        pollers = [
            Poller(Target(name, "exposition", url, profile=profile), Library(), precedence=precedence)
            for name, (url, profile) in pages.items()
        ]
        for at in range(0, 360, 10):
            points = [point for poller in pollers for point in await poller.poll((START + at) * SECOND)]
            told.append([p.tags["exporter"] for p in points if p.measurement == "gpu"])
        for poller in pollers:
            await poller.aclose()
    # the page repeats itself up to 300 s; it is waited for up to 330 s, three periods, and then the other speaks
    assert told == [["dcgm"]] * 31 + [[]] * 3 + [["telegraf"]] * 2


def test_a_counter_that_stands_while_the_board_idles_is_fine() -> None:
    plausibility = Plausibility()
    for second in (0, 100, 1000):
        # 70 W are a tenth of the limit
        assert taken(plausibility, board(second, 1000.0, power_watts=70.0, power_limit_watts=700.0)) == 1000.0
        assert taken(plausibility, board(second, 1000.0, power_limit_watts=700.0)) == 1000.0


def test_a_target_that_was_away_goes_on() -> None:
    plausibility = Plausibility()
    for second in (0, 5, 10):
        plausibility.check([board(second, 700.0 * second, power_limit_watts=700.0)])
    assert taken(plausibility, board(1810, 700.0 * 1810, power_limit_watts=700.0)) == 700.0 * 1810


def test_nvml_and_other_measurements_pass_unjudged() -> None:
    plausibility = Plausibility()
    plausibility.check([board(0, 10.0, exporter="nvml")])
    points = [
        board(1, 1e9, exporter="nvml"),
        Point("power", {"circuit": "total"}, {"energy_joules_total": 1.0}, START * SECOND),
    ]
    assert plausibility.check(points) == (points, [])
    assert len(plausibility) == 0


def test_boards_are_forgotten_after_an_hour() -> None:
    plausibility = Plausibility()
    plausibility.check([Point("gpu", {"gpu": f"GPU-{n}"}, {"power_watts": 1.0}, START * SECOND) for n in range(100)])
    plausibility.check([board(3601, 1.0)])
    assert len(plausibility) == 1


async def test_a_poller_counts_what_cannot_be_true() -> None:
    joules = iter([5_000_000_000, 5_000_500_000, 9_000_000_000_000_000])

    async def answer(_: web.Request) -> web.Response:
        rows = f'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{UUID="GPU-1"}} {next(joules)}\n'
        return web.Response(text=rows + 'DCGM_FI_DEV_POWER_USAGE{UUID="GPU-1"} 100\n')

    async with serve(answer) as url:
        poller = Poller(Target("node-1", "exposition", url, profile="dcgm_exporter"), Library())
        polls = [await poller.poll((START + second) * SECOND) for second in (0, 5, 10)]
        await poller.aclose()
    energies = [points[0].fields.get("energy_joules_total") for points in polls]
    assert energies == [5_000_000.0, 5_000_500.0, None]
    assert [points[-1].fields["values_rejected_total"] for points in polls] == [0, 0, 1]
    assert polls[2][0].fields == {"power_watts": 100.0}
