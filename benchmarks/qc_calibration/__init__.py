"""Which verdicts fire on which fault, and how severe it must be: simulated sessions with one thing wrong at a time.

    python -m benchmarks.qc_calibration [SESSIONS] [--record FILE] [--page docs/qc.md]   # prints what docs/qc.md shows

Two studies, each of good sessions and of faults from mild to severe, of one field of 160 × 160 px at 6 Hz: long
sessions of 17 min, which suite2p does not see (``parts``), and short ones of 4 min, which it registers and finds cells
in (``whole``). All that is judged is judged by the functions of the product.

With ``--record`` what was judged is kept in a file, line by line, and a sweep that was stopped goes on from there.
"""

from .record import Record
from .sessions import FAULTS, SHORT_FAULTS, Fault, Session, good
from .study import LONG_STUDY, SHORT_STUDY, Row, Study
from .tables import false_alarms_in_words, on_page, table

__all__ = [
    "FAULTS",
    "LONG_STUDY",
    "SHORT_FAULTS",
    "SHORT_STUDY",
    "Fault",
    "Record",
    "Row",
    "Session",
    "Study",
    "false_alarms_in_words",
    "good",
    "on_page",
    "table",
]
