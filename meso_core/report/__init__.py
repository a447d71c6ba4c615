"""The session report: what a person looks at before trusting a session.

What belongs here: what is measured for it, how it is drawn, and the page. What does not: verdicts that belong to a
result (the rooms that make it give them), and where results lie (the platform hands them over).

:func:`make_report` makes one HTML file of :class:`ReportInputs`. The rooms, each of which knows only those before it:
``measure``, ``draw``, ``page``.
"""

from .index import IndexedSession, make_index
from .inputs import MadeResult, ReportInputs
from .making import Report, make_report
from .page.summary import SessionLine

__all__ = ["IndexedSession", "MadeResult", "Report", "ReportInputs", "SessionLine", "make_index", "make_report"]
