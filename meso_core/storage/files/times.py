"""Times of change, as file systems keep them: some to the nanosecond, some shares to the second.

What belongs here: whether two times are that of one change, and how far clocks of several machines are trusted.
"""

from __future__ import annotations

import time

#: Steps in which file systems keep times, ns: seconds, milliseconds, microseconds, the 100 ns of NTFS.
STEPS_NS = (1_000_000_000, 1_000_000, 1_000, 100)

#: Clocks of two machines, or of a machine and its file server, may differ by this much, s.
CLOCKS_DIFFER_S = 600.0
#: A file that changed less than this ago, s, may change again within the second in which a server counts.
YOUNG_S = 10.0


def is_young(mtime_ns: int, *, ahead_s: float = 0.0) -> bool:
    """Whether a file changed so short a time ago, ns since 1970, that one more change may not show.

    Parameters
    ----------
    mtime_ns
        Its time of change, by the clock of its server.
    ahead_s
        How far the clock of this machine may be ahead of that.
    """
    return time.time() - mtime_ns / 1e9 < YOUNG_S + ahead_s


def same_time(one_ns: int, other_ns: int) -> bool:
    """Whether two times of change, ns since 1970, are one, where a file system may have rounded one of them.

    A share reports the time of its client until it has written the file, and that of its server after that; a copy to
    another file system rounds, too. A time that is a whole number of seconds is taken for a rounded one: the other
    may then be up to a second away.

    Examples
    --------
    >>> same_time(1_700_000_000_123_456_789, 1_700_000_000_000_000_000)
    True
    >>> same_time(1_700_000_000_123_456_789, 1_700_000_000_123_456_780)
    False
    """
    apart = abs(one_ns - other_ns)
    return apart == 0 or any(apart < step and (one_ns % step == 0 or other_ns % step == 0) for step in STEPS_NS)
