"""Traps of the SNMP switches: linkDown, linkUp and coldStart, as they happen, to one receiver.

A trap leaves from the port at which the switch is polled, so that switches of one address can be told apart; it is of
v2c with the switch's community. A switch of v3 and a silent one send none.

Source: RFC 3418 (coldStart), RFC 2863 (linkDown, linkUp and their variables), RFC 3416 section 4.2.6 (order).
"""

from collections.abc import Callable, Mapping

import numpy as np

from collectors.simulator.ber import INTEGER, OBJECT_ID, TICKS, TRAP, Oid, VarBind, write_message
from collectors.simulator.factory import Factory
from collectors.simulator.mib import SYSTEM
from collectors.simulator.sonic import Leaf, leaves
from collectors.simulator.sonic_mib import DOWN, IF, UP, if_index

TRAP_OID = (1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0)
COLD_START, LINK_DOWN, LINK_UP = ((1, 3, 6, 1, 6, 3, 1, 1, 5, number) for number in (1, 3, 4))

#: sends a datagram to a receiver
Send = Callable[[bytes, tuple[str, int]], None]


class LinkTraps:
    """The traps of all switches of a factory; `senders` gives the port of each by the switch's name."""

    def __init__(self, factory: Factory, senders: Mapping[str, Send], community: bytes) -> None:
        self._factory = factory
        self._senders = senders
        self._community = community
        self._leaves = [leaf for leaf in leaves(factory, "snmp") if leaf.switch.name in senders]
        self._number = 0
        self._remember()
        factory.after_step.append(self._tell)

    def _remember(self) -> None:
        switches = self._factory.state.switches
        self._up, self._boot = switches.oper_up.copy(), switches.boot_time.copy()

    def _tell(self, now: float) -> None:
        if (receiver := self._factory.traps_to) is not None:
            for leaf in self._leaves:
                self._tell_switch(leaf, receiver, now)
        # What a silent switch saw is told by nobody; that it starts anew is told once it is there again.
        silent = [leaf.index for leaf in self._leaves if leaf.switch.name in self._factory.silent]
        booted = self._boot[silent]
        self._remember()
        self._boot[silent] = booted

    def _tell_switch(self, leaf: Leaf, receiver: tuple[str, int], now: float) -> None:
        if leaf.switch.name in self._factory.silent:
            return
        if leaf.state.boot_time[leaf.index] != self._boot[leaf.index]:
            self._send(leaf, receiver, now, COLD_START, [])
        changed = leaf.state.oper_up[leaf.index] != self._up[leaf.index]
        for port in np.nonzero(changed)[0].tolist():
            index, up = if_index(leaf.switch.ports[port]), leaf.is_up(port)
            binds: list[VarBind] = [
                ((*IF, 1, index), (INTEGER, index)),
                ((*IF, 7, index), (INTEGER, UP if leaf.is_admin_up(port) else DOWN)),
                ((*IF, 8, index), (INTEGER, UP if up else DOWN)),
            ]
            self._send(leaf, receiver, now, LINK_UP if up else LINK_DOWN, binds)

    def _send(self, leaf: Leaf, receiver: tuple[str, int], now: float, kind: Oid, binds: list[VarBind]) -> None:
        self._number += 1
        ticks = int(leaf.snmp_uptime_seconds(now) * 100) & 0xFFFFFFFF
        head: list[VarBind] = [((*SYSTEM, 3, 0), (TICKS, ticks)), (TRAP_OID, (OBJECT_ID, kind))]
        message = write_message(TRAP, self._community, self._number, head + binds)
        self._senders[leaf.switch.name](message, receiver)
