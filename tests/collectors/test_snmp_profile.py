"""What the SONiC profile makes of three vendors' agents, over real UDP, against points worked out by hand."""

import math

import pytest
from snmp_recordings import DATA, START, OwnClock, found_points, played, read_points, same_fields

from collectors.collector import CollectError, PollResult, Target
from collectors.profile import load_profile
from collectors.snmp import collector as snmp
from collectors.snmp.anchor import Clock
from collectors.snmp.tables import read_groups

FOLDER = DATA / "sonic_snmp"
NOW_NS = int(START * 1e9)


def recording(case: str) -> str:
    return (FOLDER / f"{case}.agent").read_text("utf-8")


async def poll(text: str, **options: str) -> PollResult:
    async with played(text, **options) as (target, _):
        # The counters of a recording stand still: nobody waits in real time for their refresh.
        clock = OwnClock()
        collector = snmp.open_collector(target, load_profile("sonic_snmp"), Clock(clock.time_ns, clock, clock.pause))
        try:
            return await collector.poll(NOW_NS)
        finally:
            await collector.aclose()


def field(result: PollResult, measurement: str, name: str, **tags: str) -> float | int | str | None:
    points = [p for p in result.points if p.measurement == measurement and tags.items() <= p.tags.items()]
    return next((p.fields[name] for p in points if name in p.fields), None)


def without(text: str, *parts: str) -> str:
    return "\n".join(line for line in text.splitlines() if not any(line.startswith(part) for part in parts))


@pytest.mark.parametrize("case", ["community", "edgecore", "dell"])
async def test_a_recorded_switch_gives_exactly_the_points_that_its_lines_mean(case: str) -> None:
    series, missing, rejected = read_points((FOLDER / f"{case}.points").read_text("utf-8"))
    result = await poll(recording(case))
    found = found_points(result)
    assert found.keys() == series.keys()
    assert [(key, found[key], series[key]) for key in series if not same_fields(found[key], series[key])] == []
    assert sorted(result.missing) == sorted(missing)
    assert sorted(result.rejected) == sorted(rejected)


async def test_light_of_8728_ten_thousandths_of_a_milliwatt_is_minus_0_59_dbm() -> None:
    watts = field(await poll(recording("community")), "transceiver", "rx_power_watts", lane="1")
    assert isinstance(watts, float)
    assert round(10 * math.log10(watts * 1000), 2) == -0.59


async def test_all_priorities_and_queues_come_where_the_target_asks_for_them() -> None:
    """The recording has priorities and queues 0, 3 and 4."""
    result = await poll(recording("community"), priorities="all")
    own = [p for p in result.points if p.tags.get("interface") == "Ethernet0"]
    pfc = {p.tags["priority"]: p.fields["rx_frames_total"] for p in own if p.measurement == "pfc"}
    assert pfc == {"0": 1010, "3": 1013, "4": 1014}
    queues = {p.tags["queue"]: p.fields["packets_total"] for p in own if p.measurement == "queue"}
    assert queues == {"0": 1_000_011, "3": 1_000_041, "4": 1_000_051}
    lost = [line for line in result.missing if line.startswith("pfc.rx")]
    at = "1.3.6.1.4.1.9.9.813.1.2.1.3.{port}.{priority}"
    assert lost == [f"pfc.rx_frames_total: no such instance at {at} for 3 of 3 rows (1, 5, 9)"] * 5


async def test_a_list_of_priorities_is_read_and_no_other() -> None:
    result = await poll(recording("community"), priorities="0,4")
    assert {p.tags["priority"] for p in result.points if p.measurement == "pfc"} == {"0", "4"}
    assert {p.tags["queue"] for p in result.points if p.measurement == "queue"} == {"0", "4"}


def test_a_priority_that_does_not_exist_is_refused_before_anything_is_sent() -> None:
    target = Target("leaf-9", "snmp", "127.0.0.1:161", options={"priorities": "3,8"})
    with pytest.raises(CollectError, match=r"leaf-9 127\.0\.0\.1:161: option priorities='3,8': '8' is not one of 0, 1"):
        snmp.open_collector(target, load_profile("sonic_snmp"))


async def test_a_sensor_whose_scale_is_not_told_is_refused_not_guessed() -> None:
    text = without(recording("community"), "1.3.6.1.2.1.99.1.1.1.2.1000000110 ")
    result = await poll(text)
    assert field(result, "transceiver", "temperature_celsius") is None
    assert field(result, "transceiver", "voltage_volts") == 3.295
    assert "transceiver.temperature_celsius[interface=Ethernet0]=45125000: its scale is not told" in result.rejected


async def test_a_supply_whose_power_is_no_number_leaves_the_switch_without_a_total() -> None:
    text = recording("community").replace(".4.602240030 integer 66000", ".4.602240030 integer 1000000000")
    result = await poll(text)
    assert field(result, "power", "active_watts", circuit="psu-1") == 72
    assert field(result, "power", "active_watts", circuit="total") is None


async def test_scale_and_precision_are_the_rows_own() -> None:
    """The same 72 W as 72000 thousandths, as 7200 hundredths, and as 72000 milliwatts."""
    text = recording("edgecore")
    hundredths = text.replace(".3.601240030 integer 3", ".3.601240030 integer 2").replace("72000", "7200")
    milliwatts = text.replace(".2.601240030 integer 9", ".2.601240030 integer 8").replace(
        ".3.601240030 integer 3", ".3.601240030 integer 0"
    )
    for changed in (text, hundredths, milliwatts):
        assert field(await poll(changed), "power", "active_watts", circuit="psu-1") == 72


async def test_ports_inside_the_box_keep_their_own_names() -> None:
    text = recording("community").replace("text etp3", "text Ethernet-BP0")
    names = {p.tags["interface"] for p in (await poll(text)).points if p.measurement == "interface"}
    assert "Ethernet-BP0" in names
    assert "Ethernet8" not in names


async def test_a_restarting_agent_that_knows_no_ports_is_not_asked_for_neighbours() -> None:
    text = without(recording("edgecore"), "1.3.6.1.2.1.99.", "1.0.8802.")
    result = await poll(text)
    assert not [line for line in result.missing if line.startswith(("inventory", "transceiver", "fan", "environment"))]


def test_sensors_are_read_each_minute_and_neighbours_each_five() -> None:
    """Table by table: what a poll of each cadence asks for."""
    profile = load_profile("sonic_snmp")
    tables = read_groups(profile, Target("leaf-9", "snmp", "127.0.0.1:161"))

    def wanted(slow: bool, medium: bool) -> set[str]:
        return {spec.to.partition(".")[0] for table in tables for spec, _ in table.due(slow, medium)}

    assert wanted(False, False) == {"switch", "interface", "pfc", "queue"}
    assert wanted(False, True) - wanted(False, False) == {"transceiver", "power", "environment", "fan"}
    assert wanted(True, True) - wanted(False, True) == {"inventory"}
    assert profile.poll.medium == "60s"
