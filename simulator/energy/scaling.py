"""Prices taken from one node to another by the equations of Stillmaker and Baas, and never silently.

Energy and delay of logic relative to another node and supply: A. Stillmaker and B. Baas, "Scaling equations for
the accurate prediction of CMOS device performance from 180 nm to 7 nm", Integration, the VLSI Journal 58 (2017). They
are polynomials in the supply voltage, fitted to HSpice runs on predictive models; a factor is the ratio of two.

The paper itself was not at hand. Coefficients are as tabulated in nodeScale (github.com/wromaszkan/nodeScale,
nodeScale.py at a912c60); those of energy at 130, 90, 65, 45 LP, 32 LP and 20 to 7 HP stand alike in
hwcomponents 1.0.114 (scaling/techscaling.py), and energy at 65 and 32 HP in the authors' published corrigendum, whose
example the tests repeat. Delay has the first reading alone. Their areas are in hwconfigs/area/area.toml.

What the equations do not say is said here: leakage power of macros that are scaled goes like energy (as in
hwcomponents); logic leaks so many times a cell, at every node; a wire's energy goes with the square of the voltage, a
length with the square root of the area.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Any, Literal

import numpy as np

from ..area.density import area_factor
from ..sourced import Band
from ..sram_table import technologies
from .table import EnergyTable, Entry, Geometry, Primitives, Scaled, Sram

Family = Literal["HP", "LP"]
FAMILIES: tuple[Family, ...] = ("HP", "LP")
Coefficients = dict[Family, dict[int, tuple[float, ...]]]

_OLD_ENERGY = {130: (7.171, -6.709, 2.904), 90: (4.762, -4.781, 2.092), 65: (3.755, -4.398, 1.975)}
_OLD_DELAY = {
    130: (-76.65, 334.9, -493.4, 275.8),
    90: (-60.34, 262.5, -384.2, 210.9),
    65: (-53.3, 230.4, -333.9, 178.6),
}

# node -> coefficients of V^2, V and 1
ENERGY: Coefficients = {
    "HP": {
        **_OLD_ENERGY,
        45: (1.018, -0.3107, 0.1539),
        32: (0.8367, -0.4341, 0.1701),
        20: (0.373, -0.1582, 0.04104),
        16: (0.2958, -0.1241, 0.03024),
        14: (0.2363, -0.09675, 0.02239),
        10: (0.2068, -0.09311, 0.02375),
        7: (0.1776, -0.09097, 0.02447),
    },
    "LP": {
        **_OLD_ENERGY,
        45: (1.103, -0.362, 0.2767),
        32: (0.9559, -0.7823, 0.471),
        20: (0.2632, -0.14, 0.06841),
        16: (0.2139, -0.1187, 0.05639),
        14: (0.1556, -0.06472, 0.03066),
        10: (0.1261, -0.0518, 0.02769),
        7: (0.09365, -0.03409, 0.02043),
    },
}

# node -> coefficients of V^3, V^2, V and 1
DELAY: Coefficients = {
    "HP": {
        **_OLD_DELAY,
        45: (-501.6, 1567.0, -1619.0, 566.1),
        32: (-1047.0, 2982.0, -2797.0, 873.5),
        20: (0.0, 34.63, -66.37, 41.15),
        16: (0.0, 24.8, -47.52, 28.87),
        14: (-40.66, 109.2, -100.6, 35.92),
        10: (-34.95, 93.65, -85.99, 30.4),
        7: (-28.58, 76.6, -70.26, 24.69),
    },
    "LP": {
        **_OLD_DELAY,
        45: (-285.7, 1239.0, -1795.0, 898.8),
        32: (-325.9, 1374.0, -1922.0, 913.2),
        20: (-160.5, 514.1, -558.6, 217.5),
        16: (-114.6, 366.7, -397.4, 153.6),
        14: (-85.37, 271.6, -292.2, 111.4),
        10: (-71.76, 228.6, -246.3, 93.91),
        7: (-61.79, 196.1, -210.3, 79.55),
    },
}

NODES = tuple(ENERGY["HP"])
METHOD = "stillmaker2017"


def neighbours(node_nm: int) -> tuple[int, int]:
    """The listed nodes that a node lies between, the larger first; twice itself where it is listed.

    Raises ValueError outside of all of them.
    """
    if not NODES[-1] <= node_nm <= NODES[0]:
        raise ValueError(f"{node_nm} nm: the equations are for {NODES[0]} to {NODES[-1]} nm")
    return min(node for node in NODES if node >= node_nm), max(node for node in NODES if node <= node_nm)


def _polynomial(table: Coefficients, node: int, voltage: float, family: Family) -> float:
    total = 0.0
    for coefficient in table[family][node]:
        total = total * voltage + coefficient
    return total


def _between(node_nm: int, at_larger: float, at_smaller: float) -> float:
    """A number at a node between two listed ones: log-log in the node; exact at a listed one."""
    larger, smaller = neighbours(node_nm)
    if larger == smaller:
        return at_larger
    share = log(larger / node_nm) / log(larger / smaller)
    return exp((1 - share) * log(at_larger) + share * log(at_smaller))


def energy_factor(start: tuple[int, float], end: tuple[int, float], family: Family) -> float:
    """Energy of the same logic at (node in nm, volts) `end`, as a multiple of that at `start`."""
    return _at(ENERGY, end, family) / _at(ENERGY, start, family)


def delay_factor(start: tuple[int, float], end: tuple[int, float], family: Family) -> float:
    """Delay of the same logic at (node in nm, volts) `end`, as a multiple of that at `start`."""
    return _at(DELAY, end, family) / _at(DELAY, start, family)


def _at(table: Coefficients, point: tuple[int, float], family: Family) -> float:
    node, voltage = point
    return _between(node, *(_polynomial(table, near, voltage, family) for near in neighbours(node)))


def energy_band(start: tuple[int, float], end: tuple[int, float], family: Family, widen: float) -> Band:
    """(low, nominal, high) of the energy factor.

    Nominal is the family's. Low and high are the least and the greatest of both families and, where a node is
    interpolated, of the nodes that it lies between; then `widen` times less and more.
    """
    reach = [
        _polynomial(ENERGY, to, end[1], either) / _polynomial(ENERGY, origin, start[1], either)
        for either in FAMILIES
        for origin in neighbours(start[0])
        for to in neighbours(end[0])
    ]
    return np.array([min(reach) / widen, energy_factor(start, end, family), max(reach) * widen])


def scaling_faults(said: Mapping[str, Any], base_nm: object, node_nm: object) -> list[str]:
    """Why a table of `base_nm` cannot be scaled to `node_nm` in this way; nothing where it can.

    said: `Scaled` as it stands in the file. What is not of its type is left to others to say.
    """
    faults = []
    if base_nm == node_nm:
        faults.append(f"node_nm = {node_nm}: that of scaled.base; there is nothing to scale")
    named = {"node_nm": node_nm, "scaled.base: node_nm": base_nm}
    origin, cacti = said.get("sram_from_node_nm"), sorted({node for node, _ in technologies()})
    theirs = f"CACTI's macros are of {', '.join(map(str, cacti))} nm"
    if origin in cacti:
        named["scaled.sram_from_node_nm"] = origin
    elif type(origin) is int:
        faults.append(f"scaled.sram_from_node_nm = {origin}: {theirs}")
    elif origin is None and type(node_nm) is int and node_nm not in cacti:
        faults.append(f"node_nm = {node_nm}: {theirs}; scaled.sram_from_node_nm says from which of them")
    for key, node in named.items():
        if type(node) is int:
            faults += _node_faults(key, node, said.get("interpolated") is True)
    return faults


def _node_faults(key: str, node: int, interpolated: bool) -> list[str]:
    if not NODES[-1] <= node <= NODES[0]:
        return [f"{key} = {node}: {METHOD} is for {NODES[0]} to {NODES[-1]} nm"]
    if node in NODES or interpolated:
        return []
    larger, smaller = neighbours(node)
    return [
        f"{key} = {node}: not listed by {METHOD} ({', '.join(map(str, NODES))}); "
        f"with scaled.interpolated = true it is taken between {larger} and {smaller} nm"
    ]


def scale(base: EnergyTable, scaled: Scaled, node_nm: int, said: Mapping[str, str]) -> EnergyTable:
    """The table at another node. Its entries keep their sources, with the factor noted; their kind is `derived`.

    said: name, description, sha256 and file of the new table. What no equation touches (DRAM, CACTI's macros) is kept.
    `scaling_faults` must have found nothing.
    """
    start, end = (base.node_nm, scaled.base_voltage_v), (node_nm, scaled.voltage_v)
    logic = energy_band(start, end, scaled.family, scaled.widen)
    volts = (scaled.voltage_v / scaled.base_voltage_v) ** 2
    wire = volts * np.array([1 / scaled.widen, 1.0, scaled.widen])
    length = np.full(3, sqrt(area_factor(base.node_nm, node_nm)))
    to = _Moved(scaled, base.node_nm, node_nm)
    primitives = {key: to(entry, wire if key == "link_bit_mm" else logic) for key, entry in base.primitives}
    return base.model_copy(
        update={
            "node_nm": node_nm,
            "primitives": Primitives(**primitives),
            "geometry": Geometry(tile_pitch=to(base.geometry.tile_pitch, length)),
            "sram": _sram(base.sram, scaled, node_nm),
            "actions": {key: to(entry, logic) for key, entry in base.actions.items()},
            "scaled": scaled,
            **said,
        }
    )


def _sram(sram: Sram, scaled: Scaled, node_nm: int) -> Sram:
    """CACTI's figures at the chip's node as they are; or those of the node that the table says, at one voltage."""
    origin = scaled.sram_from_node_nm
    if origin is None:
        return sram
    start, end = (origin, scaled.voltage_v), (node_nm, scaled.voltage_v)
    to = _Moved(scaled, origin, node_nm)
    leaking = energy_band(start, end, scaled.family, scaled.widen * scaled.leakage_widen)
    return Sram(
        access=to(sram.access, energy_band(start, end, scaled.family, scaled.widen)),
        leakage=to(sram.leakage, leaking),
    )


@dataclass(frozen=True)
class _Moved:
    """Makes an entry of one node one of another."""

    scaled: Scaled
    from_nm: int
    node_nm: int

    def __call__(self, entry: Entry, factor: Band) -> Entry:
        low, value, high = (float(number) for number in entry.band * factor)
        how = f"x {factor[1]:.4g} from {self.from_nm} nm by {self.scaled.method}, {self.scaled.family}"
        before = "" if entry.scaled_from is None else f"{entry.scaled_from}; "
        on_chip = {"node_nm": self.node_nm, "voltage_v": self.scaled.voltage_v, "scaled_from": before + how}
        return entry.model_copy(
            update={
                "low": low,
                "value": value,
                "high": high,
                "kind": "assumed" if entry.kind == "assumed" else "derived",  # a guess stays one
                "source": f"{entry.source}; {how}",
                **on_chip,
            }
        )
