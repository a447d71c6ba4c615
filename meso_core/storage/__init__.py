"""Where results are kept: publishing that is never half done, manifests, dataset files.

What belongs here: bytes, hashes and names on disk. What the bytes mean is the business of the science packages.
"""

from .alf import read_dataset, read_fov, write_fov
from .hashing import FileHash, hash_file
from .manifest import FileRecord, Manifest, PackedFile, RunProvenance, package_versions
from .publish import load_manifest, publish, stage_folder, verify_manifest
from .store import ListedFile, LocalStore, SessionStore, listing_version, open_store

__all__ = [
    "FileHash",
    "FileRecord",
    "ListedFile",
    "LocalStore",
    "Manifest",
    "PackedFile",
    "RunProvenance",
    "SessionStore",
    "hash_file",
    "listing_version",
    "load_manifest",
    "open_store",
    "package_versions",
    "publish",
    "read_dataset",
    "read_fov",
    "stage_folder",
    "verify_manifest",
    "write_fov",
]
