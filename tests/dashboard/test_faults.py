"""What boards report becomes an alarm with its action, lives for its time, and is silent in maintenance."""

import pytest
from plant import Plant

from dashboard.gpus import CELL_LOST
from dashboard.settings import DashboardSettings
from dashboard.site import read_site
from dashboard.snapshot import Snapshot, build, to_json


def shot(plant: Plant, previous: Snapshot | None = None, after: float = 1.0) -> Snapshot:
    plant.settle()
    site = previous.site if previous else read_site(plant.store)
    return build(plant.store, site, DashboardSettings(), previous, plant.now + after)


def told(snapshot: Snapshot) -> list[tuple[str, int]]:
    return [(alarm.finding.title, alarm.finding.priority) for alarm in snapshot.alarms]


def event(plant: Plant, at: float, code: int, severity: int, text: str = "", **tags: str) -> None:
    known = {**plant.gpu_tags("node-3", 1), "kind": "xid", "device": "node-3", **tags}
    del known["gpu_index"]
    fields = {"code": code, "severity": severity, **({"text": text} if text else {})}
    plant.put("gpu_event", known, fields, at)


def test_an_xid_is_an_alarm_by_its_severity_counted_once_and_not_for_ever(plant: Plant) -> None:
    plant.run(also=lambda at: None)
    event(plant, -60, 48, 2, "double bit ECC error")
    event(plant, -30, 48, 2, "double bit ECC error")
    event(plant, -30, 48, 2, "double bit ECC error", device="dcgm-node-3")  # a second source saw one of the two
    event(plant, -20, 31, 1)
    event(plant, -10, 43, 0)
    made = shot(plant)
    assert told(made) == [
        ("Xid 48 on GPU 1 of node-3: double bit ECC error, 2 times", 2),
        ("Xid 31 on GPU 1 of node-3", 3),
    ]
    assert (made.alarms[0].finding.object, made.alarms[0].finding.place) == ("node-3", "Rack A02")
    hold = DashboardSettings().alarms.event_hold.total_seconds()
    later = shot(plant, made, after=hold + 1)
    assert all(not title.startswith("Xid") for title, _ in told(shot(plant, later, after=hold + 40)))


def test_after_xid_79_a_board_is_lost_until_it_tells_of_itself_again(plant: Plant) -> None:
    plant.run(end=-20.0)
    plant.run(start=-15.0, skip=("GPU-node-3-1",))
    event(plant, -20, 79, 2, "GPU has fallen off the bus")
    made = shot(plant, after=-14.0 + 15)
    assert made.states["lost"] == 1
    assert made.cells[made.layout.gpus.index("GPU-node-3-1")] == CELL_LOST
    assert ("1 GPU lost on node-3", 2) in told(made)
    plant.run(start=5.0, end=20.0)
    back = shot(plant, made, after=21.0)
    assert "lost" not in back.states


def test_what_a_driver_asks_for_is_said_as_an_action(plant: Plant) -> None:
    fields = {
        ("node-1", 0): {"recovery_action": 1, "row_remap_pending": 1},
        ("node-2", 0): {"nvlink_down_count": 2},
        ("node-2", 1): {"nvlink_down_count": 1},
        ("node-3", 0): {"row_remap_failure": 1, "row_remap_pending": 1},
        ("node-10", 0): {"recovery_action": 0, "row_remap_pending": 0, "nvlink_down_count": 0, "row_remap_failure": 0},
    }
    plant.run()
    for (host, index), values in fields.items():
        plant.put("gpu", plant.gpu_tags(host, index), values, -2)
    assert sorted(told(shot(plant))) == [
        ("2 NVLinks down on 2 GPUs of node-2: check link and switch tray", 2),
        ("Memory of GPU 0 on node-3 cannot be repaired: replace the board", 2),
        ("Reset GPU 0 on node-1 when it is free: memory repair waits", 3),
        ("Reset GPU 0 on node-1: the driver asks for it", 2),
    ]


@pytest.mark.parametrize(
    ("action", "title"),
    [
        (2, "Reboot node-1: the driver asks for it (GPU 0)"),
        (3, "Drain node-1: the driver asks to end peer traffic of GPU 0"),
        (4, "Drain and reset GPU 0 on node-1: the driver asks for it"),
        (5, "Restart IMEX on node-1: the driver asks for it (GPU 0)"),
    ],
)
def test_each_recovery_action(plant: Plant, action: int, title: str) -> None:
    plant.run()
    plant.put("gpu", plant.gpu_tags("node-1", 0), {"recovery_action": action}, -2)
    assert [name for name, _ in told(shot(plant))] == [title]


def test_a_device_in_maintenance_is_shown_and_raises_no_alarm_of_its_own(plant: Plant) -> None:
    plant.run(end=-100.0)
    plant.run(start=-95.0, skip=("node-1", "node-2"))
    for host in ("node-1", "node-2"):
        tags = {"device": host, "host": host, "rack": "A01", "protocol": "nvml"}
        plant.put("device", tags, {"up": 0, "state": 6, "last_success_age_seconds": 95.0}, 0)
        plant.put("gpu", plant.gpu_tags(host, 0), {"recovery_action": 1}, -100)
    plant.put("device", {"device": "leaf-1", "protocol": "snmp"}, {"up": 1, "state": 0}, 0)
    made = shot(plant, shot(plant), after=12.0)
    assert told(made) == [("node-2 is in maintenance", 4), ("node-1 is in maintenance", 4)] or told(made) == [
        ("node-1 is in maintenance", 4), ("node-2 is in maintenance", 4)
    ]  # fmt: skip
    devices = to_json(made, "1", 2.0)["devices"]
    assert (devices["maintenance"], devices["down"]) == (["node-1", "node-2"], [])


def test_an_unknown_server_is_called_so_and_not_silent(plant: Plant) -> None:
    plant.run()
    plant.put("device", {"device": "10.0.0.9:9000", "protocol": "exposition"}, {"up": 0, "state": 5}, 0)
    plant.put("device", {"device": "leaf-1", "protocol": "snmp"}, {"up": 1, "state": 0}, 0)
    made = shot(plant, shot(plant), after=12.0)
    assert told(made) == [("Unknown server at 10.0.0.9:9000: give it a profile", 3)]
    assert to_json(made, "1", 2.0)["devices"]["unknown"] == ["10.0.0.9:9000"]


def test_an_event_of_a_board_that_stands_nowhere_is_told_by_its_name(plant: Plant) -> None:
    plant.run()
    event(plant, -5, 48, 2, gpu="GPU-of-nobody")
    made = shot(plant)
    assert told(made) == [("Xid 48 on GPU-of-nobody of no known host", 2)]
