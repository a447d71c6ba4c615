"""What is known of a check before anything is measured: its unit, its limits, how to read it.

What belongs here: the types. The checks themselves are in ``table``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limit:
    """From where on a value asks for a look, and from where on it is bad; None where no value does."""

    warning: float | None = None
    fail: float | None = None
    #: Whether small values are bad, not large ones.
    is_low_bad: bool = False

    def is_beyond(self, value: float, end: float | None) -> bool:
        """Whether a value is worse than an end of the range that is good."""
        return end is not None and (value < end if self.is_low_bad else value > end)


@dataclass(frozen=True, slots=True)
class Check:
    """What is known of a check before anything is measured."""

    name: str
    #: Asset that it is about: what a bad verdict speaks against.
    asset: str
    #: Of the value; empty where it is no quantity.
    unit: str
    #: Section of the report with its figure.
    figure: str
    #: For a person: what it means, and what to do.
    how_to_read: str
    #: Usual limits; None where the verdict follows from more than one number, and no lab can move it.
    limit: Limit | None = None
