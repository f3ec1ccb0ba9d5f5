"""Loops over flat arrays, compiled by numba: no dict, no raise, no guess; callers check and allocate."""
