"""Events and profiling of the simulated NVML, through the real binding in a process of its own."""

from pathlib import Path

import pynvml
import pytest
from nvml_scenario import Binding, binding, nvml_host, say

from collectors.simulator import nvml as simulator
from collectors.simulator.factory import Factory
from collectors.simulator.layout import build_layout
from collectors.simulator.nvml_python import STATE

XID, ALL = pynvml.nvmlEventTypeXidCriticalError, "n.nvmlDeviceGetSupportedEventTypes(h[0])"
TIMEOUT = "error 10"


def test_xid_is_delivered_once_to_each_set(host: Path, ask: Binding) -> None:
    ask("keep('one', listen(8, *h))")
    ask("keep('other', listen(8, *h))")
    assert ask("wait(one)") == TIMEOUT
    say(host, "2 xid 94")
    uuid = ask("n.nvmlDeviceGetUUID(h[2])")
    assert ask("wait(one)") == [uuid, XID, 94]
    assert ask("wait(one)") == TIMEOUT
    assert ask("wait(other)") == [uuid, XID, 94]
    say(host, "2 xid 94", "2 util 3")  # the same, said again
    assert ask("[wait(one)]") == TIMEOUT
    say(host, "2 xid 13")
    assert ask("wait(one)") == [uuid, XID, 13]
    say(host, "2 xid 0")
    assert ask("wait(one)") == TIMEOUT


def test_xids_of_two_boards_come_one_after_the_other(host: Path, ask: Binding) -> None:
    ask("keep('all', listen(8, *h))")
    say(host, "-1 xid 48", "3 xid 63")
    got = ask("[wait(all)[2] for _ in h]")
    assert got == [48, 48, 48, 63, 48, 48, 48, 48]
    assert ask("wait(all)") == TIMEOUT


def test_xid_from_before_the_registration_is_old(host: Path, ask: Binding) -> None:
    say(host, "0 xid 31")
    ask("keep('late', listen(8, *h))")
    assert ask("wait(late)") == TIMEOUT


def test_wait_blocks_until_the_event_comes(host: Path, ask: Binding) -> None:
    ask("keep('all', listen(8, *h))")
    ask.begin("wait(all, 60000)")
    say(host, "1 xid 45")
    assert ask.end()[1:] == [XID, 45]


def test_wait_takes_as_long_as_it_is_told(host: Path, ask: Binding) -> None:
    ask("keep('all', listen(8, *h))")
    wait = "n.nvmlLib.nvmlEventSetWait_v2(all, ctypes.byref(n.c_nvmlEventData_t()), 120)"
    before, answer, after = ask(f"[time.monotonic(), {wait}, time.monotonic()]")
    assert answer == pynvml.NVML_ERROR_TIMEOUT
    assert after - before >= 0.12


def test_xid_79_and_then_the_board_is_lost(host: Path, ask: Binding) -> None:
    ask("keep('all', listen(8, *h))")
    say(host, "4 xid 79", "4 error 15")
    assert ask("wait(all)") == [None, XID, 79]  # the event still comes, the board no longer answers
    assert ask("n.nvmlDeviceGetPowerUsage(h[4])") == "error 15"
    assert ask("n.nvmlDeviceGetPowerUsage(h[3]) > 0") is True


def test_only_the_types_and_boards_that_were_registered_come(host: Path, ask: Binding) -> None:
    ask(f"keep('some', listen({pynvml.nvmlEventTypeDoubleBitEccError}, h[0], h[1]))")
    say(host, "0 xid 79", "2 event 2", "1 event 1")
    assert ask("wait(some)") == TIMEOUT
    say(host, "1 event 2")
    assert ask("wait(some)")[1:] == [2, 0]


def test_recovery_action_comes_with_the_action(host: Path, ask: Binding) -> None:
    ask(f"keep('all', listen({ALL}, *h))")
    say(host, f"0 event {pynvml.nvmlEventTypeGpuRecoveryAction}", "0 recovery 1")
    assert ask("wait(all)")[1:] == [pynvml.nvmlEventTypeGpuRecoveryAction, 1]


def test_event_types_that_do_not_exist_are_refused(host: Path, ask: Binding) -> None:
    assert ask(ALL) == pynvml.nvmlEventTypeAll
    assert ask("listen(1 << 40, h[0])") == "error 3"
    say(host, "0 nvmlDeviceRegisterEvents 4")
    assert ask("listen(8, h[0])") == "error 4"
    say(host, "-1 nvmlEventSetWait_v2 999")
    assert ask("wait(listen(8, h[0]))") == "error 999"


def test_free_and_shutdown_end_the_listening(host: Path, ask: Binding) -> None:
    assert ask("n.nvmlEventSetFree(listen(8, *h))") is None
    ask("keep('all', listen(8, *h))")
    assert ask("[n.nvmlShutdown()]") == [None]
    assert ask("wait(all)") == "error 1"
    assert ask("listen(8)") == "error 1"


def write_state(directory: Path, factory: Factory) -> None:
    host = factory.layout.hosts[0]
    columns = simulator.read_columns(factory, host)
    simulator.replace_file(directory / STATE, simulator.encode_state(factory, host, columns))


def test_lost_board_of_the_factory_tells_xid_79(tmp_path: Path) -> None:
    library = nvml_host(tmp_path)
    factory = Factory(build_layout(16), seed=1, start=1_760_000_000.0)
    write_state(tmp_path, factory)
    with binding(library) as ask:
        ask("keep('all', listen(8, *h))")
        factory.faults.inject("gpu_lost", factory.layout.gpu_uuids[1], 1_760_000_000.0)
        factory.advance(1_760_000_001.0)
        write_state(tmp_path, factory)
        assert ask("wait(all)") == [None, XID, 79]
        assert ask("wait(all)") == TIMEOUT
        assert ask("n.nvmlDeviceGetHandleByIndex(1)") == "error 15"


def test_profiling_of_the_factory(tmp_path: Path) -> None:
    factory = Factory(build_layout(16), seed=1, start=1_760_000_000.0)
    factory.advance(1_760_000_060.0)
    library = nvml_host(tmp_path)
    write_state(tmp_path, factory)
    gpus = factory.state.gpus
    ratios = (gpus.sm_active_ratio, gpus.sm_occupancy_ratio, gpus.tensor_active_ratio, gpus.dram_active_ratio)
    assert all(ratio[0] > 0 for ratio in ratios)
    with binding(library) as ask:
        assert ask("gpm(h[0], 2, 3, 5, 10)") == pytest.approx([ratio[0] * 100 for ratio in ratios])


def test_profiling_support_and_what_a_board_lacks(host: Path, ask: Binding) -> None:
    say(host, "0 no_gpm 1")
    assert ask("[n.nvmlGpmQueryDeviceSupport(b).isSupportedDevice for b in h[:2]]") == [0, 1]
    assert ask("gpm(h[0], 2)") == "error 3"
    assert ask("gpm(h[1], 20, 11)") == [3, 3]  # nobody counts bytes over PCIe here, nor FP64: NotSupported


def test_profiling_rates_are_the_growth_between_the_samples(host: Path, ask: Binding) -> None:
    say(host, "0 nvlink_tx 0", "0 nvlink_rx 0", "0 pcie_tx 0", "0 pcie_rx 0")
    take = "[time.time(), keep('{}', n.nvmlGpmSampleGet(h[0], n.nvmlGpmSampleAlloc())), time.time()]"
    first_before, _, first_after = ask(take.format("first"))
    mib = 2**20
    say(host, f"0 nvlink_tx {10 * mib}", f"0 nvlink_rx {20 * mib}", f"0 pcie_tx {30 * mib}", f"0 pcie_rx {40 * mib}")
    last_before, _, last_after = ask(take.format("last"))
    ask("keep('got', n.c_nvmlGpmMetricsGet_t(version=1, numMetrics=4, sample1=first, sample2=last))")
    ask("[setattr(got.metrics[place], 'metricId', metric) for place, metric in enumerate((61, 60, 20, 21))]")
    rates = ask("[n.nvmlGpmMetricsGet(got).metrics[place].value for place in range(4)]")
    assert 10 / (last_after - first_before) <= rates[0] <= 10 / (last_before - first_after)
    assert rates == pytest.approx([rates[0], 2 * rates[0], 3 * rates[0], 4 * rates[0]])
    assert ask("[m.metricInfo.unit.decode() for m in got.metrics[:4]]") == ["MiB/s"] * 4


def test_samples_that_do_not_belong_together_are_refused(host: Path, ask: Binding) -> None:
    ask("keep('a', n.nvmlGpmSampleGet(h[0], n.nvmlGpmSampleAlloc()))")
    ask("keep('b', n.nvmlGpmSampleGet(h[1], n.nvmlGpmSampleAlloc()))")
    made = "n.nvmlGpmMetricsGet(n.c_nvmlGpmMetricsGet_t(version={}, numMetrics=1, sample1={}, sample2={}))"
    assert ask(made.format(1, "a", "b")) == "error 2"  # two boards
    assert ask(made.format(1, "a", "a")) == "error 2"  # no time between
    assert ask(made.format(1, "a", "n.nvmlGpmSampleAlloc()")) == "error 2"  # never taken
    assert ask(made.format(2, "a", "b")) == "error 25"


def test_library_takes_no_lock_or_file_of_its_own_without_a_scenario(host: Path, ask: Binding) -> None:
    ask("[n.nvmlDeviceGetTotalEnergyConsumption(b) for b in h]")
    assert sorted(path.name for path in host.iterdir()) == ["libnvidia-ml.so.1", "nvml.state"]
