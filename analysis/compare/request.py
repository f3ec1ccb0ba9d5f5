"""A comparison that is asked for: which tickets, on which chip, under which prices."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...simulator.energy import EnergyTable, check_table, load_energy_table, memories_of, table_of_node
from ...simulator.hardware import Chip, load_chip
from ...simulator.sram import check_access_times
from ..parallel import check_jobs
from .rows import WIDE_FLITS


@dataclass(frozen=True)
class CompareRequest:
    """What `sparsespike compare` is given.

    tickets: files, official checkpoints among them, or names of shipped ones.
    images: simulated, from the first of the test split.
    baseline: each ticket once more on the chip with everything off (`hardware.BASELINES`).
    data_folder: where the data set's files lie, as `model.data.load_data` takes it.
    out: folder for tables, results.json, figures and every run's report; runs that are there are not run again.
    jobs: worker processes, -1 for one per processor.
    energy: an energy table's name or file; without one the shipped table of the chip's node.
    """

    tickets: Sequence[str]
    data: str = "digits"
    images: int = 32
    hardware: str | Path = "mesh16"
    baseline: str | None = None
    data_folder: str | Path | None = None
    out: str | Path | None = None
    jobs: int = -1
    energy: str | Path | None = None

    def __post_init__(self) -> None:
        """Raise UserError for a number of worker processes that means nothing."""
        check_jobs(self.jobs)

    @cached_property
    def chip(self) -> Chip:
        """The chip that was asked for. Raises UserError as `load_chip`."""
        return load_chip(self.hardware)

    @cached_property
    def prices(self) -> EnergyTable:
        """The energy table of all runs.

        Raises UserError where there is none of that name or node, and for a chip that cannot be built in it: of another
        node, with a DRAM that it does not know, with memories beyond CACTI's or too slow for the clock.
        """
        found = table_of_node(self.chip.technology.node_nm) if self.energy is None else load_energy_table(self.energy)
        check_table(self.chip, found)
        check_access_times(self.chip, memories_of(self.chip, found))
        return found

    def chips(self, neuron: str = "lif") -> dict[str, Chip]:
        """Variant -> chip, "" for the chip itself. Raises UserError as `load_chip` and `Chip.baseline` do.

        ANNs (neuron `relu`) also run where each of their 8-bit activations is one flit, if the chip's flits hold less.
        """
        chip = self.chip
        chips = {"": chip}
        if neuron == "relu" and chip.mesh.value_bits < 8:
            chips[WIDE_FLITS] = chip.replace({"mesh.value_bits": 8, "name": f"{chip.name}, {WIDE_FLITS}"})
        if self.baseline is not None:
            chips[f"{self.baseline} baseline"] = chip.baseline(self.baseline)
        return chips

    def command(self) -> str:
        """The command line without its tickets and folders."""
        baseline = "" if self.baseline is None else f" --baseline {self.baseline}"
        energy = "" if self.energy is None else f" --energy {self.prices.name}"
        asked = f"--data {self.data} --images {self.images} --hardware {self.chip.name}"
        return f"sparsespike compare TICKET... {asked}{baseline}{energy}"
