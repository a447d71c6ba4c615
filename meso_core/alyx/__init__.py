"""What Alyx is told of a session: fields of view, their locations, the craniotomy's normal, snapshots.

What belongs here: building the records, showing them (dry run), and sending them once. What does not: datasets and
their registration, and how the locations were found.

Every function takes ``client=None``. Without a client nothing is sent, and the records that would be sent are
returned. A client is anything with the ``rest`` method of ``one.webclient.AlyxClient``.
"""

from .client import AlyxClient
from .fov import FovRegistration, register_fov
from .records import FieldOfViewRecord, FovLocationRecord, ImagingStackRecord, Status
from .snapshots import SnapshotNote, SnapshotRegistration, register_snapshots
from .surgery import SurgeryUpdate, update_surgery_json

__all__ = [
    "AlyxClient",
    "FieldOfViewRecord",
    "FovLocationRecord",
    "FovRegistration",
    "ImagingStackRecord",
    "SnapshotNote",
    "SnapshotRegistration",
    "Status",
    "SurgeryUpdate",
    "register_fov",
    "register_snapshots",
    "update_surgery_json",
]
