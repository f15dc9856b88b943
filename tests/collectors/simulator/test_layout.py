"""The layout: what stands where, at every size."""

from itertools import groupby

import pytest

from collectors.simulator.layout import PORTS_PER_SWITCH, Layout, build_layout

SIZES = (8, 16, 24, 64, 128, 512, 520, 1024, 1032, 10_240)


@pytest.fixture(params=SIZES, scope="module")
def layout(request: pytest.FixtureRequest) -> Layout:
    return build_layout(request.param)


@pytest.mark.parametrize("gpus", [0, 4, 12, 10_248, -8])
def test_refuses_what_no_site_has(gpus: int) -> None:
    with pytest.raises(ValueError, match="multiple of 8 from 8 to 10240"):
        build_layout(gpus)


def test_every_gpu_stands_in_one_host_of_one_rack(layout: Layout) -> None:
    assert len(set(layout.gpu_uuids)) == layout.gpus
    hosts = [gpu for host in layout.hosts for gpu in range(host.gpu_start, host.gpu_start + host.gpu_count)]
    racks = [gpu for rack in layout.racks for gpu in range(rack.gpu_start, rack.gpu_start + rack.gpu_count)]
    assert hosts == racks == list(range(layout.gpus))
    assert [host.name for host in layout.hosts] == [name for rack in layout.racks for name in rack.hosts]


def test_rows_hold_at_most_14_racks_and_n_is_for_the_network(layout: Layout) -> None:
    rows = {row: len(list(racks)) for row, racks in groupby(layout.racks, key=lambda rack: rack.row)}
    assert max(rows.values()) <= 14
    assert (*rows, "N") == layout.rows
    assert "N" not in rows


def test_small_sites_make_a_floor() -> None:
    assert [rack.name for rack in build_layout(64).racks] == ["A01", "A02", "B01", "B02"]
    assert [rack.name for rack in build_layout(8).racks] == ["A01"]


def test_shelves_carry_the_rating_with_one_supply_to_spare(layout: Layout) -> None:
    for rack, shelf in zip(layout.racks, layout.shelves, strict=True):
        assert (len(shelf.units) - 1) * shelf.psu_rated_watts >= rack.rated_watts
        assert len(set(shelf.units)) == len(shelf.units)
        assert rack.rated_watts >= rack.gpu_count * 1_000.0


def test_cdus_share_all_racks_and_can_carry_them(layout: Layout) -> None:
    assert [name for cdu in layout.cdus for name in cdu.racks] == [rack.name for rack in layout.racks]
    assert len(layout.cdus) >= min(2, len(layout.racks))
    rated = {rack.name: rack.rated_watts for rack in layout.racks}
    for cdu in layout.cdus:
        assert sum(rated[name] for name in cdu.racks) <= cdu.rated_watts
        assert len(cdu.racks) <= 16


def test_no_port_has_two_hosts(layout: Layout) -> None:
    taken = [(host.switch, port) for host in layout.hosts for port in host.ports]
    assert len(set(taken)) == len(taken)
    assert all(host.ports and max(host.ports) < PORTS_PER_SWITCH for host in layout.hosts)
    assert {host.switch for host in layout.hosts} <= {switch.name for switch in layout.switches}


def test_switches_speak_both_protocols_and_both_versions() -> None:
    switches = build_layout(512).switches
    assert [switch.protocol for switch in switches] == ["snmp", "gnmi"] * 4
    assert [switch.snmp_version for switch in switches if switch.protocol == "snmp"] == ["2c", "3", "2c", "3"]


def test_first_host_serves_and_is_read_over_nvml(layout: Layout) -> None:
    first, *others = layout.hosts
    assert (first.gpu_source, first.workload) == ("nvml", "inference")
    assert "nvml" not in {host.gpu_source for host in others}


def test_some_serving_hosts_have_gpus_of_amd_from_64_gpus_on(layout: Layout) -> None:
    amd = [host for host in layout.hosts if host.gpu_source == "amd"]
    serving = sum(host.workload == "inference" for host in layout.hosts)
    # the second serving host, and every 24th after it
    assert len(amd) == (0 if layout.gpus < 64 else (serving - 2) // 24 + 1)
    assert {host.workload for host in amd} <= {"inference"}
    assert {host.gpu_model for host in amd} <= {"AMD Instinct MI355X"}
    for host in layout.hosts:
        uuids = layout.gpu_uuids[host.gpu_start : host.gpu_start + host.gpu_count]
        assert {uuid.startswith("GPU-") for uuid in uuids} == {host.gpu_source != "amd"}


def test_reasoning_is_served_by_sglang_and_the_rest_by_vllm(layout: Layout) -> None:
    assert {(d.name == "reasoning", d.server) for d in layout.deployments} <= {(True, "sglang"), (False, "vllm")}
    for host in layout.hosts:
        if host.deployment:
            server = "sglang" if host.deployment == "reasoning" else "vllm"
            assert layout.server_of(host) == f"{server}-{host.name}"


def test_engines_are_numbered_in_the_order_of_serving_hosts(layout: Layout) -> None:
    serving = [host for host in layout.hosts if host.workload == "inference"]
    assert [host.engine for host in serving] == list(range(len(serving)))
    assert sorted(name for d in layout.deployments for name in d.hosts) == sorted(host.name for host in serving)
    assert all(host.engine is None and not host.deployment for host in layout.hosts if host not in serving)


def test_shares_of_a_large_site() -> None:
    workloads = [host.workload for host in build_layout(10_240).hosts]
    assert workloads.count("inference") == 960
    assert workloads.count("training") == 192
    assert workloads.count("none") == 128


def test_same_seed_gives_the_same_site() -> None:
    assert build_layout(64, seed=3) == build_layout(64, seed=3)
    assert build_layout(64, seed=3).gpu_uuids != build_layout(64, seed=4).gpu_uuids


def test_the_second_and_the_fourth_of_four_racks_have_hvdc_buses_from_four_racks_on(layout: Layout) -> None:
    buses = [shelf.bus for shelf in layout.shelves]
    if len(buses) < 4:
        assert set(buses) == {"hpr"}
        return
    assert buses == [("hpr", "hvdc_400", "hpr", "hvdc_800")[index % 4] for index in range(len(buses))]
    for shelf in layout.shelves:
        assert {unit in range(11, 59) for unit in shelf.units} == {shelf.bus != "hpr"}


def test_both_feeds_have_a_meter_that_is_rated_for_both_loads(layout: Layout) -> None:
    assert [(meter.name, meter.scope) for meter in layout.meters] == [
        ("meter-main", "facility"),
        ("meter-it", "it"),
        ("feed-a", ""),
        ("feed-b", ""),
    ]
    full = 10_300 * len(layout.hosts) + 1_000 * len(layout.switches)
    assert [meter.rated_watts for meter in layout.meters[2:]] == pytest.approx([full / 0.97] * 2, abs=51)


@pytest.mark.parametrize(("gpus", "seconds"), [(64, 2.0), (1_024, 2.0), (1_032, 10.0)])
def test_shelves_are_read_every_other_second_up_to_1024_gpus(gpus: int, seconds: float) -> None:
    assert build_layout(gpus).plant_seconds == seconds
