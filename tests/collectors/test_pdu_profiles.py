"""Rack PDUs and a DC plant over SNMP: what the devices of each maker say wrongly, and what becomes of it."""

from itertools import pairwise

import pytest
from snmp_device import Answers, fields, golden, poll, without

from collectors.profile import load_profile

APC, RARITAN = "1.3.6.1.4.1.318.1.1.26", "1.3.6.1.4.1.13742.6"
SENTRY, VERTIV = "1.3.6.1.4.1.1718.4.1", "1.3.6.1.4.1.21239.5.2.3"
EATON, ELTEK = "1.3.6.1.4.1.534.6.6.7", "1.3.6.1.4.1.12148.10"

Total = dict[str, str]
TOTAL: Total = {"circuit": "total", "side": "input"}


def saying(profile: str, values: "dict[str, int]") -> Answers:
    """Return the golden answers with other numbers at some OIDs."""
    answers = golden(profile)
    assert values.keys() <= answers.keys()
    return answers | {oid: (answers[oid][0], value) for oid, value in values.items()}


# profile, OID, the raw value that means nothing, measurement, tags, field
BLANKS = {
    "apc power": ("apc_rpdu2", f"{APC}.4.3.1.5.1", -1, "power", TOTAL, "active_watts"),
    "apc apparent power": ("apc_rpdu2", f"{APC}.4.3.1.16.1", -1, "power", TOTAL, "apparent_volt_amperes"),
    "apc power factor": ("apc_rpdu2", f"{APC}.4.3.1.17.1", -1, "power", TOTAL, "power_factor_ratio"),
    "apc energy": ("apc_rpdu2", f"{APC}.4.3.1.9.1", -1, "power", TOTAL, "energy_joules_total"),
    "apc voltage": ("apc_rpdu2", f"{APC}.6.3.1.6.1", -1, "power", {"circuit": "phase", "phase": "1"}, "voltage_volts"),
    "sentry power": ("servertech_sentry4", f"{SENTRY}.3.3.1.3.1.1", -1, "power", TOTAL, "active_watts"),
    "sentry current": (
        "servertech_sentry4", f"{SENTRY}.4.3.1.3.1.1.1", -1, "power", {"circuit": "line", "phase": "1"},
        "current_amperes",
    ),
    "sentry temperature": (
        "servertech_sentry4", f"{SENTRY}.9.3.1.1.1.1", -410, "environment", {"point": "sensor-A1"},
        "temperature_celsius",
    ),
    "vertiv current": (
        "vertiv_v5", f"{VERTIV}.2.1.8.1", 99990, "power", {"circuit": "phase", "phase": "1"}, "current_amperes",
    ),
    "eaton power factor": ("eaton_epdu", f"{EATON}.3.5.1.7.0.1", -1, "power", TOTAL, "power_factor_ratio"),
    "eaton power": ("eaton_epdu", f"{EATON}.3.5.1.4.0.1", -1, "power", TOTAL, "active_watts"),
}  # fmt: skip


@pytest.mark.parametrize("name", BLANKS)
async def test_a_value_that_means_none_is_left_out_and_counted(name: str) -> None:
    profile, oid, blank, measurement, tags, field = BLANKS[name]
    before, after = await poll(profile, golden(profile), saying(profile, {oid: blank}), every_s=300)
    assert field in fields(before, measurement, **tags)
    assert field not in fields(after, measurement, **tags)
    new = set(after.rejected) - set(before.rejected)
    assert [line for line in new if f".{field}[" in line and line.endswith("blank value")]


async def test_one_bank_that_is_missing_hides_one_bank_only() -> None:
    whole, part = await poll("apc_rpdu2", golden("apc_rpdu2"), without(golden("apc_rpdu2"), f"{APC}.8.3.1.5.2"))
    assert fields(part, "power", circuit="branch-1") == {"current_amperes": 5.4, "state": 0}
    assert fields(part, "power", circuit="branch-2") == {"state": 2}
    assert len(part.missing) == 1
    assert fields(part, "power", **TOTAL)["active_watts"] == fields(whole, "power", **TOTAL)["active_watts"] == 1170


async def test_chained_units_have_a_total_and_phases_of_their_own() -> None:
    """Unit 1 draws 1170 W, unit 2 behind the same card 350 W: nowhere is their sum, nor one in place of the other."""
    (result,) = await poll("apc_rpdu2", golden("apc_rpdu2"))
    totals = {p.tags["device"]: p.fields["active_watts"] for p in result.points if p.tags.get("circuit") == "total"}
    assert totals == {"pdu-9": 1170, "pdu-9/2": 350}
    assert "imbalance_ratio" not in fields(result, "power", device="pdu-9/2", **TOTAL)


@pytest.mark.parametrize(("raw", "ratio"), [(-946, -0.946), (-1000, -1.0), (990, 0.99), (-1, None)])
async def test_a_negative_power_factor_of_eaton_is_a_leading_one_and_minus_one_is_none(
    raw: int, ratio: float | None
) -> None:
    (result,) = await poll("eaton_epdu", saying("eaton_epdu", {f"{EATON}.3.5.1.7.0.1": raw}))
    assert fields(result, "power", **TOTAL).get("power_factor_ratio") == (ratio and pytest.approx(ratio))


@pytest.mark.parametrize(("setting", "amperes", "battery"), [(0, 1234, -34), (1, 123.4, -3.4)])
async def test_amperes_of_eltek_are_whole_or_tenths_by_a_setting(setting: int, amperes: float, battery: float) -> None:
    (result,) = await poll("eltek_smartpack2", saying("eltek_smartpack2", {f"{ELTEK}.2.15.0": setting}))
    assert fields(result, "power", circuit="total", side="output")["current_amperes"] == pytest.approx(amperes)
    assert fields(result, "battery", unit="1")["current_amperes"] == pytest.approx(battery)
    assert fields(result, "power", circuit="psu-1", side="output")["current_amperes"] == pytest.approx(amperes / 2)


@pytest.mark.parametrize(("setting", "celsius"), [(0, 77.0), (1, 25.0)])
async def test_degrees_of_eltek_are_celsius_or_fahrenheit_by_a_setting(setting: int, celsius: float) -> None:
    (result,) = await poll("eltek_smartpack2", saying("eltek_smartpack2", {f"{ELTEK}.2.16.0": setting}))
    assert fields(result, "battery", unit="1")["temperature_celsius"] == pytest.approx(celsius)


async def test_a_setting_that_is_not_told_leaves_out_what_needs_it_and_nothing_else() -> None:
    (result,) = await poll("eltek_smartpack2", without(golden("eltek_smartpack2"), f"{ELTEK}.2.15."))
    assert not any("current_amperes" in point.fields for point in result.points)
    assert fields(result, "battery", unit="1").keys() == {
        "voltage_volts", "temperature_celsius", "charge_ratio", "health_ratio",
    }  # fmt: skip
    assert fields(result, "bus", pole="total") == {"voltage_volts": 53.52}
    line = "setting 'amperes': no such instance at 1.3.6.1.4.1.12148.10.2.15.0: readings that need it are refused"
    assert result.missing == (line,)
    assert len([text for text in result.rejected if "current_amperes" in text]) == 6


async def test_a_setting_of_unknown_meaning_is_refused_not_guessed() -> None:
    (result,) = await poll("eltek_smartpack2", saying("eltek_smartpack2", {f"{ELTEK}.2.15.0": 2}))
    assert not any("current_amperes" in point.fields for point in result.points)


async def test_a_setting_is_read_again_with_the_slow_readings() -> None:
    amperes, tenths = (saying("eltek_smartpack2", {f"{ELTEK}.2.15.0": setting}) for setting in (0, 1))
    results = await poll("eltek_smartpack2", amperes, *[tenths] * 30)
    told = [fields(result, "bus", pole="total")["current_amperes"] for result in results]
    assert told[:2] == [1100, 1100]
    assert told[-1] == pytest.approx(110)


async def test_capacity_in_ampere_hours_is_no_state_of_charge() -> None:
    """Without a percentage there is none; when the device is set back to percent it comes."""
    hours, percent = (saying("eltek_smartpack2", {f"{ELTEK}.2.17.0": setting}) for setting in (0, 1))
    results = await poll("eltek_smartpack2", percent, hours, percent, every_s=300)
    assert [fields(r, "battery", unit="1").get("charge_ratio") for r in results] == [0.97, None, 0.97]
    assert all(r.missing == () and r.rejected == () for r in results)


@pytest.mark.parametrize(("setting", "celsius"), [(0, 75.2), (1, 24.0), (None, None)])
async def test_degrees_of_sentry_are_told_by_their_scale(setting: int | None, celsius: float | None) -> None:
    scale = f"{SENTRY}.9.1.10.0"
    answers = saying("servertech_sentry4", {scale: setting or 0})
    (result,) = await poll("servertech_sentry4", answers if setting is not None else without(answers, scale))
    read = fields(result, "environment", point="sensor-A1").get("temperature_celsius")
    assert read == (celsius and pytest.approx(celsius))


async def test_imbalance_is_computed_from_line_currents_whatever_the_device_says_of_it() -> None:
    """5.60, 3.69 and 5.60 A are 25.65 % apart where Sentry4 says 26 or 0; Vertiv says 88."""
    (sentry,) = await poll("servertech_sentry4", saying("servertech_sentry4", {f"{SENTRY}.3.3.1.12.1.1": 0}))
    assert fields(sentry, "power", **TOTAL)["imbalance_ratio"] == pytest.approx(0.2565, abs=1e-4)
    (vertiv,) = await poll("vertiv_v5", golden("vertiv_v5"))
    assert fields(vertiv, "power", **TOTAL)["imbalance_ratio"] == pytest.approx(0.1212, abs=1e-4)


@pytest.mark.parametrize(
    ("profile", "column"), [("servertech_sentry4", f"{SENTRY}.3.3.1.12"), ("vertiv_v5", f"{VERTIV}.2.1.17")]
)
def test_the_devices_own_balance_is_not_asked_for(profile: str, column: str) -> None:
    assert column not in {at for g in load_profile(profile).groups for spec in g.points for at in spec.addresses}


async def test_a_line_without_a_current_leaves_no_imbalance() -> None:
    """Two of three lines say nothing of the third."""
    (result,) = await poll("servertech_sentry4", saying("servertech_sentry4", {f"{SENTRY}.4.3.1.3.1.1.2": -1}))
    assert "imbalance_ratio" not in fields(result, "power", **TOTAL)
    assert fields(result, "power", circuit="line", phase="3")["current_amperes"] == pytest.approx(5.6)


async def test_cords_are_summed_up_and_a_cord_without_a_reading_leaves_no_sum() -> None:
    full, part = await poll(
        "servertech_sentry4",
        golden("servertech_sentry4"),
        saying("servertech_sentry4", {f"{SENTRY}.3.3.1.3.2.2": -1}),
    )
    assert fields(full, "power", device="pdu-9/2", **TOTAL)["active_watts"] == 2000
    assert fields(part, "power", device="pdu-9/2", **TOTAL).keys() == {"apparent_volt_amperes", "energy_joules_total"}
    assert fields(part, "power", device="pdu-9/2", circuit="cord-BA")["active_watts"] == 1200
    assert fields(part, "power", **TOTAL)["active_watts"] == 2050


INLET = f"{RARITAN}.5.2.3.1"


async def test_the_signed_column_of_raritan_counts_where_it_is_there() -> None:
    """-97 with two decimals; the unsigned column says 4,294,967,199."""
    signed, old = await poll(
        "raritan_pdu2", golden("raritan_pdu2"), without(golden("raritan_pdu2"), f"{INLET}.6."), every_s=300
    )
    assert fields(signed, "power", **TOTAL)["power_factor_ratio"] == pytest.approx(-0.97)
    assert "power_factor_ratio" not in fields(old, "power", **TOTAL)
    (never,) = await poll("raritan_pdu2", without(golden("raritan_pdu2"), f"{INLET}.6."))
    assert fields(never, "power", **TOTAL)["active_watts"] == 1665
    assert "power_factor_ratio" not in fields(never, "power", **TOTAL)


@pytest.mark.parametrize(("decimals", "amperes"), [(3, 7.467), (2, 74.67), (0, 7467.0)])
async def test_decimals_of_raritan_are_data(decimals: int, amperes: float) -> None:
    (result,) = await poll("raritan_pdu2", saying("raritan_pdu2", {f"{RARITAN}.3.3.4.1.7.1.1.1": decimals}))
    assert fields(result, "power", **TOTAL)["current_amperes"] == pytest.approx(amperes)


async def test_a_sensor_of_raritan_without_decimals_or_in_another_unit_is_refused() -> None:
    volts = saying("raritan_pdu2", {f"{RARITAN}.3.3.4.1.6.1.1.5": 1})
    for answers in (volts, without(golden("raritan_pdu2"), f"{RARITAN}.3.3.4.1.7.1.1.5")):
        (result,) = await poll("raritan_pdu2", answers)
        assert "active_watts" not in fields(result, "power", **TOTAL)
        assert fields(result, "power", **TOTAL)["apparent_volt_amperes"] == 1710
        assert len(result.rejected) == 1


async def test_a_sensor_that_is_not_available_is_absent_not_zero() -> None:
    gone = saying("raritan_pdu2", {f"{INLET}.2.1.1.5": 2, f"{INLET}.4.1.1.5": 0, f"{INLET}.6.1.1.5": 0})
    (result,) = await poll("raritan_pdu2", gone)
    assert "active_watts" not in fields(result, "power", **TOTAL)
    assert fields(result, "power", **TOTAL)["current_amperes"] == 7.467


async def test_two_inlets_are_summed_up_while_both_are_available() -> None:
    dead = golden("raritan_pdu2")
    alive = saying("raritan_pdu2", {f"{INLET}.2.2.2.5": 1, f"{INLET}.6.2.2.5": 488})
    both, one = await poll("raritan_pdu2", alive, dead)
    assert fields(both, "power", device="pdu-9/2", **TOTAL) == {"active_watts": 1000}
    assert fields(one, "power", device="pdu-9/2", **TOTAL) == {}
    assert fields(one, "power", device="pdu-9/2", circuit="inlet-1") == {"active_watts": 512}


async def test_a_pole_that_is_not_available_leaves_no_imbalance() -> None:
    (result,) = await poll("raritan_pdu2", saying("raritan_pdu2", {f"{RARITAN}.5.2.4.1.2.1.1.2.1": 2}))
    assert "imbalance_ratio" not in fields(result, "power", **TOTAL)
    assert fields(result, "power", circuit="phase", phase="1")["current_amperes"] == 12.55


async def test_energy_of_vertiv_goes_on_over_its_wrap_at_9999_kwh() -> None:
    """From 9,998,990 Wh to 9,999,000, then 0 to 9: 20 Wh are 72 kJ."""
    states = [saying("vertiv_v5", {f"{VERTIV}.1.1.12.1": value}) for value in (9_998_980, 9_998_990, 9, 19)]
    energies = [float(fields(r, "power", **TOTAL)["energy_joules_total"]) for r in await poll("vertiv_v5", *states)]
    assert [b - a for a, b in pairwise(energies)] == [36_000, 72_000, 36_000]


async def test_energy_of_vertiv_that_stands_at_its_end_stands() -> None:
    states = [saying("vertiv_v5", {f"{VERTIV}.1.1.12.1": value}) for value in (9_998_990, 9_999_000, 9_999_000)]
    results = await poll("vertiv_v5", *states)
    energies = [fields(r, "power", **TOTAL)["energy_joules_total"] for r in results]
    assert energies == [9_998_990 * 3600, 9_999_000 * 3600, 9_999_000 * 3600]
    assert sum(r.resets for r in results) == 0


async def test_outlets_are_read_with_the_slow_readings_alone() -> None:
    for profile in ("apc_rpdu2", "raritan_pdu2", "servertech_sentry4", "vertiv_v5", "eaton_epdu"):
        first, second = await poll(profile, golden(profile), golden(profile))
        outlets = [[p for p in r.points if p.tags.get("circuit", "").startswith("outlet")] for r in (first, second)]
        assert outlets[0], profile
        assert not outlets[1], profile


@pytest.mark.parametrize(
    ("profile", "oid", "states"),
    [
        ("servertech_sentry4", f"{SENTRY}.11.3.1.1.1.1", {0: 0, 10: 3, 17: 2, 18: 2, 16: 1, 1: None, 99: None}),
        ("raritan_pdu2", f"{RARITAN}.5.5.3.1.3.1.5", {10: 0, 9: 2, 11: 2, 4: 0, -1: 3, 99: None}),
        ("apc_rpdu2", f"{APC}.10.4.2.1.8.1", {1: 0, 2: 2, 9: None}),
    ],
)
async def test_water_is_told_dry_wet_and_lost_apart(profile: str, oid: str, states: dict[int, int | None]) -> None:
    results = await poll(profile, *(saying(profile, {oid: raw}) for raw in states))
    name = {"servertech_sentry4": "sensor-A1", "raritan_pdu2": "sensor-5", "apc_rpdu2": "sensor-1"}[profile]
    assert [fields(r, "leak", detector=name).get("state") for r in results] == list(states.values())
