"""The audit: contents against ``sha256sum`` on the same cores, and records of very many sessions.

Contents are compared with what ``sha256sum`` takes for the same files, as many at a time as there are cores; in turns,
medians. The quick pass is that of ``meso audit``, in all processes that it starts, verdicts kept; sessions and records
were written beforehand, and what Dagster's log holds of them is handed in.
"""

from __future__ import annotations

import os
import pickle
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.lineage.auditing import AuditOrder, KnownSession, audit_all
from meso_assets.runs.settings.settings import MesoSettings
from meso_core.lineage import AuditedAsset, Materialization, audit_session
from meso_core.machine import cores_at_hand
from meso_core.session import SessionKey
from meso_core.storage import Basis, FileRecord, LocalStore, MadeBy, Manifest, Session, standing

from . import Row, peak_bytes
from .many_sessions import FILES_EACH, ManySessions

_FILE_MB, _N_FILES, _TURNS = 64, 16, 5
_N_SESSIONS = 10_000
_PACKAGES = {"numpy": "2.4", "suite2p": "1.1", "torch": "2.14", "tifffile": "2026.3", "scipy": "1.17"}
_SETTINGS = {f"suite2p.detection.option_{i}": i for i in range(30)}


def _publish(session: Session, asset: str, files: dict[str, int], inputs: dict[str, str]) -> Manifest:
    """Write a record as publishing would, without flushing: ten thousand sessions shall be there soon."""
    records = []
    for path, size in files.items():
        stat = (session.path / path).stat()
        records.append(FileRecord(path, size, _sha(path), "0" * 32, stat.st_mtime_ns))
    basis = Basis("1", inputs, _SETTINGS, _PACKAGES)
    manifest = Manifest(asset, tuple(records), basis, MadeBy("run", _PACKAGES, host="rig"), "2026-01-01T00:00:00+00:00")
    text = replace(manifest, session=str(session.key)).to_json()
    folder = session.path / ".meso" / "manifests"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{asset}.json").write_text(text)
    return Manifest.from_json(text, asset)


def _sha(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def _audit(session: Session, *, deep: bool, threads: int = 1) -> int:
    made = session.manifests()
    listing = session.store.listing(session.key)
    present, assets, inputs = session.present(listing), [], {}
    for name, manifest in made.items():
        basis = Basis("1", inputs, _SETTINGS, _PACKAGES)
        event = Materialization("run", 1767225600.0, manifest.data_version, manifest.digest)
        stands = standing(present, manifest, basis)
        assets.append(AuditedAsset(name, rf"alf/FOV_\d\d/{name}\.npy", stands, (event,)))
        inputs = {name: manifest.data_version}
    return len(audit_session(session, assets, listing, (), deep=deep, threads=threads).faults)


def _settings(folder: Path) -> MesoSettings:
    return MesoSettings(root=folder / "root", home=folder / "home", cores=cores_at_hand())


def _known(file: Path, n_sessions: int) -> Iterator[KnownSession]:
    with file.open("rb") as pickled:
        for _ in range(n_sessions):
            yield pickle.load(pickled)


def _audited(folder: Path, file: Path, n_sessions: int) -> tuple[float, float]:
    """Audit sessions; returns the seconds, and the most memory of a process, MB. A peak never falls: once a process."""
    start = time.perf_counter()
    for one in audit_all(_known(file, n_sessions), n_sessions, _settings(folder), AuditOrder()):
        assert one.verdict is not None, one.error
        assert one.verdict.findings == (), one.verdict.findings
    seconds = time.perf_counter() - start
    # of its workers the system tells only so; it counts in what this process had when it started them
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024.0
    return seconds, max(peak_bytes(), workers) / (1 << 20)


def _quick(folder: Path) -> list[Row]:
    settings, file = _settings(folder), folder / "known.pickle"
    folder.mkdir()
    with file.open("wb") as pickled:
        for known in ManySessions(settings.root, settings).write(_N_SESSIONS):
            pickle.dump(known, pickled)
    seconds, memory = 0.0, []
    for n_sessions in (_N_SESSIONS // 10, _N_SESSIONS):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            seconds, peak = pool.submit(_audited, folder, file, n_sessions).result()
        memory.append(peak)
    on = f"{_N_SESSIONS:,} sessions, {len(CATALOGUE)} assets and {len(CATALOGUE) * FILES_EACH} files each, "
    on += f"{settings.cores} cores, page cache warm"
    return [
        Row("quick audit of many sessions; peer: the limit", 30.0, seconds, "s", 30.0 / seconds, "≥ 1", on),
        Row("its memory; peer: that of a tenth of them", *memory, "MB", memory[0] / memory[1], "≈ 1: flat", on),
    ]


def _deep(folder: Path) -> Row:
    key = SessionKey.parse("SP035/2023-03-03/001")
    session = Session(key, key.folder(folder), LocalStore(folder))
    paths = [f"suite2p/plane{i}/movie.bin" for i in range(_N_FILES)]
    for path in paths:
        (session.path / path).parent.mkdir(parents=True, exist_ok=True)
        (session.path / path).write_bytes(os.urandom(1 << 20) * _FILE_MB)
    _publish(session, "asset0", dict.fromkeys(paths, _FILE_MB << 20), {})
    cores, seconds = cores_at_hand(), {"peer": [0.0], "ours": [0.0]}
    command = ["xargs", "-n1", f"-P{cores}", "sha256sum"]
    names = "\n".join(str(session.path / path) for path in paths)
    for _ in range(_TURNS):
        start = time.perf_counter()
        subprocess.run(command, input=names, text=True, check=True, stdout=subprocess.DEVNULL)
        middle = time.perf_counter()
        _audit(session, deep=True, threads=cores)
        seconds["peer"].append(middle - start)
        seconds["ours"].append(time.perf_counter() - middle)
    total = _FILE_MB * _N_FILES
    peer, ours = (total / statistics.median(seconds[name][1:]) for name in ("peer", "ours"))
    on = f"{_N_FILES} files of {_FILE_MB} MB, page cache warm, {cores} cores, medians of {_TURNS}"
    return Row("deep audit; peer: sha256sum on as many cores", peer, ours, "MB/s", ours / peer, "≥ 0.8", on)


def rows() -> list[Row]:
    """Measure both."""
    with tempfile.TemporaryDirectory(prefix="meso-bench-") as name:
        deep = _deep(Path(name) / "deep")
        return [deep, *_quick(Path(name) / "quick")]
