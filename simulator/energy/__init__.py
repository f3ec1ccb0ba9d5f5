"""Energy: action counts times a table of prices, and time times what stands; every joule goes back to a sourced number.

table.py    what a table holds          load.py      reading one, all faults at once
scaling.py  a table at another node     recipe.py    a price as a sum of entries
actions.py  what an action is made of   standing.py  what a cycle costs whatever happens
pricer.py   counts x prices             cost.py      the result, by layer, component, entry and kind
"""

from .actions import COMPONENT_OF, SCALE_BITS
from .cost import COMPONENTS, MUCH, Energy, Prices
from .load import energy_names, load_energy_table, load_energy_tables, table_of_node
from .pricer import Pricer, action_prices, built_memories, check_table, find_prices, memories_of, price
from .standing import STANDING, Logic, logic_of
from .table import DramType, EnergyTable, Entry, Geometry, Leakage, Primitives, Scaled, Sram

__all__ = [
    "COMPONENTS",
    "COMPONENT_OF",
    "MUCH",
    "SCALE_BITS",
    "STANDING",
    "DramType",
    "Energy",
    "EnergyTable",
    "Entry",
    "Geometry",
    "Leakage",
    "Logic",
    "Pricer",
    "Prices",
    "Primitives",
    "Scaled",
    "Sram",
    "action_prices",
    "built_memories",
    "check_table",
    "energy_names",
    "find_prices",
    "load_energy_table",
    "load_energy_tables",
    "logic_of",
    "memories_of",
    "price",
    "table_of_node",
]
