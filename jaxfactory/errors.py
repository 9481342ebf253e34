"""Mistakes of the user, told in one sentence and without a stack trace."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something that the user can put right; the message says what and how."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'X'?"`` for the nearest choice, or ``""``.

    Args:
        word: What was typed.
        choices: What would have been understood.
    """
    nearest = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
