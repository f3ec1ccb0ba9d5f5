"""How kernels are compiled, in one place."""

from numba import njit

# Kernels get every array from their caller and allocate none, so they need no reference counts: without them (_nrt) the
# event loop runs several times as fast, since numba would otherwise count up and down at each access to a named tuple.
kernel = njit(cache=True, nogil=True, _nrt=False)

# For the few that do allocate: they run once per layer, not once per flit.
allocating_kernel = njit(cache=True, nogil=True)
