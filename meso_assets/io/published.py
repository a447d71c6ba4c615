"""What an upstream asset published, as values: datasets by FOV, or files.

What belongs here: the types that assets receive, and reading them from a manifest. Publishing is in ``managers``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from meso_core.datasets import DatasetValue
from meso_core.errors import MissingInputError
from meso_core.opening import RECORD_BYTES, read_plain
from meso_core.session import SessionMetadata
from meso_core.storage import Manifest, Session, read_dataset
from meso_core.storage.typed import dataset_of, files_by_fov

if TYPE_CHECKING:
    from meso_core.location import SessionLocations

#: What of the imaging metadata holds for the whole session, brought up to date.
SESSION_METADATA_FILE = "alf/_meso_rawImagingData.meta.json"
#: Imaging metadata of all bouts, brought up to date, with the microscope's time of each page.
BOUTS_FILE = "alf/_meso_imagingBouts.metadata.json"
#: Where the fields of view lie.
LOCATIONS_FILE = "alf/fovs.locations.json"


class FovFiles(Mapping[str, DatasetValue]):
    """Datasets of one FOV, fetched and read (memory-mapped where they are arrays) when asked for.

    Parameters
    ----------
    session
        The session.
    files
        Dataset → path below the session.
    """

    def __init__(self, session: Session, files: Mapping[str, str]) -> None:
        self._session, self._files = session, dict(files)

    def __getitem__(self, name: str) -> DatasetValue:
        path = self._files[name]
        return read_dataset(self._session.fetch([path]) / path)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


class FovDatasets(Mapping[str, Mapping[str, DatasetValue]]):
    """Published datasets by FOV folder and dataset name, read when asked for."""

    def __init__(self, fovs: Mapping[str, FovFiles]) -> None:
        self._fovs = dict(sorted(fovs.items()))

    def __getitem__(self, fov: str) -> FovFiles:
        return self._fovs[fov]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fovs)

    def __len__(self) -> int:
        return len(self._fovs)


@dataclass(frozen=True, slots=True)
class SessionFiles:
    """Files that an asset published."""

    session: Session
    manifest: Manifest

    @property
    def paths(self) -> tuple[Path, ...]:
        """Local paths, in the order of the manifest; the files are fetched."""
        folder = self.session.fetch(file.path for file in self.manifest.files)
        return tuple(folder / file.path for file in self.manifest.files)


@dataclass(frozen=True, slots=True)
class LocatedFovs:
    """Where each pixel of each field of view lies in the brain."""

    locations: SessionLocations
    datasets: FovDatasets
    #: Fields of view that were left out by a setting.
    left_out: tuple[str, ...] = ()


def read_files(session: Session, manifest: Manifest) -> SessionFiles:
    """Hand out the published files; they are fetched when asked for."""
    return SessionFiles(session, manifest)


def read_fovs(session: Session, manifest: Manifest) -> FovDatasets:
    """Hand out the published datasets, by FOV; they are read when asked for."""
    fovs = files_by_fov(manifest.files)
    return FovDatasets({fov: FovFiles(session, {dataset_of(f): f.path for f in files}) for fov, files in fovs.items()})


def read_metadata(session: Session, manifest: Manifest) -> SessionMetadata:
    """Read the session's imaging metadata."""
    from meso_core.scanimage import parse_session_metadata

    file = _published(session, manifest, BOUTS_FILE)
    return parse_session_metadata(read_plain(file, RECORD_BYTES).decode(errors="replace"), str(file))


def read_located(session: Session, manifest: Manifest) -> LocatedFovs:
    """Read where the fields of view lie, and hand out their pixels' places."""
    from meso_core.location import read_locations

    locations = read_locations(_published(session, manifest, LOCATIONS_FILE))
    return LocatedFovs(locations, read_fovs(session, manifest), manifest.basis.left_out)


def required(session: Session, asset: str) -> Manifest:
    """Return the manifest of an asset that must have been made.

    Raises
    ------
    MissingInputError
        If it was never made.
    """
    manifest = session.manifest(asset)
    if manifest is None:
        raise MissingInputError.at(
            str(session.key),
            expected=f"files of {asset}",
            found="none",
            remedy=f"Run {asset} of this session first",
        )
    return manifest


def _published(session: Session, manifest: Manifest, path: str) -> Path:
    if path not in {file.path for file in manifest.files}:
        raise MissingInputError.at(
            session.path / path,
            expected=f"a file of {manifest.asset}",
            found=f"that version {manifest.version} of its record has no such file",
            remedy=f"Run {manifest.asset} of this session again",
        )
    return session.fetch([path]) / path
