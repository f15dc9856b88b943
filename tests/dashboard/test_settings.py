"""The section `dashboard:`: defaults that can be shown, and refusals that name the key."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from dashboard.settings import DashboardSettings


def test_defaults_listen_on_this_machine_alone() -> None:
    settings = DashboardSettings()
    assert (settings.host, settings.port, settings.tick) == ("127.0.0.1", 8060, timedelta(seconds=2))
    assert settings.idle.hold.parked == timedelta(minutes=30)


def test_durations_and_lists_as_people_write_them() -> None:
    settings = DashboardSettings.model_validate(
        {"tick": "1s", "idle": {"hold": {"parked": "45s"}}, "limits": {"coolant_supply_celsius": [20, 40]}}
    )
    assert settings.idle.hold.parked == timedelta(seconds=45)
    assert settings.limits.coolant_supply_celsius == (20, 40)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"tick": "0s"}, "tick"),
        ({"window": "5s"}, "window"),
        ({"tick": 2}, "tick"),
        ({"prot": 1}, "prot"),
        ({"port": 70_000}, "port"),
        ({"limits": {"coolant_supply_celsius": [45, 17]}}, "coolant_supply_celsius"),
        ({"targets": {"pue": 0.9}}, "pue"),
        ({"idle": {"hold": {"parkd": "1m"}}}, "parkd"),
        ({"alarms": {"fabric": {"pause_ratio": 55}}}, "pause_ratio"),
        ({"alarms": {"fabric": {"ecn_ratio": 0.2}}}, "ecn_ratio must not be over"),
        ({"alarms": {"fabric": {"event_hold": "2h"}}}, "event_hold must lie between"),
        ({"alarms": {"fabric": {"fold_ports": 0}}}, "fold_ports"),
    ],
)
def test_mistakes_are_refused(given: dict[str, object], key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        DashboardSettings.model_validate(given)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        DashboardSettings().port = 1  # type: ignore[misc]
