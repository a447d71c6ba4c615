"""A plot that is still to be drawn, as a value: what draws it, and what it is given.

What belongs here: the value, and what became of it. What does not: drawing (the modules beside this one), and in which
process (``drawers``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec

P = ParamSpec("P")


@dataclass(frozen=True, slots=True, eq=False)
class Plot:
    """A plot that any process can draw; two are never equal."""

    #: Function at the top of a module of this package; gives SVG.
    draw: Callable[..., str]
    #: Plain values and arrays, for they may go to another process.
    given: tuple[object, ...]

    def svg(self) -> str:
        """Draw it, here and now."""
        return self.draw(*self.given)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What became of a plot."""

    svg: str = ""
    #: What went wrong; empty where it was drawn.
    problem: str = ""
    #: Warnings on the way: the other process gives them again.
    warned: tuple[Warning, ...] = ()


def plot_of(draw: Callable[P, str], *given: P.args, **nothing: P.kwargs) -> Plot:
    """Tell what a plot is drawn by, and of what; named values have no place in it.

    Parameters
    ----------
    draw
        Function of this package that gives SVG.
    given
        What it takes.
    """
    assert not nothing, "a plot is given its values by place"
    return Plot(draw, given)
