"""Making an asset again from its recorded inputs and settings, beside the session: the strongest audit.

What belongs here: a view of the session in a scratch folder, the run in it, and the comparison. The session itself is
only read: its files are links in the view, and its records copies.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg

from meso_core.archive.delivered import files_to_read
from meso_core.errors import MissingInputError, ProcessingError
from meso_core.lineage import FileComparison, compare_files
from meso_core.session import GONE, LEFT_OUT_FOVS, MESO_FOLDER
from meso_core.storage import Manifest, Session, code_version, package_versions

from ..defs.catalogue import CATALOGUE
from ..defs.dagster_internals import end_of_steps, failure_message
from ..defs.declare import Declaration
from ..defs.jobs import PROCESS_SESSION
from ..defs.standing.standings import SessionView, look_at
from ..io.alyx import OFF
from ..io.published import required
from ..io.resources import Platform
from .run import register_sessions
from .settings.settings import MesoSettings

#: What of `.meso` tells what the rig delivered, what assets have made and what people said; the rest may be many times
#: as large: earlier versions, tifs that were set aside, scratch.
_RECORDS = ("manifests", "archive", "removals.jsonl", "verdicts.jsonl")


@dataclass(frozen=True, slots=True)
class Reproduction:
    """An asset that was made again."""

    session: str
    asset: str
    #: Run that made it first.
    run_id: str
    files: tuple[FileComparison, ...]
    #: What was not as it was when it was made first: code, packages; it may explain what differs.
    notes: tuple[str, ...]

    @property
    def is_identical(self) -> bool:
        """Whether all files are bit-identical."""
        return all(file.is_equal for file in self.files)


def reproduce(settings: MesoSettings, session: Session, asset: str) -> Reproduction:
    """Make an asset again from its recorded inputs and settings, and compare.

    Raises
    ------
    MissingInputError
        If it was never made, or its inputs are not those that it was made from.
    ProcessingError
        If it cannot be made.
    """
    declared, manifest = CATALOGUE[asset], required(session, asset)
    recorded = recorded_settings(settings, declared, manifest)
    _insist_on_no_server(session, declared, manifest)
    _insist_on_inputs(session, recorded, declared, manifest)
    with _view(session, declared, manifest) as folder:
        scratch = recorded.model_copy(
            # what it was made from is recorded: a server has no part in it, whatever the settings are today
            update={"root": folder / "root", "home": folder / "home", "executor": "in_process", "alyx": OFF}
        )
        new = _make(scratch, session, declared, manifest, folder)
        made = scratch_session(scratch, session).path
        paths = sorted({file.path for file in (*manifest.files, *new.files)})
        there = session.present().files
        session_path = session.fetch(path for path in paths if path in there)
        files = tuple(compare_files(path, session_path / path, made / path) for path in paths)
        files = tuple(_as_recorded(comparison, manifest, new) for comparison in files)
    notes = (*_notes(manifest), *_by_hand(session, manifest))
    return Reproduction(str(session.key), asset, manifest.made_by.run_id, files, notes)


def _insist_on_no_server(session: Session, declared: Declaration, manifest: Manifest) -> None:
    """Refuse what a server had a part in: to make it again would send it again."""
    mode = manifest.basis.settings.get("alyx", OFF)
    if mode != OFF:
        raise ProcessingError.at(
            f"{session.key} {declared.name}",
            expected="a result that follows from its inputs alone",
            found=f"one that was made with MESO_ALYX={mode}: a server had a part in it",
            remedy="Compare with the server: meso alyx audit",
        )


def scratch_session(settings: MesoSettings, session: Session) -> Session:
    """Open the view of a session."""
    return Platform.open(settings).at(session.key)


def recorded_settings(settings: MesoSettings, declared: Declaration, manifest: Manifest) -> MesoSettings:
    """Return the settings with those that an asset was made with."""
    chosen: dict[str, Any] = settings.model_dump(mode="json", exclude_none=True)
    for name in declared.settings:
        if name in manifest.basis.settings:
            chosen[name] = manifest.basis.settings[name]
    chosen[LEFT_OUT_FOVS] = {manifest.session: manifest.basis.left_out} if manifest.basis.left_out else {}
    if declared.stage is not None:
        usual = declared.settings_now(settings.model_copy(update={"suite2p": {}}))
        chosen["suite2p"] = {  # some of the others are none that a person may set
            name.removeprefix("suite2p."): value
            for name, value in manifest.basis.settings.items()
            if name.startswith("suite2p.") and value != usual.get(name)
        }
    return MesoSettings(**{name: value for name, value in chosen.items() if value is not None})


def _insist_on_inputs(session: Session, settings: MesoSettings, declared: Declaration, manifest: Manifest) -> None:
    now = look_at(session).standing(declared, settings).basis
    changed = [
        f"{name}: {version[:12]} → {now.inputs.get(name, '(none)')[:12]}"
        for name, version in manifest.basis.inputs.items()
        if now.inputs.get(name) != version
    ]
    if changed:
        raise MissingInputError.at(
            f"{session.key} {declared.name}",
            expected="the inputs that it was made from",
            found=f"others: {', '.join(changed)}",
            remedy=f"Bring them back, or run `meso run {session.key} --assets {declared.name}` first",
        )


@contextmanager
def _view(session: Session, declared: Declaration, manifest: Manifest) -> Iterator[Path]:
    """Show a session without the files and the record of one asset, in a scratch folder that is gone afterwards."""
    seen = look_at(session)
    raw, shown = seen.raw, _shown(seen, declared, manifest)
    session.fetch(path for path in shown if seen.present.files[path].size != GONE)
    copied = {file.path for kind in declared.raw for file in raw[kind].files} if declared.takes_no_links else set()
    with TemporaryDirectory(prefix="meso-reproduce-") as name:
        view = session.key.folder(Path(name) / "root")
        view.mkdir(parents=True)
        for path in shown:
            (view / path).parent.mkdir(parents=True, exist_ok=True)
            if path in copied:
                shutil.copy2(session.path / path, view / path)
            else:
                (view / path).symlink_to(session.path / path)
        _copy_records(session.path / MESO_FOLDER, view / MESO_FOLDER)
        for record in (view / MESO_FOLDER / "manifests").glob("*.json"):
            # on a server only what it reads was fetched: checks would look for the files of the others
            if record.stem == manifest.asset or not (session.store.is_local or record.stem in declared.upstream):
                record.unlink()
        yield Path(name)


def _copy_records(source: Path, target: Path) -> None:
    target.mkdir()
    for name in _RECORDS:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)
        elif (source / name).exists():
            shutil.copy2(source / name, target / name)


def _shown(seen: SessionView, declared: Declaration, manifest: Manifest) -> list[str]:
    """Paths of the files of the view: all but those of the asset; on a server, those that it reads."""
    own = {file.path for file in manifest.files}
    if seen.session.store.is_local:
        return [file.path for file in seen.listing if file.path not in own]
    read = {path for kind in declared.raw for path in files_to_read(seen.raw[kind], seen.listing)}
    read |= {file.path for name in declared.upstream if name in seen.made for file in seen.made[name].files}
    return sorted((read - own) & set(seen.present.files))


def _make(
    settings: MesoSettings, session: Session, declared: Declaration, manifest: Manifest, folder: Path
) -> Manifest:
    """Run the asset in the view, as the platform does, with records of its own."""
    from ..definitions import build_defs

    between = dg.FilesystemIOManager(base_dir=str(folder / "between_steps"))
    defs = build_defs(settings, resources={"between_steps": between})
    options = dict(manifest.made_by.options)
    config = {"ops": {declared.name: {"config": options}}} if options else {}
    with dg.DagsterInstance.ephemeral() as instance:
        names = register_sessions(instance, Platform.open(settings), [session.key])
        done = defs.resolve_job_def(PROCESS_SESSION).execute_in_process(
            instance=instance,
            partition_key=names[session.key],
            asset_selection=[dg.AssetKey(declared.name)],
            run_config={"loggers": {"readable": {}}, **config},
            raise_on_error=False,
        )
        if not done.success:
            steps = end_of_steps(instance, done.run_id)
            why = "; ".join(failure_message(event) for event in steps if event.is_step_failure)
            raise ProcessingError.at(
                f"{session.key} {declared.name}",
                expected="that it can be made again",
                found=why,
                remedy="Look at the message; the session itself was not touched",
            )
    return required(scratch_session(settings, session), declared.name)


def _as_recorded(comparison: FileComparison, manifest: Manifest, new: Manifest) -> FileComparison:
    """Judge by the recorded hashes: a file of the session that was changed since says nothing about the run."""
    before = {file.path: file.sha256 for file in manifest.files}.get(comparison.path)
    after = {file.path: file.sha256 for file in new.files}.get(comparison.path)
    if before == after:
        told = "" if comparison.is_equal else "as recorded; the session's own file was changed since"
        return FileComparison(comparison.path, True, told)
    return comparison if not comparison.is_equal else FileComparison(comparison.path, False, "not as it was recorded")


def _by_hand(session: Session, manifest: Manifest) -> tuple[str, ...]:
    """Say which files hold what a person has decided: no run makes that again."""
    from meso_core.imaging import CLASSIFICATION, edited_by_hand

    paths = [f.path for f in manifest.files if f.path.rpartition("/")[2] == CLASSIFICATION]
    if not paths:
        return ()
    present = session.present().files
    there = [path for path in paths if path in present]
    folder = session.fetch(there)
    return tuple(
        f"{path} was edited by hand: its labels, and ROIs that were merged or drawn, are not made again"
        for path in there
        if edited_by_hand(folder / path)
    )


def _notes(manifest: Manifest) -> tuple[str, ...]:
    made, notes = manifest.made_by, []
    if made.code != code_version():
        notes.append(f"code: {made.code} → {code_version()}")
    now = package_versions(tuple(made.packages))
    notes += [
        f"package {name}: {version} → {now.get(name, '(none)')}"
        for name, version in made.packages.items()
        if now.get(name) != version and name != "meso"
    ]
    return tuple(notes)
