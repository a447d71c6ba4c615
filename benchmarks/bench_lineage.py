"""The audit: contents against ``sha256sum`` on the same cores, and records of very many sessions.

Contents are compared with what ``sha256sum`` takes for the same files, as many at a time as there are cores; in turns,
medians. The quick pass goes over sessions whose records and files were written beforehand; what Dagster's log holds of
them is handed in, as the platform does.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from meso_core.lineage import AuditedAsset, Materialization, audit_session
from meso_core.machine import cores_at_hand
from meso_core.session import SessionKey
from meso_core.storage import Basis, FileRecord, LocalStore, MadeBy, Manifest, Session, standing

from . import Row

_FILE_MB, _N_FILES, _TURNS = 64, 16, 5
_N_SESSIONS, _N_ASSETS, _FILES_EACH = 10_000, 10, 4
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


def _sessions(root: Path) -> Iterator[Session]:
    """Make the sessions, each of ten assets that read one another."""
    for number in range(_N_SESSIONS):
        key = SessionKey.parse(f"SP{number % 100:03d}/2023-03-03/{number // 100:03d}")
        session = Session(key, key.folder(root), LocalStore(root))
        inputs: dict[str, str] = {}
        for i in range(_N_ASSETS):
            files = {f"alf/FOV_{k:02d}/asset{i}.npy": 8 for k in range(_FILES_EACH)}
            for path in files:
                (session.path / path).parent.mkdir(parents=True, exist_ok=True)
                (session.path / path).write_bytes(b"12345678")
            made = _publish(session, f"asset{i}", files, inputs)
            inputs = {f"asset{i}": made.data_version}
        yield session


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


def _quick(folder: Path) -> list[Row]:
    sessions = list(_sessions(folder))
    memory, start = [], time.perf_counter()
    for i, session in enumerate(sessions):
        assert _audit(session, deep=False) == 0, session.key
        if i in (_N_SESSIONS // 10, _N_SESSIONS - 1):
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    seconds = time.perf_counter() - start
    n_files = _N_ASSETS * _FILES_EACH
    on = f"{_N_SESSIONS:,} sessions, {_N_ASSETS} assets and {n_files} files each, 1 core, page cache warm"
    return [
        Row("quick audit of many sessions; peer: the limit", 30.0, seconds, "s", 30.0 / seconds, "≥ 1", on),
        Row("its memory; peer: after a tenth", *memory, "MB", memory[0] / memory[1], "≈ 1: flat", on),
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
