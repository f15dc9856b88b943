"""The physics of an AI factory: load, tokens, power, heat and flow in one state, with a clock that is passed in."""

from collectors.simulator.layout import Layout
from collectors.simulator.state import State


class Factory:
    """An AI factory whose clock is passed in.

    `layout` says what stands where and never changes; `state` is what is so now. Within one step of one second every
    gauge and every rate is constant, so a counter at any moment is exactly `base + rate * elapsed`, and what a poller
    integrates can be compared with `truth` to the last digit.
    """

    layout: Layout
    state: State

    def __init__(self, layout: Layout, *, seed: int, start: float, speed: float = 1.0) -> None:
        raise NotImplementedError

    def advance(self, now: float) -> None:
        """Step the physics up to the whole second at or before `now` (epoch seconds). Called by one ticker."""
        raise NotImplementedError
