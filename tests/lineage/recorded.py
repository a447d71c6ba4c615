"""A small session whose three assets were published by the real store, and the events that a platform would have."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from meso_core.errors import MesoWarning
from meso_core.lineage import AuditedAsset, AuditVerdict, Materialization, audit_session
from meso_core.progress import Progress, silent
from meso_core.session import SessionKey
from meso_core.storage import Basis, LocalStore, MadeBy, Manifest, Session, standing
from tests.present_files import files_in

KEY = SessionKey.parse("SP035/2023-03-03/001")
#: Asset → what it reads, and where it publishes.
ASSETS = {
    "metadata": (("raw_frames",), r"alf/_meta\.json"),
    "movies": (("raw_frames", "metadata"), r"suite2p/plane\d/.+"),
    "cells": (("metadata", "movies"), r"alf/FOV_\d\d/.+"),
}


@dataclass
class Recorded:
    """The session, with a clock and runs of its own."""

    root: Path
    key: SessionKey = KEY
    events: dict[str, list[Materialization]] = field(default_factory=lambda: {name: [] for name in ASSETS})
    #: What the session depends on besides its files.
    code: str = "1"
    settings: dict[str, object] = field(default_factory=dict)
    n_runs: int = 0

    def __post_init__(self) -> None:
        raw = self.path / "raw_imaging_data_00"
        raw.mkdir(parents=True)
        (raw / "a.tif").write_bytes(b"tif")

    @property
    def path(self) -> Path:
        return self.key.folder(self.root)

    @property
    def session(self) -> Session:
        return Session(self.key, self.path, LocalStore(self.root))

    def manifests(self) -> dict[str, Manifest]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MesoWarning)
            return self.session.manifests()

    def basis(self, asset: str) -> Basis:
        made = self.manifests()
        versions = {"raw_frames": "f" * 64} | {name: manifest.data_version for name, manifest in made.items()}
        inputs = {name: versions[name] for name in ASSETS[asset][0] if name in versions}
        return Basis(self.code, inputs, self.settings)

    def make(self, asset: str, salt: str = "", facts: dict[str, float] | None = None, *, host: str = "rig") -> Manifest:
        """Publish an asset as a run on a machine would, and keep the event of it."""
        self.n_runs += 1
        run = f"run-{self.n_runs:04d}"
        staging = self.session.stage(asset)
        if asset == "metadata":
            staging.write("alf/_meta.json", json.dumps({"salt": salt}).encode())
        for fov in range(2) if asset != "metadata" else ():
            name = f"suite2p/plane{fov}/movie.bin" if asset == "movies" else f"alf/FOV_0{fov}/cells.npy"
            staging.write(name, f"{asset} {fov} {salt}".ljust(64).encode())
        sealed = staging.seal(facts=facts)
        manifest = self.session.publish(sealed, self.basis(asset), MadeBy(run, host=host), places=ASSETS[asset][1])
        self.tell(manifest, run)
        return manifest

    def tell(self, manifest: Manifest, run: str) -> None:
        """Keep the event of a run that made a result, or found it current."""
        at = (self.path / ".meso/manifests" / f"{manifest.asset}.json").stat().st_mtime
        event = Materialization(run, at, manifest.data_version, manifest.digest)
        self.events[manifest.asset].insert(0, event)

    def make_all(self, salt: str = "") -> Recorded:
        for asset in ASSETS:
            self.make(asset, salt)
        return self

    def audit(
        self,
        *,
        deep: bool = True,
        log: bool = True,
        running: str = "",
        to_keep: str = "",
        progress: Progress = silent,
    ) -> AuditVerdict:
        session, made = self.session, self.manifests()
        assets = [
            AuditedAsset(
                name,
                places,
                standing(files_in(self.path), made.get(name), self.basis(name)),
                tuple(self.events[name]) if log else None,
                "run-9" if name == running else "",
                to_keep,
            )
            for name, (_, places) in ASSETS.items()
        ]
        listing = session.store.listing(self.key)
        delivered = {file.path for file in listing if file.path.startswith("raw_")}
        return audit_session(session, assets, listing, delivered, deep=deep, threads=2, progress=progress)

    def record(self, asset: str) -> Path:
        return self.path / ".meso" / "manifests" / f"{asset}.json"

    def edit(self, asset: str, change: Callable[[Manifest], Manifest]) -> None:
        """Rewrite a record with all its own hashes, as somebody who knows the format would."""
        manifest = Manifest.from_json(self.record(asset).read_text(), asset)
        self.record(asset).write_text(change(manifest).to_json())


def overwrite(file: Path, content: bytes) -> None:
    """Change a file and let its time look as before."""
    stat = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
