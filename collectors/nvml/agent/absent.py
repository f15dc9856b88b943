"""Which calls which board lacks. They are asked again after a day, and when the driver changed."""

from dataclasses import dataclass, field

from collectors.nvml.agent.calls import DENIED

_REASONS = {4: "no permission", 19: "in use"}


@dataclass(slots=True)
class Absent:
    """The memory of refusals, by board (or MIG instance) and call. Units: seconds of the clock that is passed in."""

    retry_s: float
    _until: dict[tuple[str, str], float] = field(default_factory=dict)
    _denied: dict[tuple[str, str], int] = field(default_factory=dict)

    def lacks(self, board: str, call: str, now: float) -> bool:
        """Say whether the call is not to be made."""
        until = self._until.get((board, call))
        if until is None:
            return False
        if now < until:
            return True
        del self._until[board, call]
        self._denied.pop((board, call), None)
        return False

    def note(self, board: str, call: str, code: int, now: float, seconds: float | None = None) -> None:
        """Remember that the board refused the call with an NVML code, for a day if nothing else is said."""
        self._until[board, call] = now + (self.retry_s if seconds is None else seconds)
        if code in DENIED:
            self._denied[board, call] = code

    def denied(self) -> list[str]:
        """Return what a person could put right: calls refused for want of a right."""
        return [f"{board}: {call}: {_REASONS[code]}" for (board, call), code in self._denied.items()]

    def forget(self, board: str) -> None:
        """Ask a board for everything again: it was partitioned, or is whole again."""
        for memory in (self._until, self._denied):
            for key in [key for key in memory if key[0] == board]:
                del memory[key]

    def clear(self) -> None:
        """Forget all: the driver is another one."""
        self._until.clear()
        self._denied.clear()
