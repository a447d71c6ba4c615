"""Earlier versions of a session's results, as a person handles them: brought back and removed while no run is at work.

What belongs here: claiming the asset, and telling Dagster of what was brought back. The versions themselves are in
``meso_core.storage.publication.versions``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg

from meso_core.errors import SettingsError
from meso_core.progress import Progress, silent
from meso_core.storage import Manifest, Session
from meso_core.storage.publication.versions import KeptVersion

from ..defs.catalogue import CATALOGUE
from ..defs.dagster_internals import brought_back, materializations
from ..defs.running.remote_claims import kept_away
from ..io.managers import publication_metadata
from ..io.session_names import Registered

_COMMAND = "meso versions"


def listed(session: Session, asset: str = "") -> Mapping[str, tuple[KeptVersion, ...]]:
    """List the kept versions of a session, or of one asset of it."""
    there = session.versions
    return {name: there.listed(name) for name in ((_known(asset),) if asset else there.assets())}


def restored(
    session: Session, asset: str, version: str, instance: dg.DagsterInstance, progress: Progress = silent
) -> Manifest:
    """Bring a version back, and let Dagster know it.

    Raises
    ------
    MesoError
        If there is no such version, a file of it does not hold, or a run is making the asset.
    """
    places = CATALOGUE[_known(asset)].places or None
    with kept_away(session, (asset,), _COMMAND) as claims:
        manifest = session.versions.restore(asset, version, places=places, working_for=claims.run_id, progress=progress)
        name = Registered.of(instance).name(session.key)
        events = materializations(instance, asset, name)
        if not events or events[0][3] != manifest.digest:
            shown = publication_metadata(session, manifest)
            instance.report_runless_asset_event(
                brought_back(asset, name, manifest.data_version, manifest.basis.code_version, shown)
            )
    return manifest


def cleaned(session: Session, assets: Sequence[str], n_kept: int) -> tuple[KeptVersion, ...]:
    """Remove all but so many versions of some assets, by default of all; returns those that were removed."""
    there = session.versions
    chosen = tuple(map(_known, assets)) or there.assets()
    with kept_away(session, chosen, _COMMAND):
        return tuple(version for asset in chosen for version in there.clean(asset, n_kept))


def _known(asset: str) -> str:
    if asset not in CATALOGUE:
        remedy = "Name one of them"
        raise SettingsError.at("ASSET", expected=f"one of {', '.join(CATALOGUE)}", found=repr(asset), remedy=remedy)
    return asset
