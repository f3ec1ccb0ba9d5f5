"""What is said about a number that is read from a file: what kind it is, where it comes from, how far it holds."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import StringConstraints

Kind = Literal["measured", "simulated", "quoted second-hand", "derived", "assumed"]
KINDS: tuple[Kind, ...] = ("measured", "simulated", "quoted second-hand", "derived", "assumed")  # the weakest last
Band = NDArray[np.float64]  # (low, nominal, high)

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=10)]
"""Where a number comes from, in words; blanks are none."""
