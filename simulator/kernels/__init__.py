"""Loops over flat arrays, compiled by numba: no dict, no raise, no guess; callers check and allocate."""

import importlib
import sys


def _load_numba() -> None:
    """Load numba without SciPy, where neither is loaded yet.

    As it loads its array functions numba asks for SciPy's BLAS, and importing that takes a fifth of the time of a short
    run. Nothing is lost: what needs it asks again when it is compiled, and np.convolve takes a loop instead.
    """
    if "scipy" in sys.modules or "numba" in sys.modules:
        return
    sys.modules["scipy"] = None  # type: ignore[assignment]  # importing it raises ImportError
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        del sys.modules["scipy"]


_load_numba()
