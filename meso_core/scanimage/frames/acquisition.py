"""Whether the tifs of a folder are one recording.

What belongs here: the comparison of headers and frame numbers from one tif of a bout to the next. What does not:
the order of the files, which is that of their names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from ...errors import InputFileError, problem
from ..tiff.pages import ScanImageTif
from .sources import LocalTif, TifSummary

_FOREIGN = "Move tifs of other recordings out of the bout's folder"


class AcquisitionCheck:
    """Compare each tif of a bout with the one before it.

    Parameters
    ----------
    bout
        Name of the bout, for messages.
    """

    def __init__(self, bout: str) -> None:
        self.bout = bout
        self._last: tuple[str, TifSummary] | None = None

    def add(self, name: str, now: TifSummary) -> None:
        """Check the next tif.

        Raises
        ------
        InputFileError
            If it is of another recording than the one before, or one is missing between them.
        """
        if self._last is not None:
            last_name, last = self._last
            for field, a, b in (
                ("page shape", last.page_shape, now.page_shape),
                ("epoch", last.epoch, now.epoch),
                ("RoiGroups", last.artist, now.artist),
                ("SI header", last.software, now.software),
            ):
                if a != b:
                    raise self._foreign(name, field, f"that of {last_name}: {_difference(a, b)}", _difference(b, a))
            following = last.last_frame + _frames_averaged(last)
            if now.first_frame != following:
                expected = f"frame {following} after {last_name}"
                raise self._foreign(name, "frameNumbers", expected, f"frame {now.first_frame}")
        elif now.first_frame > _frames_averaged(now):
            raise self._foreign(name, "frameNumbers", "frame 1 in the first tif", f"frame {now.first_frame}")
        self._last = name, now

    def _foreign(self, name: str, field: str, expected: str, found: str) -> InputFileError:
        remedy = f"{_FOREIGN}, or copy the tifs that are missing"
        return InputFileError(
            problem(f"{self.bout}/{name}", field=field, expected=expected, found=found, remedy=remedy)
        )


def _frames_averaged(tif: TifSummary) -> int:
    """Frames that ScanImage averaged into each page; their numbers go up by as many."""
    match = re.search(r"SI\.hScan2D\.logAverageFactor = (\d+)", tif.software)
    return max(int(match[1]), 1) if match else 1


def _difference(a: object, b: object) -> str:
    """First line of a text that the other does not hold."""
    if not isinstance(a, str):
        return str(a)
    others = set(str(b).splitlines())
    return next((line.strip() for line in a.splitlines() if line not in others), "a shorter text")[:120]


def open_bout(paths: Sequence[str | os.PathLike[str] | ScanImageTif], bout: str = "") -> tuple[ScanImageTif, ...]:
    """Index the tifs of one bout and make sure that they are one recording.

    Raises
    ------
    InputFileError
        If a tif is damaged, belongs to another recording, or one is missing between two others.
    """
    check, tifs = AcquisitionCheck(bout), []
    for path in paths:
        source = LocalTif(path)
        check.bout = bout or source.path.parent.name
        check.add(source.name, source.summary)
        tifs.append(source.tif)
    return tuple(tifs)
