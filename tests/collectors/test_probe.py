"""What `tokenwatt probe` asks and tells, over real HTTP."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from aiohttp import web
from pages import Handler, serve
from services import free_port

from collectors.collector import CollectError, PollResult, UnknownDeviceError
from collectors.probe import find_profile, missing, not_given, probe, target_of
from collectors.profile import Library, Profile
from storage.point import Point

PROFILE = """
profile: {name}
model: a server
kind: inference
protocol: exposition
source: a test
identity: endpoint
match: {{prefix: {name}_}}
groups:
  - each: {{optional: [inference.flops_total, inference.awake]}}
    points:
      - {{to: inference.output_tokens_total, at: {name}_tokens, hint: start it with --count}}
      - {{to: inference.input_tokens_total, at: {name}_prompts, hint: start it with --count}}
      - {{to: inference.preemptions_total, at: {name}_preemptions}}
      - {{to: inference.requests_running, at: {name}_running, hint: start it with --queue}}
      - {{to: inference.flops_total, at: {name}_flops, hint: start it with --mfu}}
      - {{to: inference.awake, at: {name}_awake}}
lacks:
  inference.spend_dollars_total: it knows no prices
"""
TEXT = "alpha_tokens 5\nalpha_running -1\n"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    for name in ("alpha", "beta"):
        (tmp_path / f"{name}.yaml").write_text(PROFILE.format(name=name))
    return Library((tmp_path,))


def pages(texts: Mapping[str, str]) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=texts[request.path]) if request.path in texts else web.Response(status=404)

    return answer


async def test_a_url_without_a_path_is_enough(library: Library) -> None:
    async with serve(pages({"/v1/metrics": TEXT})) as url:
        target = target_of(url.removesuffix("/metrics"))
        profile = await find_profile(target, library, 20)
        assert profile is not None
        assert profile.profile == "alpha"
        result = await probe(target, profile, 20)
    assert [dict(point.fields) for point in result.points] == [{"output_tokens_total": 5}]


async def test_each_field_that_is_not_there_is_told_once_with_the_way_to_get_it(library: Library) -> None:
    profile = library.profile("alpha")
    async with serve(pages({"/metrics": TEXT})) as url:
        result = await probe(target_of(url), profile, 20)
    assert missing(profile, result) == [
        "inference.input_tokens_total: no sample of alpha_prompts: start it with --count",
        "inference.preemptions_total: no sample of alpha_preemptions",
    ]
    assert result.rejected == ("inference.requests_running='blank -1': not a number",)
    assert not_given(profile, result) == [
        "inference.flops_total: start it with --mfu",
        "inference.awake",
        "inference.spend_dollars_total: it knows no prices",
    ]


def test_a_field_that_several_points_read_keeps_its_hint() -> None:
    points = [
        {"to": "inference.awake", "at": "a", "tags": {"role": "prefill"}, "hint": "start it with --sleep"},
        {"to": "inference.awake", "at": "b", "tags": {"role": "decode"}},
    ]
    profile = Profile.model_validate(
        {
            "profile": "x",
            "model": "x",
            "kind": "inference",
            "protocol": "exposition",
            "source": "a test",
            "groups": [{"points": points}],
        }
    )
    assert not_given(profile, PollResult(())) == ["inference.awake: start it with --sleep"]
    given = PollResult((Point("inference", {}, {"awake": 1}, 1),))
    assert not_given(profile, given) == []


async def test_an_unknown_server_is_unknown_and_nothing_is_guessed(library: Library) -> None:
    async with serve(pages({"/metrics": "gamma_tokens 5\n"})) as url:
        with pytest.raises(
            UnknownDeviceError, match=r"its metrics begin with gamma_; profiles tried: alpha \(alpha_\)"
        ):
            await find_profile(target_of(url), library, 20)


async def test_a_profile_in_the_target_is_taken_without_asking(library: Library) -> None:
    target = target_of(f"modbus://127.0.0.1:{free_port()}?profile=beta")
    assert await find_profile(target, library, 20) is library.profile("beta")


async def test_nobody_answers(library: Library) -> None:
    with pytest.raises(CollectError, match="cannot connect"):
        await find_profile(target_of(f"http://127.0.0.1:{free_port()}"), library, 20)
