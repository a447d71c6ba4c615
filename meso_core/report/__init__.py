"""The session report: what a person looks at before trusting a session.

What belongs here: what is measured for it, how it is drawn, and the page. What does not: verdicts that belong to a
result (the rooms that make it give them), and where results lie (the platform hands them over).

:func:`make_report` makes one HTML file of :class:`ReportInputs`. The rooms, each of which knows only those before it:
``measure``, ``judge``, ``draw``, ``page``. :func:`judge_session` gives verdicts on what all results together tell.
:func:`make_lineage_page` tells which run made each result, when it is asked.
"""

from .index import IndexedSession, make_index
from .inputs import FarMovie, MadeResult, ReferenceFiles, ReportInputs
from .judge.session import judge_session
from .lineage_page import GivenInput, SessionLineage, ShownResult, ShownRun, make_lineage_page
from .making import Report, make_report
from .page.summary import SessionLine
from .stacks import tells_any_depth

__all__ = [
    "FarMovie",
    "GivenInput",
    "IndexedSession",
    "MadeResult",
    "ReferenceFiles",
    "Report",
    "ReportInputs",
    "SessionLine",
    "SessionLineage",
    "ShownResult",
    "ShownRun",
    "judge_session",
    "make_index",
    "make_lineage_page",
    "make_report",
    "tells_any_depth",
]
