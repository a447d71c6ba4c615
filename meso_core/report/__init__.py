"""The session report: what a person looks at before trusting a session.

What belongs here: what is measured for it, how it is drawn, and the page. What does not: verdicts that belong to a
result (the rooms that make it give them), and where results lie (the platform hands them over).

:func:`make_report` makes one HTML file of :class:`ReportInputs`. The rooms, each of which knows only those before it:
``measure``, ``judge``, ``draw``, ``page``. :func:`judge_session` gives verdicts on what all results together tell.
"""

from .index import IndexedSession, make_index
from .inputs import FarMovie, MadeResult, ReferenceFiles, ReportInputs
from .judge.session import judge_session
from .making import Report, make_report
from .page.summary import SessionLine
from .stacks import tells_any_depth

__all__ = [
    "FarMovie",
    "IndexedSession",
    "MadeResult",
    "ReferenceFiles",
    "Report",
    "ReportInputs",
    "SessionLine",
    "judge_session",
    "make_index",
    "make_report",
    "tells_any_depth",
]
