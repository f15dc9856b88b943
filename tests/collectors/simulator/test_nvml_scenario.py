"""What the simulated NVML shows under each scenario, through the real binding in a process of its own.

The boards are those of a factory that stands still; what a scenario says is over it (docs/contracts.md, section 5).
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pynvml
import pytest
from nvml_scenario import Binding, binding, forbidden_calls, say

POWER_BRAKE = pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown
HW_THERMAL = pynvml.nvmlClocksEventReasonHwThermalSlowdown
XID = pynvml.nvmlEventTypeXidCriticalError
LOST, NOT_SUPPORTED, TIMEOUT = "error 15", "error 3", "error 10"


def test_busy(host: Path, ask: Binding) -> None:
    say(host, "0 power 690000", "0 util 98", "0 memutil 60", "0 memused 150000000000", "0 nproc 2", "0 pid 4000",
        "0 sm_util 91.5", "0 sm_occ 40", "0 tensor_util 33.25", "0 dram_util 70", "0 sm_clock 1980")  # fmt: skip
    assert ask("n.nvmlDeviceGetPowerUsage(h[0])") == 690000
    assert ask("fields(h[0], 185, 186, (186, 0))") == [690000, 690000, 690000]
    assert ask("(lambda u: [u.gpu, u.memory])(n.nvmlDeviceGetUtilizationRates(h[0]))") == [98, 60]
    assert ask("n.nvmlDeviceGetMemoryInfo(h[0], version=n.nvmlMemory_v2).used") == 150000000000
    ask("keep('memory', n.nvmlDeviceGetMemoryInfo(h[0], version=n.nvmlMemory_v2))")
    assert ask("memory.total - memory.reserved - memory.free") == 150000000000
    processes = "[[p.pid, p.usedGpuMemory] for p in n.nvmlDeviceGetComputeRunningProcesses(h[0])]"
    assert ask(processes) == [[4000, 75000000000], [4001, 75000000000]]
    shares = "[[p.pid, p.smUtil, p.memUtil] for p in n.nvmlDeviceGetProcessUtilization(h[0], 0)]"
    assert ask(shares) == [[4000, 49, 30], [4001, 49, 30]]
    assert ask("n.nvmlDeviceGetClockInfo(h[0], n.NVML_CLOCK_SM)") == 1980
    assert ask("gpm(h[0], 2, 3, 5, 10)") == [91.5, 40.0, 33.25, 70.0]


def test_bare_idle(host: Path, ask: Binding) -> None:
    say(host, "-1 power 75000", "-1 util 0", "-1 nproc 0", "-1 memused 0", "-1 sm_clock 345", "-1 reasons 1")
    assert ask("[n.nvmlDeviceGetPowerUsage(b) for b in h]") == [75000] * 8
    assert ask("[n.nvmlDeviceGetUtilizationRates(b).gpu for b in h]") == [0] * 8
    assert ask("n.nvmlDeviceGetComputeRunningProcesses(h[7])") == []
    assert ask("n.nvmlDeviceGetClockInfo(h[7], n.NVML_CLOCK_SM)") == 345
    assert ask("n.nvmlDeviceGetCurrentClocksEventReasons(h[7])") == pynvml.nvmlClocksEventReasonGpuIdle
    assert ask("n.nvmlDeviceGetProcessUtilization(h[7], 0)") == "error 0"  # the binding's own: nothing is an error


def test_parked_with_a_context_held(host: Path, ask: Binding) -> None:
    say(host, "3 power 120000", "3 util 0", "3 nproc 1", "3 pid 77", "3 memused 60000000000", "3 sm_clock 1980")
    assert ask("n.nvmlDeviceGetUtilizationRates(h[3]).gpu") == 0
    processes = "[[p.pid, p.usedGpuMemory] for p in n.nvmlDeviceGetComputeRunningProcesses(h[3])]"
    assert ask(processes) == [[77, 60000000000]]
    assert ask("n.nvmlDeviceGetClockInfo(h[3], n.NVML_CLOCK_SM)") == 1980


def test_ghost_utilisation(host: Path, ask: Binding) -> None:
    say(host, "2 util 100", "2 power 100000", "2 nproc 0", "2 memused 0", "2 sm_util 0")
    assert ask("n.nvmlDeviceGetUtilizationRates(h[2]).gpu") == 100
    assert ask("n.nvmlDeviceGetComputeRunningProcesses(h[2])") == []
    assert ask("n.nvmlDeviceGetPowerUsage(h[2])") == 100000
    assert ask("gpm(h[2], 2)") == [0.0]


def test_stuck_at_full_utilisation_with_low_power(host: Path, ask: Binding) -> None:
    say(host, "1 util 100", "1 power 180000", "1 nproc 1", "1 sm_util 100", "1 tensor_util 0", "1 dram_util 1")
    assert ask("n.nvmlDeviceGetUtilizationRates(h[1]).gpu") == 100
    assert ask("n.nvmlDeviceGetPowerUsage(h[1])") == 180000
    assert ask("gpm(h[1], 2, 5, 10)") == [100.0, 0.0, 1.0]


def test_thermal_throttle(host: Path, ask: Binding) -> None:
    say(host, f"0 reasons {HW_THERMAL}", "0 temp 88", "0 memtemp 97", "0 margin -1", "0 sm_clock 1200",
        "0 viol_thermal 5000000000", "0 viol_sw_thermal 2000000000", "0 viol_hw_thermal 3000000000")  # fmt: skip
    assert ask("n.nvmlDeviceGetCurrentClocksEventReasons(h[0])") == HW_THERMAL
    assert ask("n.nvmlDeviceGetCurrentClocksThrottleReasons(h[0])") == HW_THERMAL
    assert ask("fields(h[0], 75, 269, 270, 82)") == [5000000000, 2000000000, 3000000000, 97]
    assert ask("[n.nvmlDeviceGetTemperature(h[0], 0), n.nvmlDeviceGetTemperatureV(h[0], 0)]") == [88, 88]
    assert ask("n.nvmlDeviceGetMarginTemperature(h[0])") == -1
    assert ask("fields(h[0], 193, 194, 195, 196)") == [-8, -2, 0, 0]


def test_margin_follows_the_temperature(host: Path, ask: Binding) -> None:
    say(host, "0 temp 80")
    assert ask("n.nvmlDeviceGetMarginTemperature(h[0])") == 87 - 80  # the board slows down at 87 degC


def test_power_brake(host: Path, ask: Binding) -> None:
    say(host, f"0 reasons {POWER_BRAKE}", "0 viol_brake 7000000000", "0 viol_power 1", "0 viol_sync 2",
        "0 viol_board 3", "0 viol_low 4", "0 viol_reliability 5")  # fmt: skip
    assert ask("n.nvmlDeviceGetCurrentClocksEventReasons(h[0])") == POWER_BRAKE
    assert ask("fields(h[0], 74, 76, 77, 78, 79, 271)") == [1, 2, 3, 4, 5, 7000000000]
    assert ask("fields(h[1], 269, 270, 271)") == [None] * 3  # the factory does not tell these apart


def test_power_by_scope_and_limits(host: Path, ask: Binding) -> None:
    say(host, "0 power 500000", "0 power_average 480000", "0 power_memory 90000", "0 power_base 400000",
        "0 power_limit 650000", "0 power_min 200000", "0 power_max 700000", "0 power_default 690000",
        "0 power_requested 655000")  # fmt: skip
    assert ask("fields(h[0], (186, 0), (186, 1), (186, 2), (186, 3))") == [500000, None, 90000, 400000]
    assert ask("fields(h[0], 185)") == [480000]
    assert ask("fields(h[0], 187, 188, 189, 190, 192)") == [200000, 700000, 690000, 650000, 655000]
    assert ask("n.nvmlDeviceGetEnforcedPowerLimit(h[0])") == 650000


def test_module_power_of_a_superchip(host: Path, ask: Binding) -> None:
    say(host, "0 power 600000", "0 module_power 900000", "0 module_id 3", "1 module_power 900000", "1 module_id 3")
    assert ask("fields(h[0], (186, 1), (185, 1), (186, 0))") == [900000, 900000, 600000]
    assert ask("n.nvmlDeviceGetC2cModeInfoV(h[0]).isC2cEnabled") == 1
    assert ask("[n.nvmlDeviceGetModuleId(b) for b in h[:4]]") == [3, 3, 3, 4]
    assert ask("n.nvmlDeviceGetC2cModeInfoV(h[2])") == NOT_SUPPORTED
    assert ask("fields(h[2], (186, 1))") == [None]


def test_energy_not_supported(host: Path, ask: Binding) -> None:
    say(host, "0 no_energy 1")
    assert ask("n.nvmlDeviceGetTotalEnergyConsumption(h[0])") == NOT_SUPPORTED
    assert ask("fields(h[0], 83, 191)") == [None, None]
    assert ask("n.nvmlDeviceGetTotalEnergyConsumption(h[1])") > 0


def test_energy_as_said_stands_still(host: Path, ask: Binding) -> None:
    say(host, "0 energy 123456789", "0 power 700000")
    assert ask("n.nvmlDeviceGetTotalEnergyConsumption(h[0])") == 123456789
    assert ask("fields(h[0], 83, 191)") == [123456789, 123456789]


def test_energy_grows_with_the_power_from_the_scenario_on(host: Path, ask: Binding) -> None:
    # 1 MW is 1e9 mJ per second; each reading lies between two of the same clock.
    say(host, "0 energy_base 5000", "0 power 1e9")
    timed = "[time.time(), n.nvmlDeviceGetTotalEnergyConsumption(h[0]), time.time()]"
    first_before, first, first_after = ask(timed)
    last_before, last, last_after = ask(timed)
    assert 5000 <= first <= 5000 + (first_after - (host / "nvml.scenario").stat().st_mtime) * 1e9 + 1000
    assert (last_before - first_after) * 1e9 - 1000 <= last - first <= (last_after - first_before) * 1e9 + 1000


def test_energy_goes_on_when_the_scenario_changes_and_in_another_process(host: Path, ask: Binding) -> None:
    energy = "n.nvmlDeviceGetTotalEnergyConsumption(h[0])"
    seen = [ask(energy)]
    for line in ("0 power 1e9", "0 power 10", "0 util 5", "0 power 2e9"):
        say(host, line)
        seen.append(ask(energy))
    (host / "nvml.scenario").unlink()
    seen.append(ask(energy))
    with binding(host / "libnvidia-ml.so.1") as other:
        seen.append(other(energy))
    assert seen == sorted(seen)
    assert seen[-1] == ask(energy)  # without a scenario the factory counts, and it stands still


def test_energy_reset_as_by_a_driver_reload(host: Path, ask: Binding) -> None:
    energy = "n.nvmlDeviceGetTotalEnergyConsumption(h[0])"
    before = ask(energy)
    say(host, "0 energy_base 1000")
    after = ask(energy)
    assert 1000 <= after < before
    say(host, "0 energy_base 1000", "0 util 7")  # said again, it is no second reset
    assert ask(energy) == after
    say(host, "0 energy_base 2000")
    assert ask(energy) == 2000


def test_mig(host: Path, ask: Binding) -> None:
    say(host, "0 mig 3", "0 memused 90000000000", "0 nproc 4", "0 pid 50", "0 sm_util 60")
    assert ask("[n.nvmlDeviceGetMigMode(h[0]), n.nvmlDeviceGetMigMode(h[1])]") == [[1, 1], [0, 0]]
    assert ask("n.nvmlDeviceGetMaxMigDeviceCount(h[0])") == 7
    assert ask("keep('m', [n.nvmlDeviceGetMigDeviceHandleByIndex(h[0], i) for i in range(3)])") is None
    assert ask("n.nvmlDeviceGetMigDeviceHandleByIndex(h[0], 3)") == "error 6"
    assert ask("n.nvmlDeviceGetMigDeviceHandleByIndex(h[1], 0)") == "error 6"
    uuids = ask("[n.nvmlDeviceGetUUID(b) for b in m]")
    assert len(set(uuids)) == 3
    assert {uuid[:4] for uuid in uuids} == {"MIG-"}
    assert ask(f"n.nvmlDeviceGetGpuInstanceId(n.nvmlDeviceGetHandleByUUID({uuids[1]!r}))") == 2
    ids = "[[n.nvmlDeviceGetGpuInstanceId(b), n.nvmlDeviceGetComputeInstanceId(b)] for b in m]"
    assert ask(ids) == [[1, 0], [2, 0], [3, 0]]
    parent = "n.nvmlDeviceGetUUID(n.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(m[2])) == n.nvmlDeviceGetUUID(h[0])"
    assert ask(parent) is True
    assert ask("[n.nvmlDeviceIsMigDeviceHandle(b).value for b in (m[0], h[0])]") == [1, 0]
    # total 192 GB: a third of 179 GiB and two of seven slices
    assert ask("n.nvmlDeviceGetName(m[0])").endswith(" MIG 2g.60gb")


def test_mig_instance_has_memory_and_processes_and_nothing_electric(host: Path, ask: Binding) -> None:
    say(host, "0 mig 3", "0 memused 90000000000", "0 nproc 4", "0 pid 50", "0 sm_util 60")
    ask("keep('m', [n.nvmlDeviceGetMigDeviceHandleByIndex(h[0], i) for i in range(3)])")
    assert ask("[n.nvmlDeviceGetMemoryInfo(b, version=n.nvmlMemory_v2).used for b in m]") == [30000000000] * 3
    total = "n.nvmlDeviceGetMemoryInfo({}, version=n.nvmlMemory_v2).total"
    assert ask(total.format("m[1]")) == ask(total.format("h[0]")) // 3
    processes = "[[p.pid, p.gpuInstanceId, p.computeInstanceId] for p in n.nvmlDeviceGetComputeRunningProcesses({})]"
    assert ask(processes.format("h[0]")) == [[50, 1, 0], [51, 2, 0], [52, 3, 0], [53, 1, 0]]
    assert ask(processes.format("m[0]")) == [[50, 1, 0], [53, 1, 0]]
    for call in ("PowerUsage", "TotalEnergyConsumption", "UtilizationRates"):
        assert ask(f"n.nvmlDeviceGet{call}(m[0])") == NOT_SUPPORTED
    assert ask("n.nvmlDeviceGetUtilizationRates(h[0])") == NOT_SUPPORTED
    assert ask("n.nvmlDeviceGetProcessUtilization(h[0], 0)") == NOT_SUPPORTED
    assert ask("n.nvmlDeviceGetPowerUsage(h[0]) > 0") is True
    assert ask("gpm(h[0], 2, instance=2)") == [60.0]
    assert ask("gpm(h[0], 2, instance=4)") == "error 6"
    assert ask("gpm(h[1], 2, instance=1)") == NOT_SUPPORTED


def test_mig_layout_changes_under_an_open_handle(host: Path, ask: Binding) -> None:
    say(host, "0 mig 7")
    ask("keep('last', n.nvmlDeviceGetMigDeviceHandleByIndex(h[0], 6))")
    assert ask("n.nvmlDeviceGetGpuInstanceId(last)") == 7
    say(host, "0 mig 2")
    assert ask("n.nvmlDeviceGetGpuInstanceId(last)") == "error 2"


def test_nvlink_down_of_generation_4(host: Path, ask: Binding) -> None:
    say(host, "0 nvlink_down 2", f"0 nvlink_tx {18 * 2**20}", "0 nvlink_rx 1048576", "0 nvlink_errors 5",
        "0 nvlink_recovery 3")  # fmt: skip
    assert ask("[n.nvmlDeviceGetNvLinkState(h[0], i) for i in range(18)]") == [1] * 16 + [0] * 2
    assert ask("fields(h[0], *((165, i) for i in range(18)))") == [1] * 16 + [0] * 2
    assert ask("fields(h[0], (164, 0), (164, 17), (165, 18))") == [26562, 0, None]
    assert ask("fields(h[0], (138, 0xFFFFFFFF), (139, 0xFFFFFFFF))") == [18432, 1024]  # KiB
    assert ask("fields(h[0], (138, 4), (138, 18))") == [1024, None]
    assert ask("fields(h[0], 38, 45, 52, 59, 160, (162, 0), (162, 1))") == [0, 5, 0, 3, 0, 3, 0]
    assert ask("fields(h[0], (202, 0), (208, 0), (215, 0))") == [None] * 3


def test_nvlink_of_generation_5_counts_bytes_per_link(host: Path, ask: Binding) -> None:
    say(host, "0 nvlink_gen 5", "0 nvlink_tx 1000007", "0 nvlink_rx 18", "0 nvlink_errors 4", "0 nvlink_recovery 6")
    sent = ask("fields(h[0], *((202, i) for i in range(18)))")
    assert sum(sent) == 1000007
    assert sent[1:] == [55555] * 17  # 1000007 = 18 * 55555 + 17, which the first link has
    assert ask("fields(h[0], *((204, i) for i in range(18)))") == [1] * 18
    assert ask("fields(h[0], (202, 0xFFFFFFFF), (138, 0xFFFFFFFF), 38, 59)") == [None] * 4
    errors = "[sum(fields(h[0], *((f, i) for i in range(18)))) for f in (*range(206, 213), 219, 221)]"
    assert ask(errors) == [0, 0, 4, 0, 0, 0, 0, 0, 0]
    assert ask("[sum(fields(h[0], *((f, i) for i in range(18)))) for f in (213, 214, 215)]") == [6, 0, 6]
    assert ask("fields(h[0], (164, 0), (235, 0))") == [53125, 0]


def test_health(host: Path, ask: Binding) -> None:
    say(host, "0 ecc_sbe 4", "0 ecc_dbe 2", "0 remap_cor 1", "0 remap_unc 3", "0 remap_pending 1",
        "0 remap_failure 1", "0 recovery 2", "0 replay 9", "0 pcie_gen 3", "0 pcie_width 8", "0 pcie_tx 7000000000",
        "0 pcie_rx 5")  # fmt: skip
    assert ask("[n.nvmlDeviceGetTotalEccErrors(h[0], t, p) for t in (0, 1) for p in (0, 1)]") == [4, 4, 2, 2]
    assert ask("n.nvmlDeviceGetRemappedRows(h[0])") == [1, 3, 1, 1]
    assert ask("fields(h[0], 142, 143, 144, 145, 230, 94)") == [1, 3, 1, 1, 2, 9]
    assert ask("n.nvmlDeviceGetPcieReplayCounter(h[0])") == 9
    assert ask("[n.nvmlDeviceGetCurrPcieLinkGeneration(h[0]), n.nvmlDeviceGetCurrPcieLinkWidth(h[0])]") == [3, 8]
    assert ask("fields(h[0], 197, 198, 173)") == [7000000000, 5, 0]
    assert ask("fields(h[1], 197, 230)") == [None, 0]  # the factory counts no bytes over PCIe


def test_platform(host: Path, ask: Binding) -> None:
    say(host, "0 platform 1", "0 slot 24", "0 tray 14", "0 module_id 2", "0 chassis 1820325191234", "0 host_id 1")
    platform = ask("structure(n.c_nvmlPlatformInfo_v2_t, n.nvmlDeviceGetPlatformInfo, h[0])")
    assert platform["chassisSerialNumber"] == "1820325191234"
    assert [ord(platform[name]) for name in ("slotNumber", "trayIndex", "hostId", "moduleId")] == [24, 14, 1, 2]
    assert platform["ibGuid"]
    assert ask("structure(n.c_nvmlPlatformInfo_v2_t, n.nvmlDeviceGetPlatformInfo, h[1])") == NOT_SUPPORTED
    assert ask("structure(n.c_nvmlPlatformInfo_v1_t, n.nvmlDeviceGetPlatformInfo, h[0])") == "error 25"


@pytest.mark.parametrize(
    ("mask", "summary"),
    [("", 1), ("0 fabric_mask 0", 1), (f"0 fabric_mask {0x1A9}", 2), (f"0 fabric_mask {0x4AA}", 2)],
    ids=["healthy", "not supported", "degraded bandwidth", "no partition"],
)
def test_fabric(host: Path, ask: Binding, mask: str, summary: int) -> None:
    say(host, "0 fabric_state 3", "0 clique 5", mask)
    fabric = ask("structure(n.c_nvmlGpuFabricInfo_v3_t, n.nvmlDeviceGetGpuFabricInfoV, h[0])")
    assert [fabric[name] for name in ("state", "status", "cliqueId", "healthSummary")] == [3, 0, 5, summary]
    assert len(set(fabric["clusterUuid"])) > 1
    older = ask("structure(n.c_nvmlGpuFabricInfo_v2_t, n.nvmlDeviceGetGpuFabricInfoV, h[0])")
    assert older["healthMask"] == fabric["healthMask"]
    assert ask("structure(n.c_nvmlGpuFabricInfo_v3_t, n.nvmlDeviceGetGpuFabricInfoV, h[1])") == NOT_SUPPORTED


def test_hot_added_and_vanished_board(host: Path, ask: Binding) -> None:
    say(host, "-1 count 4")
    assert ask("n.nvmlDeviceGetCount()") == 4
    assert ask("n.nvmlDeviceGetHandleByIndex(4)") == "error 2"
    assert ask("n.nvmlDeviceGetPowerUsage(h[4])") == LOST  # a handle from before
    say(host, "-1 count 5")
    assert ask("n.nvmlDeviceGetCount()") == 5
    assert ask("n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByIndex(4))") == 4
    assert ask("n.nvmlDeviceGetPowerUsage(h[4]) > 0") is True
    say(host, "-1 count 99")
    assert ask("n.nvmlDeviceGetCount()") == 8


def test_all_eight_boards_are_told_where_one_is_allocated(host: Path, ask: Binding) -> None:
    say(host, "-1 nproc 0", "-1 memused 0", "-1 util 0", "5 nproc 1", "5 memused 1000", "5 util 90")
    assert ask("len({n.nvmlDeviceGetUUID(b) for b in h})") == 8
    assert ask("[len(n.nvmlDeviceGetComputeRunningProcesses(b)) for b in h]") == [0, 0, 0, 0, 0, 1, 0, 0]
    assert ask("[n.nvmlDeviceGetUtilizationRates(b).gpu for b in h]") == [0, 0, 0, 0, 0, 90, 0, 0]


def test_errors_are_injected_per_board_call_lookup_and_init(host: Path, ask: Binding) -> None:
    say(host, "1 error 15", "2 handle_error 17", "3 nvmlDeviceGetPowerUsage 4", "-1 nvmlDeviceGetCount_v2 999")
    assert ask("n.nvmlDeviceGetTemperature(h[1], 0)") == LOST
    assert ask("fields(h[1], 186)") == LOST
    assert ask("n.nvmlDeviceGetHandleByIndex(2)") == "error 17"
    assert ask("n.nvmlDeviceGetPowerUsage(h[2]) > 0") is True
    assert ask("n.nvmlDeviceGetPowerUsage(h[3])") == "error 4"
    assert ask("n.nvmlDeviceGetTemperature(h[3], 0) > 0") is True
    assert ask("n.nvmlDeviceGetCount()") == "error 999"
    say(host, "-1 init_error 18")
    assert ask("n.nvmlInit()") == "error 18"
    say(host)
    assert ask("[n.nvmlDeviceGetCount(), n.nvmlInit()]") == [8, None]
    assert ask("[n.nvmlShutdown(), n.nvmlShutdown()]") == [None, None]
    assert ask("n.nvmlDeviceGetPowerUsage(h[0])") == "error 1"


def test_calls_block_while_the_driver_hangs(host: Path, ask: Binding) -> None:
    say(host, "-1 hang 1", "0 power 1000")
    ask.begin("n.nvmlDeviceGetPowerUsage(h[0])")
    say(host, "0 power 2000")
    assert ask.end() == 2000 or ask("n.nvmlDeviceGetPowerUsage(h[0])") == 2000


def test_last_line_that_matches_wins_and_comments_are_left_out(host: Path, ask: Binding) -> None:
    say(host, "# all of them", "-1 power 1000", "0 power 2000  # this one", "", "1 power 3000", "1 power 4000")
    assert ask("[n.nvmlDeviceGetPowerUsage(b) for b in h[:3]]") == [2000, 4000, 1000]


def test_driver_is_exchanged(host: Path, ask: Binding) -> None:
    assert ask("n.nvmlSystemGetDriverVersion()") == "580.95.05"
    say(host, "-1 driver 590.48")
    assert ask("n.nvmlSystemGetDriverVersion()") == "590.48"


def test_any_field_can_be_said_by_its_id(host: Path, ask: Binding) -> None:
    say(host, "0 field_301 6", "0 field_230 4")
    assert ask("fields(h[0], 301, 230)") == [6, 4]
    assert ask("fields(h[1], 301, 230)") == [None, 0]


def test_lines_that_mean_nothing_are_told(host: Path) -> None:
    say(host, "0 powr 5", "0 power much", "16 power 1", "0 power", "0 power 1 2", "0 power 5")
    code = "import pynvml as n; n.nvmlInit(); print(n.nvmlDeviceGetPowerUsage(n.nvmlDeviceGetHandleByIndex(0)))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"LD_LIBRARY_PATH": str(host)}, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == 5
    told = done.stderr.splitlines()
    assert [line.split(":")[0] for line in told] == [f"nvml.scenario line {number}" for number in range(1, 6)]
    assert "no key powr" in told[0]


def test_every_key_of_the_contract_is_known(host: Path) -> None:
    contracts = (Path(__file__).parents[3] / "docs" / "contracts.md").read_text()
    table = contracts.split("## 5.")[1].split("\n## ")[0].split("| keys |")[1]
    keys = [
        key for row in table.splitlines() for key in re.findall(r"`([a-z_]+)`", row.split("|")[1] if "|" in row else "")
    ]
    assert {"count", "power", "xid", "event"} <= set(keys)
    say(host, *(f"0 {key} 0" for key in keys))
    code = "import pynvml as n; n.nvmlInit()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"LD_LIBRARY_PATH": str(host)}, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_calls_that_no_agent_should_make_are_counted(host: Path, ask: Binding) -> None:
    assert forbidden_calls(host) == []
    assert ask("n.nvmlDeviceGetPcieThroughput(h[0], 0) >= 0") is True
    assert ask("n.nvmlDeviceGetSamples(h[0], 0, 0)[1][0].sampleValue.uiVal == n.nvmlDeviceGetPowerUsage(h[0])") is True
    say(host, "0 viol_power 77")
    assert ask("n.nvmlDeviceGetViolationStatus(h[0], 0).violationTime") == 77
    assert ask("n.nvmlDeviceGetTemperatureThreshold(h[0], n.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN)") == 87
    assert forbidden_calls(host) == [
        "nvmlDeviceGetPcieThroughput",
        "nvmlDeviceGetSamples",
        "nvmlDeviceGetSamples",  # the binding asks for the size first
        "nvmlDeviceGetViolationStatus",
        "nvmlDeviceGetTemperatureThreshold",
    ]


def test_what_a_collector_asks_once(host: Path, ask: Binding) -> None:
    assert ask("n.nvmlDeviceGetArchitecture(h[0])") == pynvml.NVML_DEVICE_ARCH_BLACKWELL  # the factory's are B200
    assert ask("n.nvmlSystemGetCudaDriverVersion_v2()") == 13000
    assert ask("n.nvmlDeviceGetEccMode(h[0])") == [1, 1]
    assert ask("n.nvmlDeviceGetPersistenceMode(h[0])") == 1
    assert ask("n.nvmlDeviceGetPerformanceState(h[0])") == 0
    assert ask("[n.nvmlDeviceGetMaxPcieLinkGeneration(h[0]), n.nvmlDeviceGetMaxPcieLinkWidth(h[0])]") == [5, 16]
    assert ask("(lambda p: [p.domain, p.bus, p.device])(n.nvmlDeviceGetPciInfo(h[0]))") == [0, 0x19, 0]
    assert ask("(lambda b: b.bar1Total - b.bar1Free - b.bar1Used)(n.nvmlDeviceGetBAR1MemoryInfo(h[0]))") == 0
    assert ask("n.nvmlDeviceGetGraphicsRunningProcesses(h[0])") == []
