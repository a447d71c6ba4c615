"""Lines of Dagster's services without colours, where nobody sees colours.

What belongs here: what those services write. They colour their lines also in a file and in the journal, and have no
option for plain ones. Where the output is a terminal, colours stay, unless ``NO_COLOR`` is set (<https://no-color.org>).
"""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import Any

import coloredlogs

_COLOURED: type[logging.Formatter] = coloredlogs.ColoredFormatter
#: A colour, in ECMA-48's "select graphic rendition"; the formatter has them in its format.
_ESCAPE = re.compile(r"\x1b\[[\d;]*m")


def plain_from_now_on() -> None:
    """Let what Dagster sets up later in this process write plain lines, but to a terminal."""
    coloredlogs.ColoredFormatter = _formatter


def plain_what_is_set_up() -> None:
    """Let what Dagster has set up in this process write plain lines, but to a terminal.

    The server of the code location is started by Dagster itself, and sets up its lines before it loads the location.
    """
    for handler in logging.getLogger("dagster").handlers:
        found = handler.formatter
        if isinstance(handler, logging.StreamHandler) and isinstance(found, _COLOURED) and not _shows(handler.stream):
            handler.setFormatter(logging.Formatter(_ESCAPE.sub("", found._fmt or ""), found.datefmt))


def _formatter(fmt: str | None = None, datefmt: str | None = None, **styles: Any) -> logging.Formatter:  # noqa: ANN401
    return _COLOURED(fmt, datefmt, **styles) if _shows(sys.stdout) else logging.Formatter(fmt, datefmt)


def _shows(stream: Any) -> bool:  # noqa: ANN401  any file
    return not os.environ.get("NO_COLOR") and bool(stream.isatty())
