"""The IO managers: sealed files become those of the session, and published ones the input of the next asset.

What belongs here: handing values to the store and back. How files are published (beside, hash, rename, manifest last)
is in ``meso_core.storage``; what they mean to a reader is in ``published``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from meso_core.archive.delivered import delivered_files, raw_by_kind
from meso_core.progress import Progress, throttled
from meso_core.session import RawFiles, RawKind
from meso_core.storage import Basis, MadeBy, Manifest, Sealed, Session
from meso_core.storage.typed import Promised, check_sealed, files_by_fov, must_agree, published_shapes

from .metadata import lineage_metadata, missing_metadata
from .published import read_files, read_fovs, read_metadata, required
from .resources import Platform
from .shown import show_with_asset
from .tolerated import tolerated_metadata, tolerating

#: Meaning of an asset's files to those that read it.
Reader = Callable[[Session, Manifest], object]


@dataclass(frozen=True, slots=True)
class Publication:
    """Files of one asset that are ready to be published, and what the record says of them.

    Attributes
    ----------
    sealed
        The files; None where what an earlier run published is current.
    basis
        What they depend on.
    made_by
        Which run made them.
    then
        Called once they are published.
    places
        Regular expression of the paths at which the asset may publish.
    n_kept
        Earlier versions that are kept; 0 where what is replaced is not.
    datasets
        ALF datasets that each field of view must have, without provenance suffix.
    left_out
        Fields of view that the settings leave out.
    shown
        What a person reads about the result, as metadata.
    """

    sealed: Sealed | None
    basis: Basis
    made_by: MadeBy
    then: Callable[[], None] | None = None
    places: str | None = None
    n_kept: int = 0
    datasets: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    shown: Mapping[str, Any] = field(default_factory=dict)


#: The type by which Dagster knows what an asset hands over.
PUBLICATION = dg.PythonObjectDagsterType(Publication)


class SessionFilesIOManager(dg.IOManager):
    """Publishes sealed files; hands the published ones to the next asset as what they mean, or else as paths.

    Parameters
    ----------
    platform
        Where sessions lie.
    readers
        Asset → meaning of its files, for those that have one.
    """

    def __init__(self, platform: Platform, readers: Mapping[str, Reader]) -> None:
        self._platform, self._readers = platform, dict(readers)

    def handle_output(self, context: dg.OutputContext, obj: Publication) -> None:
        """Publish; nothing is to be done where an earlier result is current."""
        session, asset = _session(self._platform, context), context.asset_key.path[-1]
        with tolerating(context.log) as tolerated:
            if obj.sealed is not None:
                self.check(session, obj.sealed, obj)
                _publish(session, obj.sealed, obj, throttled(context.log.info, every_s=10.0))
            if obj.then is not None:
                obj.then()
            shown = publication_metadata(session, required(session, asset))
        # what was tolerated before has its own entry
        tolerated_then = tolerated_metadata(tolerated, "tolerated_when_published")
        show_with_asset(context, {**obj.shown, **shown, **tolerated_then})

    def check(self, session: Session, sealed: Sealed, publication: Publication) -> None:
        """Refuse what must not be published; files that are no datasets may be anything."""

    def load_input(self, context: dg.InputContext) -> object:
        """Hand out what an upstream asset published."""
        session, asset = _session(self._platform, context), context.asset_key.path[-1]
        with tolerating(context.log):
            return self._readers.get(asset, self.default)(session, required(session, asset))

    default: Reader = staticmethod(read_files)


def _session(platform: Platform, context: dg.InputContext | dg.OutputContext) -> Session:
    """Open the session of a partition. Outside of runs there are no records that know whose a name is."""
    try:
        instance = context.step_context.instance
    except dg.DagsterInvariantViolationError:
        instance = None
    return platform.session(context.partition_key, instance)


def _publish(session: Session, sealed: Sealed, obj: Publication, progress: Progress) -> None:
    keeps = obj.n_kept > 0
    session.publish(sealed, obj.basis, obj.made_by, places=obj.places, progress=progress, keep=keeps)
    if keeps:
        session.versions.clean(sealed.asset, obj.n_kept)


def publication_metadata(session: Session, manifest: Manifest) -> dict[str, Any]:
    """Describe what is published: how much it is, where, and its record."""
    return {
        "files": len(manifest.files),
        "size_mb": round(manifest.total_bytes / 1e6, 3),
        "folder": dg.MetadataValue.path(session.where()),
        "content_version": manifest.data_version[:12],
        **missing_metadata(manifest),
        **lineage_metadata(session, manifest),
    }


class AlfIOManager(SessionFilesIOManager):
    """Publishes datasets that are what they must be, and agree; hands them out by FOV, read when asked for."""

    def check(self, session: Session, sealed: Sealed, publication: Publication) -> None:
        """Refuse datasets that are missing, of another kind, or disagree with those of other assets.

        Raises
        ------
        DatasetError
            With all problems of all fields of view.
        """
        basis, made = publication.basis, session.manifests()
        others = must_agree(sealed.asset, basis, made)
        read = [manifest for name, manifest in others.items() if name in basis.inputs]
        fovs = self._fovs(session, read) - {*sealed.missing, *publication.left_out}
        promised = Promised(publication.datasets, sorted(fovs) or None)
        check_sealed(sealed, promised, others, published_shapes(session), where=str(session.key))

    def _fovs(self, session: Session, read: Sequence[Manifest]) -> set[str]:
        """Names of the fields of view: those of the imaging metadata, or else of the datasets that were read."""
        for manifest in read:
            if self._readers.get(manifest.asset) is read_metadata:
                return {fov.name for fov in read_metadata(session, manifest).imaging.fovs}
        return {fov for one in read for fov in files_by_fov(one.files)}

    default: Reader = staticmethod(read_fovs)


class RawIOManager(dg.IOManager):
    """Hands out the rig's files of one kind; nothing is ever written through it."""

    def __init__(self, platform: Platform, kinds: Mapping[str, RawKind]) -> None:
        self._platform, self._kinds = platform, dict(kinds)

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Refuse: raw data is only read."""
        raise TypeError(f"{context.asset_key.to_user_string()}: raw data is only read, found {type(obj).__name__}")

    def load_input(self, context: dg.InputContext) -> RawFiles:
        """List the rig's files of the kind that the asset stands for; what an asset reads of them it fetches itself."""
        session = _session(self._platform, context)
        files = delivered_files(session, session.manifests())
        return raw_by_kind(session.path, files)[self._kinds[context.asset_key.path[-1]]]
