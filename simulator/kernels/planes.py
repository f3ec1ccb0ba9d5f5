"""Planes: one bit per port (or per producer, …), 64 to a word, so that one instruction decides for 64 of them."""

import numpy as np
from numba.core import cgutils
from numba.extending import intrinsic, overload

from .compiler import inlined_kernel

WORD_BITS = 64
NONE_SET = np.uint64(0)
ALL_SET = np.uint64(2**64 - 1)
ONE = np.uint64(1)


def words_of(bits):
    """Words of a plane of so many bits, at least one."""
    return max(1, -(-bits // WORD_BITS))


def lowest(word):
    """Number of the lowest bit that is set in a word; there is one."""
    return (int(word) & -int(word)).bit_length() - 1


@intrinsic
def _trailing_zeros(typing, word):
    """One instruction of the processor, which numba has no public name for."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], cgutils.true_bit)  # true: a word of zeros is not asked for

    return word(word), generate


@overload(lowest, inline="always")
def _lowest(word):
    return lambda word: np.int64(_trailing_zeros(word))  # type: ignore[call-arg]  # the compiler passes the first


@inlined_kernel
def rest(word):
    """The word without its lowest set bit."""
    return word & (word - ONE)


@inlined_kernel
def word_at(index):
    """The word of a plane that holds the bit of an index."""
    return index >> 6


@inlined_kernel
def bit(index):
    """The bit of an index in its word."""
    return ONE << np.uint64(index & 63)
