"""Who watches a run: told what happened and when, in cycles of the whole run, without any say in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dram import Moved
from .layer_time import Timing
from .phase import Work
from .pipelined import Pipeline
from .placement import Placement
from .program import Outcome

Watch = Callable[[int, int, NDArray[np.int64]], None]


@dataclass(frozen=True)
class Stage:
    """A layer on an image (`layerwise`): from `ended`, the end of the layer before, it waited for its weights, from
    `start` on it was at work, and it ended at `end` (D4, D5).
    """

    image: int
    index: int
    work: Work
    timing: Timing
    ended: int
    start: int
    end: int


class Observer:
    """Looks at nothing; those who look at something override it. `reads_log`: may ask for event logs."""

    reads_log = False

    def wants_log(self, start: int) -> bool:
        """Whether what begins in this cycle of the run is to be logged, which is slower."""
        return False

    def see_placement(self, placement: Placement) -> None:
        """Before the first cycle."""
        ...

    def see_layer(self, stage: Stage) -> None:
        """After each layer of each image; its log is empty unless it was wanted."""
        ...

    def see_pipeline(self, pipeline: Pipeline, outcome: Outcome) -> None:
        """After a `pipelined` run, in place of `see_layer`."""
        ...

    def see_end(self, cycles: int, moved: Sequence[Moved]) -> None:
        """After the last cycle. moved: what DRAM brought and took, in order; with `pipelined` nothing of it."""
        ...


class LogWatch(Observer):
    """Hands every log to a function of (image, layer, log); with `pipelined` the one log as that of (0, 0)."""

    reads_log = True

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def wants_log(self, start: int) -> bool:
        """All of them."""
        return True

    def see_layer(self, stage: Stage) -> None:
        """Layers without steps have none."""
        if stage.timing.outcome is not None:
            self._watch(stage.image, stage.index, stage.timing.outcome.log)

    def see_pipeline(self, pipeline: Pipeline, outcome: Outcome) -> None:
        """One log of all."""
        self._watch(0, 0, outcome.log)
