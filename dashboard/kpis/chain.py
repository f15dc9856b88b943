"""The chain from facility to GPU board: watts at each boundary and what is lost between neighbours."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Boundary = Literal["facility", "it", "rack", "node", "gpu_board"]
#: from the largest to the smallest
BOUNDARIES: tuple[Boundary, ...] = ("facility", "it", "rack", "node", "gpu_board")


@dataclass(frozen=True, slots=True)
class Stage:
    """One boundary of the chain."""

    boundary: Boundary
    watts: float
    #: watts of the next larger known boundary minus these; None for the first
    loss_watts: float | None
    #: these watts over those of the next larger known boundary; None for the first
    share: float | None


def chain(watts: Mapping[Boundary, float | None]) -> tuple[Stage, ...]:
    """Return the known boundaries from large to small: loss W = larger W - smaller W, share = smaller W / larger W.

    An unknown boundary is left out, and its neighbours meet. A negative loss shows that two meters disagree.
    """
    stages: list[Stage] = []
    for boundary in BOUNDARIES:
        value = watts.get(boundary)
        if value is None:
            continue
        larger = stages[-1].watts if stages else None
        loss = None if larger is None else larger - value
        stages.append(Stage(boundary, value, loss, value / larger if larger else None))
    return tuple(stages)
