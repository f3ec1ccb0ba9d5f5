"""Area of a chip from its SRAM macros; logic is not counted yet, and `AREA_SCOPE` says so wherever a figure stands."""

from .hardware import Chip
from .sram import Macro, MacroCost, macro_costs

AREA_SCOPE = "SRAM macros only; logic, links and pads are not counted"


def area_mm2(chip: Chip, memories: dict[str, tuple[Macro, MacroCost]] | None = None) -> dict[str, float]:
    """mm2 by kind of memory, at the chip's node; `memories`: the chip's, where they are not `macro_costs`'."""
    costs = macro_costs(chip) if memories is None else memories
    return {name: macro.count * cost.area_mm2 for name, (macro, cost) in costs.items()}
