"""Whether the tifs of a folder are one recording.

What belongs here: the comparison of headers from one tif of a bout to the next. What does not: the order of the files,
which is that of their names, and frame numbers (``placement``).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

from ...errors import InputFileError, MesoWarning, brief
from ..measured import drifted, is_layout, is_near
from ..tiff.header import parse_si_header
from ..tiff.pages import ScanImageTif
from .sources import LocalTif, TifSummary


class AcquisitionCheck:
    """Compare each tif of a bout with the first.

    Parameters
    ----------
    bout
        Name of the bout, for messages.
    """

    def __init__(self, bout: str) -> None:
        self.bout = bout
        self._first: tuple[str, TifSummary] | None = None
        self._told: set[str] = set()

    def add(self, name: str, now: TifSummary | None) -> None:
        """Check the next tif; one without a whole page (None) says nothing.

        Raises
        ------
        InputFileError
            If it is of another recording than the first.

        Warns
        -----
        MesoWarning
            If header fields differ that neither are measured nor decide which pixels are where.
        """
        if now is None:
            return
        if self._first is None:
            self._first = name, now
            return
        first_name, first = self._first
        for field, a, b in (
            ("page shape", first.page_shape, now.page_shape),
            ("epoch", first.epoch, now.epoch),
            ("RoiGroups", first.artist, now.artist),
        ):
            if a != b:
                raise self._foreign(name, field, f"that of {first_name}: {_difference(a, b)}", _difference(b, a))
        if first.software != now.software:
            self._compare_headers(name, now)

    def _compare_headers(self, name: str, now: TifSummary) -> None:
        assert self._first is not None
        first_name, first = self._first
        a, b = parse_si_header(first.software), parse_si_header(now.software)
        for key in sorted({*a, *b}):
            field, x, y = key.removeprefix("SI."), a.get(key), b.get(key)
            if is_near(x, y, 1e-9) or drifted(field, x, y):
                continue
            if is_layout(field):
                raise self._foreign(name, key, f"{brief(x)} as in {first_name}", brief(y))
            if field not in self._told:
                self._told.add(field)
                text = f"{key} is {brief(y)}, in {first_name} {brief(x)}; this does not matter for where pixels lie"
                warnings.warn(f"{self.bout}/{name}: {text}", MesoWarning, stacklevel=4)

    def _foreign(self, name: str, field: str, expected: str, found: str) -> InputFileError:
        remedy = "Move tifs of other recordings out of the bout's folder; each is a bout of its own"
        return InputFileError.at(f"{self.bout}/{name}", field=field, expected=expected, found=found, remedy=remedy)


def _difference(a: object, b: object) -> str:
    """First line of a text that the other does not hold."""
    if not isinstance(a, str):
        return str(a)
    others = set(str(b).splitlines())
    return next((line.strip() for line in a.splitlines() if line not in others), "a shorter text")[:120]


def open_bout(paths: Sequence[str | os.PathLike[str] | ScanImageTif], bout: str = "") -> tuple[ScanImageTif, ...]:
    """Index the tifs of one bout, also those that are cut short, and make sure that they are one recording.

    Raises
    ------
    InputFileError
        If a tif is not of ScanImage, or belongs to another recording than the first.
    """
    check, tifs = AcquisitionCheck(bout), []
    for path in paths:
        source = LocalTif(path)
        check.bout = bout or source.path.parent.name
        check.add(source.name, source.summary)
        tifs.append(source.tif)
    return tuple(tifs)
