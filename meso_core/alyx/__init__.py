"""What Alyx is told of a session: fields of view, their locations, the craniotomy's normal, snapshots, files, quality.

What belongs here: building the records, showing what would change on the server, and sending it once. What does not:
how the locations were found, and the files themselves.

Each kind of record has a ``plan_*`` function that reads what the server holds and sends nothing;
:func:`carry_out` sends what a plan says. A second plan after that is empty. A client is anything with the ``rest``
method of ``one.webclient.AlyxClient``; :func:`connect` makes one that tries again where that is safe.
"""

from .audit import AlyxFinding, Reason, only_in_alyx, plan_findings
from .fields.fov import FovRegistration, plan_fovs, register_fov, why_never_sent
from .fields.records import FieldOfViewRecord, FovLocationRecord, ImagingStackRecord, Status
from .fields.surgery import SurgeryUpdate, plan_craniotomy, update_surgery_json
from .files.datasets import OwnFile, OwnFiles, own_files, plan_datasets
from .files.published_files import files_to_register, stage_revisions
from .gate import SendingOverride, allow, failed_checks, forbidding, of_phantom, override_of
from .notes.session_plan import plan_report_note, plan_session_qc
from .notes.session_verdict import SessionVerdict, session_verdict
from .notes.snapshots import SnapshotNote, SnapshotRegistration, plan_snapshots, register_snapshots
from .plan import Action, Change, Kind, Outcome, Part, Plan, Planned, Sent, summary
from .sending.carry import carry_out, register
from .sending.ended import Ended, State, ended, record_path, records_path
from .sending.registering import PlanMaker, Registration, pending, planned, registered, withheld
from .server.answers import AnswerLostError, RefusedError
from .server.client import AlyxClient, HeldSession, find_session
from .server.connection import Connection, connect
from .subject import SubjectAnswer, ask_subject, keep_answer, kept_answer

__all__ = [
    "Action",
    "AlyxClient",
    "AlyxFinding",
    "AnswerLostError",
    "Change",
    "Connection",
    "Ended",
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
    "PlanMaker",
    "Planned",
    "Reason",
    "RefusedError",
    "Registration",
    "SendingOverride",
    "Sent",
    "SessionVerdict",
    "SnapshotNote",
    "SnapshotRegistration",
    "State",
    "Status",
    "SubjectAnswer",
    "SurgeryUpdate",
    "allow",
    "ask_subject",
    "carry_out",
    "connect",
    "ended",
    "failed_checks",
    "files_to_register",
    "find_session",
    "forbidding",
    "keep_answer",
    "kept_answer",
    "of_phantom",
    "only_in_alyx",
    "override_of",
    "own_files",
    "pending",
    "plan_craniotomy",
    "plan_datasets",
    "plan_findings",
    "plan_fovs",
    "plan_report_note",
    "plan_session_qc",
    "plan_snapshots",
    "planned",
    "record_path",
    "records_path",
    "register",
    "register_fov",
    "register_snapshots",
    "registered",
    "session_verdict",
    "stage_revisions",
    "summary",
    "update_surgery_json",
    "why_never_sent",
    "withheld",
]
