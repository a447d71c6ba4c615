"""What ``meso_core`` tolerates, as Dagster shows it: in the log of the run, and with the result.

What belongs here: the way of a warning into the log. Errors are in ``defs.guard``.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from meso_core.errors import MesoWarning


@contextmanager
def tolerating(log: logging.Logger) -> Iterator[list[str]]:
    """Log what ``meso_core`` tolerates in the block, also where the block ends with an error.

    Yields
    ------
    list of str
        Messages of the warnings, filled when the block ends.
    """
    tolerated: list[str] = []
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", MesoWarning)
            yield tolerated
    finally:
        for warning in caught:
            if issubclass(warning.category, MesoWarning):
                log.warning(str(warning.message))
                tolerated.append(str(warning.message))
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def tolerated_metadata(tolerated: list[str], name: str = "tolerated") -> Mapping[str, Any]:
    """Metadata entry for what was tolerated; empty where nothing was."""
    return {name: dg.MetadataValue.md("\n".join(f"- {text}" for text in tolerated))} if tolerated else {}
