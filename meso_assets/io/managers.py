"""The IO managers: sealed files become those of the session, and published ones the input of the next asset.

What belongs here: handing values to the store and back. How files are published (beside, hash, rename, manifest last)
is in ``meso_core.storage``; what they mean to a reader is in ``published``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import dagster as dg

from meso_core.archive.delivered import delivered_files, raw_by_kind
from meso_core.session import RawFiles, RawKind
from meso_core.storage import Basis, MadeBy, Manifest, Sealed, Session

from .metadata import lineage_metadata
from .published import read_files, read_fovs, required
from .resources import Platform

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
    """

    sealed: Sealed | None
    basis: Basis
    made_by: MadeBy
    then: Callable[[], None] | None = None
    places: str | None = None


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
        session, asset = self._platform.session(context.partition_key), context.asset_key.path[-1]
        if obj.sealed is not None:
            session.publish(obj.sealed, obj.basis, obj.made_by, places=obj.places)
        if obj.then is not None:
            obj.then()
        manifest = required(session, asset)
        context.add_output_metadata(
            {
                "files": len(manifest.files),
                "size_mb": round(manifest.total_bytes / 1e6, 3),
                "folder": dg.MetadataValue.path(session.where()),
                "content_version": manifest.data_version[:12],
                **lineage_metadata(session, manifest),
            }
        )

    def load_input(self, context: dg.InputContext) -> object:
        """Hand out what an upstream asset published."""
        session, asset = self._platform.session(context.partition_key), context.asset_key.path[-1]
        return self._readers.get(asset, self.default)(session, required(session, asset))

    default: Reader = staticmethod(read_files)


class AlfIOManager(SessionFilesIOManager):
    """Hands out datasets by FOV, read when asked for."""

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
        session = self._platform.session(context.partition_key)
        files = delivered_files(session, session.manifests())
        return raw_by_kind(session.path, files)[self._kinds[context.asset_key.path[-1]]]
