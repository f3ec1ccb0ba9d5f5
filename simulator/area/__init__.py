"""Area of a chip: SRAM macros, and logic as gates of synthesised blocks times the area of a gate at the node.

The tables are data (hwconfigs/area): gates.toml, how each block's gates grow with its sizes, fitted to Yosys runs of
the SystemVerilog twin; area.toml, what a gate takes and what is assumed. Nothing here knows a cycle.
"""

from .blocks import AREA_SCOPE, BlockArea, BlockKind, area_json, area_mm2

__all__ = ["AREA_SCOPE", "BlockArea", "BlockKind", "area_json", "area_mm2"]
