"""Numbers with their word, as a person says them: 1 session, 2 sessions, 12 min.

What belongs here: that alone. Every message that counts may use it.
"""

from __future__ import annotations


def counted(n: int, word: str, plural: str = "") -> str:
    """Put a word behind its number.

    Parameters
    ----------
    n
        Number.
    word
        What one of them is called.
    plural
        What several are called, where that is not the word with an ``s``.

    Examples
    --------
    >>> counted(1, "session"), counted(1200, "session"), counted(2, "field of view", "fields of view")
    ('1 session', '1,200 sessions', '2 fields of view')
    """
    return f"{n:,} {word if n == 1 else plural or f'{word}s'}"


def lasting(seconds: float) -> str:
    """Tell a time by its largest unit; seconds.

    Examples
    --------
    >>> lasting(80), lasting(700), lasting(9000)
    ('80 s', '12 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
