"""What a session is: its key, where its files lie, what the rig leaves by kind, and when it is whole.

What belongs here: names and paths, and pure rules over a listing. What does not: the content of any file.
"""

from .paths import (
    IMAGING_META_FILE,
    IMAGING_TIMES_FILE,
    MESO_FOLDER,
    SessionKey,
    find_sessions,
    fov_name,
    imaging_bouts,
    natural_key,
    plane_name,
    raw_tifs,
)

__all__ = [
    "IMAGING_META_FILE",
    "IMAGING_TIMES_FILE",
    "MESO_FOLDER",
    "SessionKey",
    "find_sessions",
    "fov_name",
    "imaging_bouts",
    "natural_key",
    "plane_name",
    "raw_tifs",
]
