"""Prices of a chip in a technology, once; then counts times prices and cycles times what stands, for many runs."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..activity import Action, Activity
from ..area.density import area_factor
from ..errors import UserError, nearest
from ..hardware import Chip
from ..sourced import KINDS, Kind
from ..sram import Macro, MacroCost, cell_leakage_nw, macro_costs
from .actions import COMPONENT_OF, LINK, action_recipes
from .cost import COMPONENTS, MOVING, Energy, Floats, Prices
from .recipe import Recipe, of
from .scaling import delay_factor
from .standing import LEAKING, STANDING, standing_recipes
from .table import EnergyTable, Scaled

# actions gathered by component: their order, and where each component of MOVING begins in it
ORDER = np.array(sorted(Action, key=lambda action: MOVING.index(COMPONENT_OF[action])))
BEGINS = [[COMPONENT_OF[Action(action)] for action in ORDER].index(name) for name in MOVING]
PRODUCTS = (LINK, *LEAKING.values())


def check_table(chip: Chip, table: EnergyTable) -> None:
    """Raises UserError where the table is of another node than the chip, or does not know its DRAM."""
    faults = []
    if table.node_nm != chip.technology.node_nm:
        faults.append(
            f"energy table {table.label} is of {table.node_nm} nm, chip {chip.name!r} of "
            f"{chip.technology.node_nm} nm; nodes are never mixed without scaling"
        )
    if chip.dram.type not in table.dram:
        faults.append(
            f"dram.type = {chip.dram.type!r}: not in table {table.label}; {nearest(chip.dram.type, table.dram)}"
        )
    if faults:
        raise UserError("; ".join(faults))


def memories_of(chip: Chip, table: EnergyTable) -> dict[str, tuple[Macro, MacroCost]]:
    """Macro name -> (the macro, the nominal cost of one) as this table builds them.

    `built_memories`, with energy and leakage times the table's `sram.access` and `sram.leakage`, which hold the
    method's factors where it scales. Raises UserError as `macro_costs` does.
    """
    access, leakage = table.sram.access.value, table.sram.leakage.value
    return {
        name: (
            macro,
            replace(
                cost, read_pj=cost.read_pj * access, write_pj=cost.write_pj * access, leak_mw=cost.leak_mw * leakage
            ),
        )
        for name, (macro, cost) in built_memories(chip, table.scaled).items()
    }


@lru_cache(maxsize=256)
def built_memories(chip: Chip, scaled: Scaled | None) -> Mapping[str, tuple[Macro, MacroCost]]:
    """Macro name -> (the macro, CACTI's cost of one): at the chip's node, or at `sram_from_node_nm`.

    From there access time and area are taken to the chip's node by the method; energy and leakage are CACTI's.
    Raises UserError as `macro_costs` does.
    """
    origin, node = _macro_node(chip, scaled), chip.technology.node_nm
    if scaled is None or origin == node:
        return macro_costs(chip)
    volts, area = scaled.voltage_v, area_factor(origin, node)
    delay = delay_factor((origin, volts), (node, volts), scaled.family)
    return {
        name: (macro, replace(cost, access_ns=cost.access_ns * delay, area_mm2=cost.area_mm2 * area))
        for name, (macro, cost) in macro_costs(chip.replace({"technology.node_nm": origin})).items()
    }


def _macro_node(chip: Chip, scaled: Scaled | None) -> int:
    """CACTI's node that macros are taken from."""
    origin = scaled.sram_from_node_nm if scaled else None
    return chip.technology.node_nm if origin is None else origin


def find_prices(chip: Chip, table: EnergyTable) -> Prices:
    """What actions and cycles of this chip cost in this technology.

    Raises UserError as `check_table` does, and for a memory or a node that CACTI's table does not reach.
    """
    check_table(chip, table)
    keys, kinds, bands = _entries(table)
    per_action, per_cycle = _amounts(chip, table.scaled, tuple(table.actions), keys)
    return Prices(
        keys=keys,
        kinds=kinds,
        bands=bands,
        per_action=per_action,
        per_cycle=per_cycle,
        action=_priced(per_action, bands),
        cycle=_priced(per_cycle, bands),
    )


@lru_cache(maxsize=256)
def _amounts(
    chip: Chip, scaled: Scaled | None, actions: tuple[str, ...], keys: tuple[str, ...]
) -> tuple[Floats, Floats]:
    """How often each entry is in each action and in each part of a cycle: no price has a part in it.

    actions: those that the table prices whole.  float64[Action, keys], float64[STANDING, keys], neither to be written.
    """
    found = built_memories(chip, scaled)
    recipes = action_recipes(chip, {name: cost for name, (_, cost) in found.items()})
    recipes |= {Action[key.upper()]: of(f"actions.{key}") for key in actions}
    macros_mw = sum(macro.count * cost.leak_mw for macro, cost in found.values())
    cell_nw = cell_leakage_nw(_macro_node(chip, scaled), chip.technology.sram_device)
    standing = standing_recipes(chip, macros_mw, cell_nw)
    per_action = _matrix([recipes[action] for action in Action], keys)
    per_cycle = _matrix([standing[name] for name in STANDING], keys)
    return per_action, per_cycle


def _entries(table: EnergyTable) -> tuple[tuple[str, ...], tuple[Kind, ...], Floats]:
    """Keys, kinds and bands of everything that a recipe names: the table's entries, and products of two of them."""
    entries = table.entries()
    kinds: dict[str, Kind] = {key: entry.kind for key, entry in entries.items()}
    bands = {key: (entry.low, entry.value, entry.high) for key, entry in entries.items()}
    for product in PRODUCTS:
        one, other = product.split(" x ")
        kinds[product] = max(kinds[one], kinds[other], key=KINDS.index)
        (low, nominal, high), factor = bands[one], bands[other]
        bands[product] = (low * factor[0], nominal * factor[1], high * factor[2])
    return tuple(bands), tuple(kinds.values()), np.array(list(bands.values()))


def _matrix(recipes: list[Recipe], keys: tuple[str, ...]) -> Floats:
    """float64[recipes, keys]: how often each entry is in each recipe."""
    matrix = np.array([[recipe.parts.get(key, 0.0) for key in keys] for recipe in recipes], order="F")
    matrix.setflags(write=False)
    return matrix


def _priced(amounts: Floats, bands: Floats) -> Floats:
    """float64[recipes, 3] in pJ. No matrix product: sums are added in one order on every machine.

    Recipes come last in what is computed, so that the innermost loop is long and without gaps.
    """
    prices: Floats = (amounts.T * np.ascontiguousarray(bands.T)[:, :, None]).sum(axis=1)
    return prices.T


class Pricer:
    """Prices of one chip in one technology, ready for many runs.

    Calling it with counts int64[layers, Action], cycles int64[layers] and the layers' names gives an `Energy`.
    Raises UserError as `find_prices` does.
    """

    def __init__(self, chip: Chip, table: EnergyTable) -> None:
        self.prices = find_prices(chip, table)
        # layers come last in what is computed, so that the innermost loop is long and without gaps
        self._action = np.ascontiguousarray(self.prices.action[ORDER].T)[:, :, None]
        self._cycle = np.ascontiguousarray(self.prices.cycle.T)[:, :, None]

    def __call__(self, counts: NDArray[np.int64], cycles: NDArray[np.int64], layers: tuple[str, ...]) -> Energy:
        """What a run costs; of the same counts and prices the same to the last bit, on every machine."""
        parts = np.empty((3, len(COMPONENTS), len(layers)))
        gathered = counts.T[ORDER].astype(np.float64)
        np.add.reduceat(self._action * gathered, BEGINS, axis=1, out=parts[:, : len(MOVING)])
        np.multiply(self._cycle, cycles, out=parts[:, len(MOVING) :])
        return Energy(layers, counts, cycles, self.prices, parts.T)


def price(activity: Activity, chip: Chip, table: EnergyTable) -> Energy:
    """Counts times prices, and what a cycle costs times the run's cycles. Raises UserError as `find_prices` does."""
    return Pricer(chip, table)(activity.counts, activity.cycles.sum(axis=0), activity.layers)


def action_prices(chip: Chip, table: EnergyTable) -> Floats:
    """pJ of one action: float64[Action, 3], (low, nominal, high). Raises UserError as `find_prices` does."""
    return find_prices(chip, table).action
