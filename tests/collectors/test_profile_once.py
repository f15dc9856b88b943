"""What is made of a profile once for all its devices: made once, and nothing of it changes with one of them."""

from collectors.collector import Target
from collectors.modbus.plan import halve, make_units
from collectors.profile import Profile, load_profile
from collectors.snmp.tables import read_groups


def count_points(profile: Profile, factor: int = 1) -> list[int]:
    return [factor * len(group.points) for group in profile.groups]


def test_it_is_made_once_for_each_way_to_make_it() -> None:
    profile = load_profile("generic_meter")
    made = profile.once(count_points)
    assert made == count_points(profile)
    assert profile.once(count_points) is made
    assert profile.once(count_points, 2) == [2 * count for count in made]


def test_a_profile_made_of_another_makes_its_own() -> None:
    profile = load_profile("generic_hvdc_400")
    assert len(profile.once(count_points)) == len(profile.groups) > 1
    known = len(profile.readings)
    shorter = profile.model_copy(update={"groups": profile.groups[:1]})
    assert len(shorter.once(count_points)) == 1
    assert len(shorter.readings) == len(profile.groups[0].points) < known
    assert len(profile.once(count_points)) == len(profile.groups)


SHELF = Profile.model_validate(
    {
        "profile": "own",
        "model": "own",
        "kind": "power_shelf",
        "protocol": "modbus",
        "source": "this test",
        "groups": [
            {
                "each": {"units": [1, 2], "settings": {"feed": "input:9"}},
                "points": [
                    {"to": "power.active_watts", "at": "holding:10"},
                    {"to": "power.voltage_volts", "at": "holding:11"},
                ],
            }
        ],
    }
)


def test_what_one_modbus_device_refuses_another_is_asked_for() -> None:
    row, twin = (make_units(SHELF, 60, 8, None)[0].rows[0] for _ in range(2))
    [span] = row.fast
    row.replace(span, halve(span))
    row.refuse(span.readings[0].spec)
    row.settings.clear()
    row.set("feed", "A")
    assert [len(part.readings) for part in row.fast] == [1, 1]
    assert twin.fast == [span]
    assert ([each.name for each in twin.settings], twin.variables, twin.lacking) == (["feed"], {"unit": "1"}, [])
    # The next device begins with whole spans too, and so does this one again.
    assert make_units(SHELF, 60, 8, None)[0].rows[0].fast == [span]
    row.reset()
    assert row.fast == [span]


def test_snmp_targets_of_one_profile_choose_and_find_for_themselves() -> None:
    profile = load_profile("sonic_snmp")
    few, all_of = (
        read_groups(profile, Target("leaf", "snmp", "127.0.0.1:161", options={"priorities": chosen}))
        for chosen in ("3", "all")
    )
    again = read_groups(profile, Target("leaf", "snmp", "127.0.0.1:161", options={"priorities": "3"}))
    assert len(few) == len(again) < len(all_of)
    times = {address.times for table in few for _, found in table.addresses for address in found}
    assert {name for name in times if name} == {name for name in times if name.endswith("=3")}
    few[0].rows.append({"index": "1"})
    assert again[0].rows == []
