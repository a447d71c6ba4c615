"""Reads the figures out of a page: their pictures, how they are read, and what they are judged by."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

#: Elements that are never closed.
_VOID = {"meta", "link", "img", "input", "br", "path"}
#: A check with its limits and its verdict, or what is said where there is none.
_LIMIT = re.compile(
    r"No limit: to look at\.|\S [a-z ]+ .*"
    r"· ((look|bad) (above|below) \S+( [^,·]+)?(, bad (above|below) \S+( [^,·]+)?)?|compared with .+"
    r"|no fixed limit) · (good|look|bad|not judged)(: FOV_.*)?"
)


@dataclass
class PageFigure:
    """A figure as a person sees it."""

    n_pictures: int = 0
    reads: str = ""
    limits: list[str] = field(default_factory=list)


class PageFigures(HTMLParser):
    """All figures of a page, and pictures that stand outside of one."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.figures: list[PageFigure] = []
        self.outside: list[str] = []
        self._open: list[tuple[str, set[str]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        kinds = set((given.get("class") or "").split())
        if tag == "figure":
            self.figures.append(PageFigure())
        if tag in ("img", "video", "canvas") or (tag == "svg" and "plot" in kinds):
            if self._is_in("figure"):
                self.figures[-1].n_pictures += 1
            else:
                self.outside.append(self.get_starttag_text())
        if tag not in _VOID:
            self._open.append((tag, kinds))
        if (tag == "li" and self._has("limits")) or (tag == "p" and "limits" in kinds):
            self.figures[-1].limits.append("")

    def handle_startendtag(self, tag, attrs):
        if tag == "img":
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        if tag not in _VOID:
            self._open.pop()

    def handle_data(self, data):
        if self._has("reads"):
            self.figures[-1].reads += data
        elif self._has("limits") and self.figures[-1].limits:
            self.figures[-1].limits[-1] += data

    def _is_in(self, tag):
        return any(one == tag for one, _ in self._open)

    def _has(self, kind):
        return any(kind in kinds for _, kinds in self._open)


def explained_figures(page: str) -> list[PageFigure]:
    """Return all figures; fail where a picture stands alone, or a figure lacks how it is read or what judges it."""
    read = PageFigures(page)
    assert read.outside == [], "a picture outside of any figure"
    assert len(read.figures) == page.count("<figure ")
    for figure in read.figures:
        assert figure.n_pictures, figure.reads
        assert len(figure.reads) > 60, figure.reads
        assert figure.reads.strip().endswith("."), figure.reads
        assert figure.limits, figure.reads
        figure.limits = [" ".join(line.split()) for line in figure.limits]
        odd = [line for line in figure.limits if not _LIMIT.fullmatch(line)]
        assert odd == [], figure.reads
    return read.figures
