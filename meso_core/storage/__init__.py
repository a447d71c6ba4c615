"""Where results are kept: publishing that is never half done, manifests, what is current, dataset files.

What belongs here: bytes, hashes and names on disk. What the bytes mean is the business of the science packages.
"""

from .alf import read_dataset, write_fov
from .files.atomic import HashedFile, replacing, storage_errors, write_file
from .files.file_system import FileSystem, file_system_of, try_file_system
from .files.hashing import FileHash, hash_file
from .manifests.basis import Basis, ChangedSetting
from .manifests.code_version import CodeVersion, code_version, package_versions
from .manifests.currency import Cause, Standing, standing
from .manifests.manifest import Chain, FileRecord, MadeBy, Manifest, MissingFov, PackedFile
from .manifests.ownership import foreign_results, in_the_way
from .manifests.present import PresentFiles
from .publication.publishing import load_manifest, publish, published_assets, verify_manifest
from .publication.staging import Sealed, Staging
from .roots.naming import meant_session
from .roots.stamp import FolderStamp, folder_stamp
from .roots.store import LocalStore, SessionRoots, SessionStore, open_roots, open_store
from .session import Session

__all__ = [
    "Basis",
    "Cause",
    "Chain",
    "ChangedSetting",
    "CodeVersion",
    "FileHash",
    "FileRecord",
    "FileSystem",
    "FolderStamp",
    "HashedFile",
    "LocalStore",
    "MadeBy",
    "Manifest",
    "MissingFov",
    "PackedFile",
    "PresentFiles",
    "Sealed",
    "Session",
    "SessionRoots",
    "SessionStore",
    "Staging",
    "Standing",
    "code_version",
    "file_system_of",
    "folder_stamp",
    "foreign_results",
    "hash_file",
    "in_the_way",
    "load_manifest",
    "meant_session",
    "open_roots",
    "open_store",
    "package_versions",
    "publish",
    "published_assets",
    "read_dataset",
    "replacing",
    "standing",
    "storage_errors",
    "try_file_system",
    "verify_manifest",
    "write_file",
    "write_fov",
]
