"""The slow twin of the simulator: the rules of simulator/ARCHITECTURE.md once more, cycle by cycle, in plain Python.

It shares no code and no derived number with the simulator; of that it imports the dataclasses of a trace and a chip
and the names of actions and causes alone. Numbers in comments are rules.
"""

from .run import Slow, simulate_slowly

__all__ = ["Slow", "simulate_slowly"]
