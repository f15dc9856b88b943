"""The fabric's physics: counters fit each other, faults hit their port alone, known rates are kept."""

from pathlib import Path

import numpy as np
import pytest

from collectors.simulator.factory import Factory
from collectors.simulator.faults import ScriptError, find_script, load_script
from collectors.simulator.layout import build_layout
from collectors.simulator.optics import symbol_error_ratios
from collectors.simulator.state import Switches

START = 1_760_000_000.0
#: leaf-2/Ethernet0
AT = (1, 0)
#: RS(544,514) codewords of 5440 bits at 8 x 53.125 Gbit/s
CODEWORDS = 425e9 / 5440


@pytest.fixture
def factory() -> Factory:
    return Factory(build_layout(64), seed=1, start=START)


def play(factory: Factory, kind: str, seconds: float, name: str = "leaf-2/Ethernet0") -> Switches:
    factory.faults.inject(kind, name, factory.state.time)
    factory.advance(factory.state.time + seconds)
    return factory.state.switches


def test_symbol_errors_are_binomial() -> None:
    """At 1e-4 a symbol of ten bits is wrong with 1e-3 less a little: 0.544 - 0.00024 of 544 on average."""
    shares = symbol_error_ratios(np.array([1e-4]))[0]
    assert shares.sum() == pytest.approx(1.0)
    wrong = 1.0 - (1.0 - 1e-4) ** 10
    assert shares[0] == pytest.approx((1.0 - wrong) ** 544)
    assert shares @ np.arange(shares.size) == pytest.approx(544 * wrong)


def test_fec_counters_of_a_good_port_fit_each_other(factory: Factory) -> None:
    switches = factory.state.switches
    ratio = switches.pre_fec_ber
    assert ((ratio > 1e-9) & (ratio < 1e-5)).all()
    assert switches.fec_corrected_bits.rate / 425e9 == pytest.approx(ratio)
    assert switches.fec_bins.rate.sum(axis=-1) == pytest.approx(np.full_like(ratio, CODEWORDS))
    assert switches.fec_bins.rate[..., 1:].sum(axis=-1) == pytest.approx(switches.fec_corrected.rate)
    assert switches.fec_symbols.rate == pytest.approx(CODEWORDS * 5440 * ratio, rel=1e-4)
    assert (switches.fec_uncorrected.rate < 1e-9).all()
    assert (switches.fec_bins.base[..., 0] > switches.fec_bins.base[..., 1]).all()


def test_optics_that_dim_lose_light_then_codewords_then_packets(factory: Factory) -> None:
    light, errors = factory.state.switches.rx_dbm[AT].copy(), []
    factory.faults.inject("optics_dim", "leaf-2/Ethernet0", START + 1)
    for second in range(1, 16):
        factory.advance(START + second)
        errors.append(float(factory.state.switches.pre_fec_ber[AT]))
    switches = factory.state.switches
    # half a dB per second, six in all, from the first second on
    assert light - switches.rx_dbm[AT] == pytest.approx(np.full(4, 6.0), abs=0.3)
    assert errors == sorted(errors)
    assert errors[-1] == pytest.approx(8e-4)
    assert switches.fec_uncorrected.rate[AT] > 100
    assert switches.rx_errors.rate[AT] > 0
    assert (switches.fec_uncorrected.rate > 1e-6).sum() == 1
    factory.faults.clear("optics_dim", "leaf-2/Ethernet0")
    factory.advance(START + 30)
    assert switches.fec_uncorrected.rate[AT] < 1e-9


def test_a_port_that_is_down_carries_nothing_and_counts_one_flap(factory: Factory) -> None:
    before = int(factory.state.switches.flaps[AT])
    switches = play(factory, "port_down", 10)
    assert not switches.oper_up[AT]
    assert switches.admin_up[AT]
    assert (~switches.oper_up).sum() == 1
    for name in ("rx_bytes", "tx_bytes", "fec_corrected", "fec_corrected_bits"):
        assert getattr(switches, name).rate[AT] == 0.0
    assert switches.flaps[AT] == before + 1
    assert switches.last_down_time[AT] == START + 1
    factory.faults.clear("port_down", "leaf-2/Ethernet0")
    factory.advance(START + 20)
    assert switches.oper_up[AT]
    assert switches.last_up_time[AT] == START + 11
    assert switches.flaps[AT] == before + 1


def test_a_shut_port_is_down_by_its_operator(factory: Factory) -> None:
    switches = play(factory, "port_shut", 3)
    assert (~switches.admin_up).sum() == (~switches.oper_up).sum() == 1
    assert not switches.admin_up[AT]


def test_a_flapping_port_goes_down_once_in_ten_seconds(factory: Factory) -> None:
    factory.advance(START + 5)
    before = int(factory.state.switches.flaps[AT])
    # it is down from each whole ten seconds on
    assert play(factory, "port_flapping", 60).flaps[AT] == before + 6


def test_congestion_marks_and_drops_and_fills_the_queue(factory: Factory) -> None:
    switches = play(factory, "congestion", 5)
    assert switches.ecn_marked.rate[AT] == pytest.approx(0.08 * switches.tx_unicast.rate[AT])
    assert switches.queue_drops.rate[AT] == switches.tx_discards.rate[AT] == 250
    assert switches.wred_drops.rate[AT] + switches.tx_buffer_drops.rate[AT] == 250
    assert switches.queue_watermark_bytes[AT] == switches.queue_watermark_bytes.max() == 9e6


def test_watermarks_hold_for_two_minutes(factory: Factory) -> None:
    factory.faults.inject("congestion", "leaf-2/Ethernet0", START, 3)
    # 1,760,000,040 is a multiple of 120
    factory.advance(START + 39)
    assert factory.state.switches.queue_watermark_bytes[AT] == 9e6
    factory.advance(START + 40)
    assert factory.state.switches.queue_watermark_bytes[AT] < 1e6


def test_the_watchdog_counts_a_storm_once_at_each_end(factory: Factory) -> None:
    switches = play(factory, "pfc_storm", 10)
    assert bool(switches.stormed[AT])
    assert (switches.storms_detected.sum(), switches.storms_restored.sum()) == (1, 0)
    factory.faults.clear("pfc_storm", "leaf-2/Ethernet0")
    factory.advance(START + 20)
    assert not switches.stormed.any()
    assert (switches.storms_detected[AT], switches.storms_restored[AT]) == (1, 1)


def test_a_switch_that_reboots_is_silent_and_counts_from_zero(factory: Factory) -> None:
    factory.faults.inject("switch_reboot", "leaf-2", START + 5)
    factory.advance(START + 20)
    assert factory.silent == {"leaf-2"}
    factory.advance(START + 35)
    switches = factory.state.switches
    assert factory.silent == set()
    # 20 s from second 5: it last started at second 24
    assert switches.boot_time[1] == START + 24
    assert switches.rx_bytes.at(START + 35)[1, 0] < 12 * 5e10
    assert switches.rx_bytes.at(START + 35)[0, 0] > 1e14
    assert not switches.flaps[1].any()


def test_a_lost_supply_leaves_its_load_to_the_other_and_the_last_one_stays(factory: Factory) -> None:
    before = factory.state.switches.psu_watts[1].sum()
    switches = play(factory, "switch_psu_lost", 2, "leaf-2/PSU2")
    assert switches.psu_ok[1].tolist() == [True, False]
    assert switches.psu_watts[1, 1] == 0.0
    assert switches.psu_watts[1, 0] == pytest.approx(before, rel=0.1)
    play(factory, "switch_psu_lost", 2, "leaf-2/PSU1")
    assert factory.state.switches.psu_ok[1].tolist() == [True, False]


def test_only_liquid_cooled_switches_leak(factory: Factory) -> None:
    assert play(factory, "switch_leak", 2, "leaf-2").leak.tolist() == [0, 1]
    with pytest.raises(ValueError, match="unknown liquid-cooled switch for switch_leak: 'leaf-1'"):
        factory.faults.inject("switch_leak", "leaf-1", START)


def test_rates_are_held_until_they_are_released(factory: Factory) -> None:
    factory.hold_rates("leaf-2", "Ethernet0", rx_bytes=1.25e8, pfc_rx=3.0)
    factory.advance(START + 1)
    counters = factory.state.switches.rx_bytes
    first = counters.at(START + 1, AT)
    factory.advance(START + 61)
    assert counters.at(START + 61, AT) - first == pytest.approx(60 * 1.25e8)
    assert factory.state.switches.pfc_rx.rate[AT] == 3.0
    factory.release_rates("leaf-2")
    factory.advance(START + 62)
    assert counters.rate[AT] != 1.25e8


def test_a_held_rate_holds_one_counter_of_one_port(factory: Factory) -> None:
    factory.hold_rates("leaf-2", "Ethernet0", rx_discards=7.0, tx_discards=8.0, fec_corrected=9.0)
    factory.advance(START + 3)
    switches = factory.state.switches
    held = [each.rate[AT] for each in (switches.rx_discards, switches.tx_discards, switches.fec_corrected)]
    assert held == [7.0, 8.0, 9.0]
    assert switches.rx_buffer_drops.rate[AT] == switches.queue_drops.rate[AT] == 0.0
    factory.release_rates("leaf-2")
    factory.advance(START + 4)
    assert switches.fec_corrected.rate[AT] > 1_000


def test_fec_counts_on_after_a_reboot(factory: Factory) -> None:
    factory.faults.inject("switch_reboot", "leaf-2", START + 1)
    factory.advance(START + 22)
    rates = factory.state.switches.fec_bins.rate
    assert rates[1, 0].sum() == pytest.approx(CODEWORDS)


@pytest.mark.parametrize(
    ("switch", "port", "rates", "reason"),
    [
        ("leaf-9", "Ethernet0", {}, "no switch 'leaf-9': there are leaf-1, leaf-2"),
        ("leaf-1", "Ethernet1", {}, "no port 'Ethernet1' on leaf-1: there are Ethernet0 to Ethernet504"),
        ("leaf-1", "Ethernet0", {"octets": 1.0}, "no counter of a port: octets; there are ecn_marked"),
    ],
)
def test_rates_of_what_is_not_there_are_refused(
    factory: Factory, switch: str, port: str, rates: dict[str, float], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        factory.hold_rates(switch, port, **rates)


def test_restarts_touch_the_clocks_that_they_restart(factory: Factory) -> None:
    factory.advance(START + 10)
    switches = factory.state.switches
    boot, octets = switches.boot_time.copy(), switches.rx_bytes.base.copy()
    factory.restart_snmp("leaf-1")
    assert (switches.boot_time == boot).all()
    assert (switches.rx_bytes.base == octets).all()
    assert switches.snmp_start[0] == START + 10
    factory.reboot_switch("leaf-1")
    assert switches.boot_time.tolist() == [START + 10, boot[1]]
    assert not switches.rx_bytes.base[0].any()
    assert (switches.rx_bytes.base[1] == octets[1]).all()


@pytest.mark.parametrize("gpus", [64, 128, 256, 1_024, 10_240])
def test_the_packaged_script_of_the_fabric_fits_every_site(gpus: int) -> None:
    factory = Factory(build_layout(gpus), seed=1, start=START)
    load_script(find_script("fabric"), factory.faults, start=START, speed=1.0)
    faults = factory.faults.known
    ports = [fault.object for fault in faults if "/" in fault.object]
    assert len(ports) == len(set(ports)) == 6
    protocol = {switch.name: switch.protocol for switch in factory.layout.switches}
    kinds = {fault.kind: protocol[fault.object.partition("/")[0]] for fault in faults}
    assert (kinds["port_down"], kinds["port_flapping"], kinds["snmp_agent_dead"]) == ("snmp", "gnmi", "snmp")
    assert max(fault.end or 0 for fault in faults) <= START + 150


def test_words_for_ports_that_fit_nothing_are_told(factory: Factory, tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    for words, reason in (
        ("any quick port", "no port is left for 'any quick port' in a site of 64 GPUs; words: snmp gnmi"),
        ("any gnmi switch", "port_down takes a port, not 'any gnmi switch'"),
    ):
        path.write_text(f"- {{kind: port_down, object: {words}}}\n")
        with pytest.raises(ScriptError, match=reason):
            load_script(path, factory.faults, start=START, speed=1.0)
