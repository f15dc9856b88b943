"""Two sources of one GPU: the better one counts while it tells, and the other follows when it falls silent."""

from collections.abc import Mapping

from aiohttp import web
from pages import serve

from collectors.collector import Target
from collectors.poller import Poller
from collectors.precedence import Precedence, normal_uuid
from collectors.profile import Library
from storage.point import Point

SECOND = 10**9
START = 1_760_000_000


def gpu(second: float, exporter: str, gpu: str = "GPU-1", **tags: str) -> Point:
    own = {"host": "node-1", "gpu": gpu, **tags, "exporter": exporter}
    return Point("gpu", own, {"power_watts": 300.0}, int((START + second) * SECOND))


def info(second: float, gpu: str = "GPU-1") -> Point:
    return Point("gpu_info", {"gpu": gpu}, {"driver": "570"}, int((START + second) * SECOND))


def workload(point: Point) -> Mapping[str, str]:
    return {tag: point.tags[tag] for tag in ("namespace", "pod", "job") if tag in point.tags}


def test_one_source_alone_passes_whole() -> None:
    points = [gpu(0, "dcgm"), gpu(0, "dcgm", "GPU-2"), info(0), Point("device", {}, {"up": 1}, START * SECOND)]
    assert Precedence().filter("dcgm-1", points) == (points, 0)


def test_the_better_source_counts_and_the_other_is_counted_as_dropped() -> None:
    precedence = Precedence()
    ranked = ["nvml", "dcgm", "telegraf", "triton", "something else"]
    for worse, better in zip(ranked[1:], ranked, strict=False):
        board = f"GPU-{better}"
        assert precedence.filter(worse, [gpu(0, worse, board)])[1] == 0
        assert precedence.filter(better, [gpu(1, better, board)])[1] == 0
        assert precedence.filter(worse, [gpu(2, worse, board)]) == ([], 1)


def test_spellings_of_a_uuid_are_one_board() -> None:
    assert normal_uuid("GPU-5F1C0000-AB") == normal_uuid("gpu-5f1c0000-ab") == normal_uuid("5f1c0000-ab")
    precedence = Precedence()
    precedence.filter("a", [gpu(0, "nvml", "GPU-5F1C0000-AB")])
    assert precedence.filter("b", [gpu(0, "telegraf", "5f1c0000-ab")]) == ([], 1)


def test_a_lesser_source_takes_over_after_three_periods_of_the_better_one() -> None:
    precedence = Precedence()
    for second in (0, 20, 40):
        precedence.filter("nvml", [gpu(second, "nvml")])
    # 40 s + 3 x 20 s: the last stamp at which NVML still holds
    assert [precedence.filter("dcgm", [gpu(second, "dcgm")])[1] for second in (45, 75, 100, 101, 130)] == [
        1,
        1,
        1,
        0,
        0,
    ]
    # back again: at once
    assert precedence.filter("nvml", [gpu(140, "nvml")])[1] == 0
    assert precedence.filter("dcgm", [gpu(141, "dcgm")])[1] == 1


def test_a_fast_source_is_given_thirty_seconds() -> None:
    precedence = Precedence()
    for second in (0, 1, 2):
        precedence.filter("nvml", [gpu(second, "nvml")])
    assert [precedence.filter("dcgm", [gpu(second, "dcgm")])[1] for second in (3, 32, 33)] == [1, 1, 0]


def test_a_slow_source_learns_its_period() -> None:
    precedence = Precedence()
    for second in (0, 60, 120):
        precedence.filter("nvml", [gpu(second, "nvml")])
    assert [precedence.filter("dcgm", [gpu(second, "dcgm")])[1] for second in (200, 300, 301)] == [1, 1, 0]


def test_a_gap_does_not_stretch_the_period() -> None:
    precedence = Precedence()
    for second in (0, 5, 10, 200, 205):
        precedence.filter("nvml", [gpu(second, "nvml")])
    assert [precedence.filter("dcgm", [gpu(second, "dcgm")])[1] for second in (235, 236)] == [1, 0]


def test_of_equals_the_first_one_stays_until_it_is_silent() -> None:
    precedence = Precedence()
    assert precedence.filter("dcgm-a", [gpu(0, "dcgm")])[1] == 0
    assert [precedence.filter("dcgm-b", [gpu(second, "dcgm")])[1] for second in (1, 30, 31)] == [1, 1, 0]
    assert precedence.filter("dcgm-a", [gpu(32, "dcgm")])[1] == 1


def test_other_boards_of_the_lesser_source_stay() -> None:
    precedence = Precedence()
    precedence.filter("nvml", [gpu(0, "nvml", "GPU-1")])
    kept, dropped = precedence.filter("dcgm", [gpu(0, "dcgm", "GPU-1"), gpu(0, "dcgm", "GPU-2")])
    assert ([point.tags["gpu"] for point in kept], dropped) == (["GPU-2"], 1)


def test_slices_are_judged_apart_from_their_board() -> None:
    precedence = Precedence()
    precedence.filter("nvml", [gpu(0, "nvml"), gpu(0, "nvml", mig="3/0")])
    points = [gpu(0, "dcgm"), gpu(0, "dcgm", mig="3"), gpu(0, "dcgm", mig="4")]
    kept, dropped = precedence.filter("dcgm", points)
    # NVML names a slice GPU instance/compute instance, dcgm-exporter by the GPU instance alone
    assert ([point.tags.get("mig") for point in kept], dropped) == (["4"], 2)


def test_identity_comes_from_the_source_that_counts() -> None:
    precedence = Precedence()
    assert precedence.filter("dcgm", [gpu(0, "dcgm"), info(0)])[1] == 0
    assert precedence.filter("nvml", [gpu(1, "nvml"), info(1)])[1] == 0
    assert precedence.filter("dcgm", [gpu(2, "dcgm"), info(2)]) == ([], 2)


def test_the_workload_that_only_the_lesser_source_knows_is_lent() -> None:
    precedence = Precedence()
    precedence.filter("dcgm", [gpu(0, "dcgm", namespace="prod", pod="llama-0")])
    (point,), _ = precedence.filter("nvml", [gpu(1, "nvml", model="H100")])
    assert workload(point) == {"namespace": "prod", "pod": "llama-0"}
    # in the schema's order
    assert list(point.tags) == ["host", "gpu", "model", "namespace", "pod", "exporter"]
    # a workload that ended is not lent any more, though the exporter still tells of the board
    precedence.filter("dcgm", [gpu(5, "dcgm")])
    assert workload(precedence.filter("nvml", [gpu(6, "nvml")])[0][0]) == {}


def test_a_workload_that_contradicts_is_not_lent() -> None:
    precedence = Precedence()
    precedence.filter("dcgm", [gpu(0, "dcgm", namespace="prod", pod="old-0")])
    (point,), _ = precedence.filter("nvml", [gpu(1, "nvml", pod="new-0")])
    assert workload(point) == {"pod": "new-0"}


def test_a_silent_source_lends_nothing() -> None:
    precedence = Precedence()
    precedence.filter("dcgm", [gpu(0, "dcgm", pod="llama-0")])
    (point,), _ = precedence.filter("nvml", [gpu(31, "nvml")])
    assert workload(point) == {}


def test_a_clock_that_was_set_back_does_not_silence_a_source() -> None:
    precedence = Precedence()
    precedence.filter("nvml", [gpu(7200, "nvml")])
    assert precedence.filter("dcgm", [gpu(0, "dcgm")])[1] == 0


def test_boards_are_forgotten_after_an_hour() -> None:
    precedence = Precedence()
    precedence.filter("dcgm", [gpu(0, "dcgm", f"GPU-{n}") for n in range(1000)])
    precedence.filter("dcgm", [gpu(1800, "dcgm", "GPU-0")])
    assert len(precedence) == 1000
    precedence.filter("dcgm", [gpu(3601, "dcgm", "GPU-0")])
    assert len(precedence) == 1


def test_points_without_a_gpu_are_nobodys_duplicate() -> None:
    precedence = Precedence()
    nameless = Point("gpu", {"exporter": "triton"}, {"power_watts": 1.0}, START * SECOND)
    assert precedence.filter("a", [nameless]) == ([nameless], 0)
    assert precedence.filter("b", [nameless]) == ([nameless], 0)


async def test_pollers_of_one_collector_share_it_and_tell_of_what_was_dropped() -> None:
    pages = {
        "/dcgm": 'DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-1",namespace="prod",pod="llama-0"} 301\n',
        "/telegraf": 'nvidia_smi_power_draw{uuid="GPU-1"} 299\nnvidia_smi_temperature_gpu{uuid="GPU-1"} 60\n',
    }

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=pages[request.path])

    precedence = Precedence()
    async with serve(answer) as url:
        base = url.removesuffix("/metrics")
        names = {"/dcgm": "dcgm_exporter", "/telegraf": "telegraf_nvidia_smi"}
        pollers = [
            Poller(Target(path[1:], "exposition", base + path, profile=profile), Library(), precedence=precedence)
            for path, profile in names.items()
        ]
        told = [point for poller in pollers for point in await poller.poll(START * SECOND)]
        for poller in pollers:
            await poller.aclose()
    assert [p.fields["power_watts"] for p in told if p.measurement == "gpu"] == [301.0]
    dropped = {p.tags["device"]: p.fields["duplicates_total"] for p in told if p.measurement == "device"}
    assert dropped == {"dcgm": 0, "telegraf": 1}
