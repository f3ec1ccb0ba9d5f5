"""How kernels are compiled, in one place."""

from typing import Any

from numba import njit

COMMON: dict[str, Any] = {"cache": True, "nogil": True}
UNCOUNTED: dict[str, Any] = {"_nrt": False}

# Kernels get every array from their caller and allocate none, so they need no reference counts: without them (_nrt) the
# event loop runs several times as fast, since numba would otherwise count up and down at each access to a named tuple.
# Such a kernel calls no array method (x.max() and the like): those allocate, and numba gives them the same flags.
kernel: Any = njit(**COMMON, **UNCOUNTED)

# For the few that do allocate: they run once per layer, not once per flit.
allocating_kernel: Any = njit(**COMMON)
