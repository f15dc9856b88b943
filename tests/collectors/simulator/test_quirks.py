"""Quirks are switched by name; what they do not take is refused with the way out."""

import pytest

from collectors.simulator.quirks import Quirks, names, switch

PORTS = ("Ethernet0", "Ethernet8")


def test_every_quirk_can_be_switched() -> None:
    quirks = Quirks()
    values: dict[str, object] = {"agent": "hung", "vendor": "dell", "missing": ["Ethernet8:3 SAI_QUEUE_STAT_BYTES"]}
    for name in names():
        switch(quirks, name, values.get(name, not getattr(Quirks(), name)), PORTS)
        assert getattr(quirks, name) != getattr(Quirks(), name)
    assert quirks.missing == {"Ethernet8:3 SAI_QUEUE_STAT_BYTES"}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("cash", True, "no quirk 'cash': there are cache, truncated_walks"),
        ("cache", "on", "cache is 'on': give true or false"),
        ("cache", 1, "cache is 1: give true or false"),
        ("agent", "slow", "agent is 'slow': give ok, hung, dead"),
        ("vendor", [], r"vendor is \[\]: give community, edgecore, dell"),
        ("missing", "Ethernet0", "missing is 'Ethernet0': give a list of cells"),
        ("missing", ["Ethernet0"], "missing has 'Ethernet0': give a list of cells"),
        ("missing", ["Ethernet4 SAI_PORT_STAT_IF_IN_OCTETS"], "but there is no port Ethernet4"),
    ],
)
def test_what_a_quirk_does_not_take_is_refused(name: str, value: object, reason: str) -> None:
    quirks = Quirks()
    with pytest.raises(ValueError, match=reason):
        switch(quirks, name, value, PORTS)
    assert quirks == Quirks()
