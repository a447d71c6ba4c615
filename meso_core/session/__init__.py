"""What a session is: its key, where its files lie, what the rig leaves by kind, and when it is whole.

What belongs here: names and paths, pure rules over a listing, and the types of what all rooms know about a session.
What does not: reading the content of its files.
"""

from .arrival import DESCRIPTION, READY_FLAG, Arrival, judge_arrival, read_description, some
from .choosing import below_root, choose_sessions, insist_on_lab, is_whole, named_session
from .finding import Child, Folders, PassedOver, Survey, find_sessions, labs_that_hold, survey_sessions
from .ignored import PARTIAL_COPY, ignored_among, unfinished_copies, why_ignored
from .imaging import BoutMetadata, Fov, ImagingMetadata, SessionMetadata
from .left_out import LEFT_OUT_FOVS, check_left_out, parse_left_out
from .listing import GONE, ListedFile, listing_version
from .paths import (
    ARCHIVE_NAME,
    IMAGING_META_FILE,
    IMAGING_TIMES_FILE,
    MESO_FOLDER,
    ZARR_NAME,
    SessionKey,
    fov_index,
    fov_name,
    imaging_bouts,
    natural_key,
    plane_name,
    printable,
    raw_tifs,
)
from .raw_inputs import (
    RAW_PREFIXES,
    SYNC_FOLDER,
    RawFiles,
    RawKind,
    bout_names,
    daq_folder,
    files_of_kind,
    is_beyond_assets,
    is_frame_archive,
    is_tif,
    odd_bouts,
    surplus_metadata,
)

__all__ = [
    "ARCHIVE_NAME",
    "DESCRIPTION",
    "GONE",
    "IMAGING_META_FILE",
    "IMAGING_TIMES_FILE",
    "LEFT_OUT_FOVS",
    "MESO_FOLDER",
    "PARTIAL_COPY",
    "RAW_PREFIXES",
    "READY_FLAG",
    "SYNC_FOLDER",
    "ZARR_NAME",
    "Arrival",
    "BoutMetadata",
    "Child",
    "Folders",
    "Fov",
    "ImagingMetadata",
    "ListedFile",
    "PassedOver",
    "RawFiles",
    "RawKind",
    "SessionKey",
    "SessionMetadata",
    "Survey",
    "below_root",
    "bout_names",
    "check_left_out",
    "choose_sessions",
    "daq_folder",
    "files_of_kind",
    "find_sessions",
    "fov_index",
    "fov_name",
    "ignored_among",
    "imaging_bouts",
    "insist_on_lab",
    "is_beyond_assets",
    "is_frame_archive",
    "is_tif",
    "is_whole",
    "judge_arrival",
    "labs_that_hold",
    "listing_version",
    "named_session",
    "natural_key",
    "odd_bouts",
    "parse_left_out",
    "plane_name",
    "printable",
    "raw_tifs",
    "read_description",
    "some",
    "surplus_metadata",
    "survey_sessions",
    "unfinished_copies",
    "why_ignored",
]
