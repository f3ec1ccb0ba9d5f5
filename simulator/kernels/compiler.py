"""How kernels are compiled and cached, in one place."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache


def _digest() -> str:
    """Short hash of the source of all kernels."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()[:16]


class _Named(CompileResultCacheImpl):
    digest = _digest()

    def get_filename_base(self, fullname: str, abiflags: str) -> str:
        return f"{super().get_filename_base(fullname, abiflags)}.{self.digest}"


class KernelCache(FunctionCache):
    """A cache of machine code that is never stale.

    numba keys a function's cache by the function's own file, but a kernel holds machine code of the kernels that it
    calls, whose files may have changed. Here the name of every cache file holds the digest of all kernels.
    """

    _impl_class = _Named


def _compiler(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    def compile_lazily(function: Callable[..., Any]) -> Any:
        dispatcher = njit(nogil=True, **options)(function)
        if hasattr(dispatcher, "_cache"):  # a plain function where NUMBA_DISABLE_JIT is set
            dispatcher._cache = KernelCache(function)
        return dispatcher

    return compile_lazily


# Kernels get every array from their caller and allocate none, so they need no reference counts: without them (_nrt) the
# event loop runs several times as fast, since numba would otherwise count up and down at each access to a named tuple.
# Such a kernel calls no array method (x.max() and the like): those allocate, and numba gives them the same flags.
kernel = _compiler(_nrt=False)

# Kernels that only kernels call: without the wrappers for calls from Python, which take a third of the compiling.
inner_kernel = _compiler(_nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)

# The same for a few lines at the bottom of a loop. LLVM does not put them in line by itself: named tuples are passed
# field by field, and the call costs several times what it does (the encoder of a whole Spikformer: 37 against 10 ms).
inlined_kernel = _compiler(_nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)

# For the few that do allocate: they run once per layer, not once per flit.
allocating_kernel = _compiler()
