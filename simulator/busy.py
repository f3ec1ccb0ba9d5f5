"""How long each unit is busy in a layer, whatever the others do: lower bounds of its cycles (rules K1, K2)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .activity import Cause, Critical
from .kernels.router import PORTS
from .kernels.totals import Totals
from .phase import Work, scan_cycles, sweep_cycles
from .placement import LayerPlan, Placement
from .routes import Trees

ROW_SERVICE = (Cause.COMPUTE, Cause.BANK_CONFLICT, Cause.WEIGHT_FETCH, Cause.CONTROL)


def flits_of_ports(trees: Trees, sent: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[routers, PORTS], flits that each output port grants. sent: int64[trees], flits over each tree."""
    served = (trees.masks[:, :, None] >> np.arange(PORTS)) & 1
    return np.tensordot(sent, served, (0, 0))


@dataclass
class Busy:
    """Busy cycles of every unit in one layer, summed over images; filled image by image.

    rows: int64[cores, Cause], row service by cause.  sweep: int64[cores].  encoder: int64[routers].
    port: int64[routers, PORTS].  token_unit, dram: cycles.  attention: int64[units].
    """

    placement: Placement
    rows: NDArray[np.int64] = field(init=False)
    sweep: NDArray[np.int64] = field(init=False)
    encoder: NDArray[np.int64] = field(init=False)
    port: NDArray[np.int64] = field(init=False)
    attention: NDArray[np.int64] = field(init=False)
    token_unit: int = 0
    dram: int = 0

    def __post_init__(self) -> None:
        chip = self.placement.chip
        self.rows = np.zeros((chip.cores, len(Cause)), np.int64)
        self.sweep = np.zeros(chip.cores, np.int64)
        self.encoder = np.zeros(chip.routers, np.int64)
        self.port = np.zeros((chip.routers, PORTS), np.int64)
        self.attention = np.zeros(chip.attention.units, np.int64)

    def add_phase(self, plan: LayerPlan, images: Sequence[Work], totals: Totals, flits: NDArray[np.int64]) -> None:
        """Encoders, ports and sweeps of a phase on some images. totals: of all its flits; flits: int64[producers]."""
        phase, chip = plan.phase, self.placement.chip
        assert phase is not None
        scan = np.concatenate([scan_cycles(self.placement, plan, work) for work in images])
        token = np.concatenate([work.token for work in images])
        by_token, owner = phase.senders.by_token, phase.senders.producer
        first = 1 + scan.astype(np.int64)  # cycles in front of a step's first word
        mine = owner[token] if by_token else np.zeros(len(scan), np.int64)
        started = np.bincount(mine, weights=first, minlength=len(flits) if by_token else 1).astype(np.int64)
        self.encoder[phase.producers] += started + flits + totals.silent
        self.port += chip.flit_cycles * flits_of_ports(phase.trees, totals.sent)
        if plan.stored is not None:
            for work in images:
                self.sweep[phase.consumers.cores] += sweep_cycles(self.placement, plan, work)

    def critical(self) -> Critical:
        """K2: the unit that is busy longest."""
        service = self.rows[:, ROW_SERVICE]
        busiest = service[service.sum(axis=1).argmax()]
        kinds = [
            (ROW_SERVICE[int(busiest.argmax())].key, int(busiest.sum())),
            ("neuron_sweep", int(self.sweep.max())),
            ("encoder", int(self.encoder.max())),
            ("network", int(self.port.max())),
            ("token_unit", self.token_unit),
            ("attention_unit", int(self.attention.max())),
            ("dram", self.dram),
        ]
        return Critical(*max(kinds, key=lambda kind: kind[1]))
