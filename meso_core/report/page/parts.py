"""The parts of a page, as values that the templates lay out.

What belongs here: the types. What does not: what is in them (the modules of the sections), and markup (``templates``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...qc import QCResult, Verdict
from ..draw.plots import Plot

#: Verdict → sign (told apart without colour), word, and class of the style sheet.
SIGNS = {
    Verdict.PASS: ("✓", "good", "pass"),
    Verdict.WARNING: ("▲", "look", "warning"),
    Verdict.FAIL: ("✕", "bad", "fail"),
}
#: The same where nothing was measured.
NOT_JUDGED = ("–", "not judged", "none")


@dataclass(frozen=True, slots=True)
class Row:
    """A name and what it is."""

    name: str
    value: str
    #: What it means, or how it was found.
    note: str = ""


@dataclass(frozen=True, slots=True)
class Movie:
    """A movie in a file beside the page."""

    #: Path below the folder of the page.
    path: str
    #: Data URI of a picture that is shown until it is played, and on paper.
    poster: str
    width: int
    height: int
    #: What it shows, for who does not see it.
    alt: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A check that a figure shows."""

    #: Its name.
    check: str
    #: What was found, with its unit; empty where nothing was judged.
    found: str
    #: Its limits in words.
    limit: str
    #: Sign, word and class of the verdict.
    sign: tuple[str, str, str]
    #: Which fields it speaks of, where it does not of all.
    fields: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with how to read it, and what it is judged by."""

    title: str
    #: What is drawn, and its SVG from :meth:`Page.drawn` on; None for pictures alone.
    plot: Plot | str | None
    how_to_read: str
    #: Checks that it shows; empty where it is there to be looked at.
    judged: Sequence[Judged]
    #: Data URIs of further pictures: (address, caption, alternative text).
    pictures: Sequence[tuple[str, str, str]] = ()
    #: A movie beside the page.
    movie: Movie | None = None
    #: Whether it takes the whole width.
    wide: bool = True


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What is told of the session on its page of lineage, which only the interface has."""

    #: Where the page is a file: the commands that tell it.
    words: str
    #: Where the interface shows the page: text of the link.
    link: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with its own place in the list of contents."""

    anchor: str
    title: str
    #: One or two sentences on what it tells.
    lead: str = ""
    rows: Sequence[Row] = ()
    figures: Sequence[Figure] = ()
    #: What is not there, and why, a sentence each.
    missing: Sequence[str] = ()
    verdicts: Sequence[QCResult] = ()
    #: Head and rows of a table.
    table: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None
    table_note: str = ""
    elsewhere: Elsewhere | None = None


@dataclass(frozen=True, slots=True)
class FieldView:
    """One field of view: its pictures, its ROIs, and what the page's script needs to show them."""

    name: str
    #: Pixels.
    nx: int
    ny: int
    #: Name of the picture → data URI; the first is shown at first.
    pictures: Sequence[tuple[str, str]]
    #: Paths of the outlines of cells and of other ROIs, one a line.
    cells: str
    others: str
    #: What the pictures are judged by.
    judged: Sequence[Judged]
    #: Length of the scale bar, px, and what is written on it.
    bar_px: float
    bar: str
    rows: Sequence[Row] = ()
    figures: Sequence[Figure] = ()
    missing: Sequence[str] = ()
    verdicts: Sequence[QCResult] = ()
    #: What the script reads, as JSON values; empty where there are no ROIs.
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """A whole report."""

    title: str
    subtitle: str
    verdict: Verdict
    verdict_text: str
    card: Section
    fields: Sequence[FieldView]
    #: Sections before and after the fields of view.
    before: Sequence[Section]
    after: Sequence[Section]
    #: What must be said first, as that the atlas is made up.
    warnings: Sequence[str] = ()
    #: What people said, newest first, as ``people`` tells it.
    people: Sequence[Any] = ()

    def drawn(self, svg: Callable[[Plot], str]) -> Page:
        """Return the page with the SVG of each plot in its place."""

        def with_svg(figures: Sequence[Figure]) -> list[Figure]:
            return [replace(one, plot=svg(one.plot)) if isinstance(one.plot, Plot) else one for one in figures]

        fields = [replace(one, figures=with_svg(one.figures)) for one in self.fields]
        before, after = (
            [replace(one, figures=with_svg(one.figures)) for one in part] for part in (self.before, self.after)
        )
        return replace(self, fields=fields, before=before, after=after)


def plots_of(figures: Sequence[Figure]) -> list[Plot]:
    """List the plots of figures that are still to be drawn."""
    return [one.plot for one in figures if isinstance(one.plot, Plot)]
