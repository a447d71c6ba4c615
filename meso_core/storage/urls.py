"""Passwords and keys that somebody has written into the URL of a root, and how such a URL is shown.

What belongs here: looking at the text of a URL. What does not: opening it (``filesystem``).
"""

from __future__ import annotations

import re

#: What to do with it.
SECRET_REMEDY = (
    "Take it out of the URL: set AWS_* for S3 and MESO_SFTP_PASSWORD for SFTP, or use a key. "
    "If it is none, since the @ is of a folder, write the user and host as sftp://user@host:port/path"
)
_HOST = r"(\[[0-9a-fA-F:.%]+\]|[^:@/]+)"
#: URLs by scheme in which an ``@`` further on is no end of a secret: it stands in the name of a user or a folder.
_WITHOUT = {
    "s3": re.compile(r"[^:@/]+/.*", re.DOTALL),
    "memory": re.compile(r"[^:@/]+/.*", re.DOTALL),
    "sftp": re.compile(rf"([^:/]+@)?{_HOST}(/.*)?|[^:/]+@{_HOST}:\d+(/.*)?", re.DOTALL),
}


def may_hold_a_secret(url: str) -> bool:
    """Whether there may be a password or a key in a URL; one that nobody can tell from a folder counts too."""
    scheme, separator, rest = url.partition("://")
    if not separator or "@" not in rest:
        return False
    without = _WITHOUT.get(scheme)
    return without is None or not without.fullmatch(rest)


def shown(url: str) -> str:
    """Return a URL as it may be shown: of one that may hold a secret, nothing before the last ``@``."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}…@{rest.rpartition('@')[2]}" if may_hold_a_secret(url) else url
