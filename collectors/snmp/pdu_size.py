"""How many instances one SNMP request may ask for: found by what the agent can answer, and remembered.

An agent's buffer, a firewall or the engine's own limit decide; none of them tells it before. What failed once is tried
again after a while, for an agent may have been exchanged, and after twice that while when it fails again.
"""

#: about 1.3 kB of answer for 64-bit counters, so that no datagram is fragmented
LARGEST = 40
#: a size that works is kept for so long before a larger one is tried; doubled with each failure, up to the limit
FIRST_WAIT_S, LONGEST_WAIT_S = 600.0, 86_400.0


class PduSize:
    """The size for one device."""

    def __init__(self, largest: int = LARGEST) -> None:
        self._largest = largest
        self._size = largest
        self._wait_s = FIRST_WAIT_S
        self._grow_at_s = 0.0

    def take(self, now_s: float) -> int:
        """Return the number of instances to ask for; `now_s` is a monotonic clock's. Units: s."""
        if self._size < self._largest and now_s >= self._grow_at_s:
            self._size = min(self._largest, self._size + max(1, self._size // 2))
            self._grow_at_s = now_s + self._wait_s
        return self._size

    def shrink(self, to: int, now_s: float) -> None:
        """Note that no more than `to` instances came in one answer."""
        if to >= self._size:
            return
        self._size = max(1, to)
        self._grow_at_s = now_s + self._wait_s
        self._wait_s = min(LONGEST_WAIT_S, 2 * self._wait_s)
