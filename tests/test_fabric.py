"""The fabric from the wire to the screen: switches of a demo fail, each fault is one alarm and one cell."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from command import started
from services import until

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(300)]

#: fault of the simulator -> rule and object of the alarm that an operator is to see
EXPECTED = {
    ("port_down", "leaf-2/Ethernet64"): ("port_down", "leaf-2 Ethernet64"),
    ("pfc_storm", "leaf-2/Ethernet128"): ("pfc_watchdog", "leaf-2 Ethernet128"),
    ("optics_dim", "leaf-2/Ethernet192"): ("fec_uncorrected", "leaf-2 Ethernet192"),
    ("snmp_agent_dead", "leaf-1"): ("switch_agent", "leaf-1"),
}
#: rules that speak of switches and their ports
OURS = {rule for rule, _ in EXPECTED.values()} | {
    "port_flapping", "pfc_storm", "port_discards", "port_errors", "congestion", "pre_fec_ber", "optics_dark",
    "optics_margin", "optics_spread", "switch_partial", "switch_map", "switch_fan", "leak_detected", "device_silent",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Site:
    """A running demo: its dashboard and its simulator's door."""

    url: str
    door: str

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def ready(self) -> bool:
        try:
            return bool(self.get("/api/v1/fabric")["summary"]["switches"] == 2)
        except urllib.error.HTTPError:
            return False

    def alarms(self) -> dict[tuple[str, str], dict[str, Any]]:
        told = {(alarm["rule"], alarm["object"]): alarm for alarm in self.get("/api/v1/snapshot")["alarms"]}
        return {key: alarm for key, alarm in told.items() if key[0] in OURS}

    def port(self, switch: str, name: str) -> tuple[float | None, str]:
        """Return the use and the state of one port."""
        found = (each["ports"] for each in self.get("/api/v1/fabric")["switches"] if each["name"] == switch)
        ports = {interface: (value, state) for interface, _, value, state in next(found)}
        return ports.get(name, (None, "unknown"))

    def ask(self, method: str, path: str, body: object = None) -> None:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.door + path, data, {"Content-Type": "application/json"}, method=method)
        urllib.request.urlopen(request, timeout=60).close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("fabric")
    with started("demo", "--port", 0, "--keep", folder / "site", log=folder / "stderr.log") as demo:
        url = demo.url()
        made = Site(url, json.loads((folder / "site" / "control.json").read_text())["url"])
        until(made.ready, 60, "the dashboard to be ready")
        until(lambda: made.port("leaf-1", "Ethernet0")[0] is not None, 90, "rates of a port read by SNMP")
        until(lambda: made.port("leaf-2", "Ethernet64")[0] is not None, 90, "rates of a port read by gNMI")
        yield made


def test_each_fault_is_its_own_alarm_and_none_other_and_goes_with_it(site: Site) -> None:
    assert site.alarms() == {}
    for kind, name in EXPECTED:
        site.ask("POST", "/faults", {"kind": kind, "object": name})
    wanted = set(EXPECTED.values())
    until(lambda: site.alarms().keys() >= wanted, 90, f"the alarms {wanted}")
    assert site.alarms().keys() == wanted
    told = site.alarms()
    assert told["port_down", "leaf-2 Ethernet64"]["impact"] == "8 GPUs"
    assert "codewords beyond repair" in told["fec_uncorrected", "leaf-2 Ethernet192"]["title"]
    assert site.port("leaf-2", "Ethernet64")[1] == "down"
    worst = site.get("/api/v1/fabric")["worst"]
    assert {"Ethernet64", "Ethernet128", "Ethernet192"} == {row["interface"] for row in worst if row["priority"]}
    detail = site.get("/api/v1/fabric/port?device=leaf-2&interface=Ethernet64")
    assert len(detail["gpus"]) == 8
    assert {gpu["host"] for gpu in detail["gpus"]} == {detail["port"]["neighbor"]}
    for kind, name in EXPECTED:
        site.ask("DELETE", f"/faults?kind={kind}&object={name}")
    until(lambda: ("switch_agent", "leaf-1") not in site.alarms(), 90, "the SNMP tables to be there again")
    until(lambda: site.port("leaf-2", "Ethernet64")[1] == "ok", 60, "the link to be up again")
