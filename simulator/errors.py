"""What a user can put right: one exception, and the nearest valid name to offer with it."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake that the user can correct; the message says what, where, and what would be right.

    The command line prints it as one line and exits with 2. Anything else that escapes is a bug in the program.
    """


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint to append to an error message: the valid name closest to `name`, or all of them where none is close."""
    names = sorted(valid)
    if not names:
        return "there are none"
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return "valid: " + ", ".join(names)
