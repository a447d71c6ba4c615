"""What Alyx is told of a session: fields of view, their locations, the craniotomy's normal, snapshots, datasets.

What belongs here: building the records, showing what would change on the server, and sending it once. What does not:
how the locations were found, and the files themselves.

Each kind of record has a ``plan_*`` function that reads what the server holds and sends nothing;
:func:`carry_out` sends what a plan says. A second plan after that is empty. A client is anything with the ``rest``
method of ``one.webclient.AlyxClient``; :func:`connect` makes one that tries again where that is safe.
"""

from .carry import carry_out, register
from .client import AlyxClient, HeldSession, find_session
from .connection import Connection, connect
from .datasets import OwnFile, OwnFiles, own_files, plan_datasets
from .fov import FovRegistration, plan_fovs, register_fov, why_never_sent
from .plan import Action, Change, Kind, Outcome, Part, Plan, Planned, Sent, summary
from .records import FieldOfViewRecord, FovLocationRecord, ImagingStackRecord, Status
from .snapshots import SnapshotNote, SnapshotRegistration, plan_snapshots, register_snapshots
from .surgery import SurgeryUpdate, plan_craniotomy, update_surgery_json
from .transport import AnswerLostError, RefusedError

__all__ = [
    "Action",
    "AlyxClient",
    "AnswerLostError",
    "Change",
    "Connection",
    "FieldOfViewRecord",
    "FovLocationRecord",
    "FovRegistration",
    "HeldSession",
    "ImagingStackRecord",
    "Kind",
    "Outcome",
    "OwnFile",
    "OwnFiles",
    "Part",
    "Plan",
    "Planned",
    "RefusedError",
    "Sent",
    "SnapshotNote",
    "SnapshotRegistration",
    "Status",
    "SurgeryUpdate",
    "carry_out",
    "connect",
    "find_session",
    "own_files",
    "plan_craniotomy",
    "plan_datasets",
    "plan_fovs",
    "plan_snapshots",
    "register",
    "register_fov",
    "register_snapshots",
    "summary",
    "update_surgery_json",
    "why_never_sent",
]
