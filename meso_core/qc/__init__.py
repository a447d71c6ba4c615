"""Quality control as data: typed results, the table of all checks, and the limits with which values are judged.

What belongs here: the record, its verdicts, what each check means, and the files that keep results with a session.
What does not: measuring, and how results are shown. Asset checks, reports, gates and the command line read
these records.
"""

from .check import Check, Limit
from .judging import DEFAULT_LIMITS, Limits, as_read, judge, judged, limit_of, parse_limits
from .record import QCResult, Verdict, worst
from .stored import qc_path, read_results, results_to_json, stored_results
from .table import CHECKS, check_of, checks_in
from .words import in_words, short

__all__ = [
    "CHECKS",
    "DEFAULT_LIMITS",
    "Check",
    "Limit",
    "Limits",
    "QCResult",
    "Verdict",
    "as_read",
    "check_of",
    "checks_in",
    "in_words",
    "judge",
    "judged",
    "limit_of",
    "parse_limits",
    "qc_path",
    "read_results",
    "results_to_json",
    "short",
    "stored_results",
    "worst",
]
