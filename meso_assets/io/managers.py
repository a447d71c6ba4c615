"""The two IO managers: how what an asset made becomes files of the session, and input of the next asset.

What belongs here: handing values to the store and back. How files are published (beside, hash, rename, manifest last)
is in ``meso_core.storage``; what a dataset must look like is in ``meso_core.datasets``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import dagster as dg

from meso_core.datasets import DatasetValue
from meso_core.qc import QCResult, qc_path, read_results, results_to_json, stored_results
from meso_core.storage import Manifest, PackedFile, RunProvenance, package_versions, read_dataset, write_fov

from ..defs.dagster_internals import facts_of_output, record_data_version
from .resources import OpenSession, Platform

#: FOV folder name → dataset name → value.
FovDatasets: TypeAlias = Mapping[str, Mapping[str, DatasetValue]]

#: Folder of pictures, below the session.
FIGURES = "reports/figures"


@dataclass(frozen=True, slots=True)
class Product:
    """What an asset hands to its IO manager.

    Attributes
    ----------
    content
        A staged folder that mirrors the session; or datasets by FOV; or the manifest of an earlier run that holds.
    settings
        What the content depends on besides the inputs; kept in the manifest.
    qc
        Verdicts on the content; published with it as ``reports/qc/<asset>.json``.
    texts
        Further small text files, by path below the session.
    figures
        Pictures (PNG) by name; published as ``reports/figures/<name>.png``.
    contents
        What lies inside those of the files that are archives, by path below the session; kept in the manifest.
    metadata
        What a person reads about it in the UI.
    then
        Called once the files are published.
    """

    content: Path | FovDatasets | Manifest
    settings: Mapping[str, Any] = field(default_factory=dict)
    qc: tuple[QCResult, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, bytes] = field(default_factory=dict)
    contents: Mapping[str, tuple[PackedFile, ...]] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    then: Callable[[], None] | None = None


class FovFiles(Mapping[str, DatasetValue]):
    """Datasets of one FOV on disk, read (memory-mapped where they are arrays) when asked for."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = dict(files)

    def __getitem__(self, name: str) -> DatasetValue:
        return read_dataset(self._files[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


@dataclass(frozen=True, slots=True)
class SessionFiles:
    """Files that an upstream asset published, as local paths."""

    session: OpenSession
    manifest: Manifest

    @property
    def paths(self) -> tuple[Path, ...]:
        """Local paths, in the order of the manifest."""
        return tuple(self.session.path / file.path for file in self.manifest.files)


def read_qc(session: OpenSession, asset: str) -> tuple[QCResult, ...]:
    """Read the stored verdicts on an asset; none where it was not made."""
    return read_results(session.path, asset)


def all_qc(session: OpenSession) -> tuple[QCResult, ...] | None:
    """Read the stored verdicts on all assets of a session; None where there are none at all."""
    stored = stored_results(session.path)
    return tuple(result for results in stored.values() for result in results) if stored else None


class SessionFilesIOManager(dg.IOManager):
    """Publishes a staged folder; hands the published files to the next asset as local paths."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    def handle_output(self, context: dg.OutputContext, obj: Product) -> None:
        """Publish a product and tell Dagster its content version."""
        session, asset = self.platform.session(context.partition_key), context.asset_key.path[-1]
        if isinstance(obj.content, Manifest):
            manifest = obj.content
        else:
            staged = self._staged(session, asset, obj)
            _write_small_files(staged, asset, obj)
            made_by = self._provenance(context, session, obj)
            manifest = session.store.publish(session.key, asset, staged, made_by, contents=obj.contents)
        if obj.then is not None:
            obj.then()
        record_data_version(context, manifest.data_version)
        context.add_output_metadata(
            {
                "files": len(manifest.files),
                "size_mb": round(manifest.total_bytes / 1e6, 3),
                "folder": dg.MetadataValue.path(str(session.path)),
                "content_version": manifest.data_version[:12],
            }
        )

    def load_input(self, context: dg.InputContext) -> Any:
        """Hand out what an upstream asset published."""
        session, asset = self.platform.session(context.partition_key), context.asset_key.path[-1]
        return self._load(session, _required(session, asset))

    def _staged(self, session: OpenSession, asset: str, product: Product) -> Path:
        if not isinstance(product.content, Path):
            raise TypeError(f"{asset}: expected a staged folder, found {type(product.content).__name__}")
        return product.content

    def _load(self, session: OpenSession, manifest: Manifest) -> Any:
        return SessionFiles(session, manifest)

    def _provenance(self, context: dg.OutputContext, session: OpenSession, product: Product) -> RunProvenance:
        facts = facts_of_output(context)
        return RunProvenance(
            run_id=context.run_id,
            code_version=facts.code_version,
            packages=package_versions(),
            settings=product.settings,
            inputs=input_versions(session, context.asset_key.path[-1], facts.upstream),
        )


class AlfIOManager(SessionFilesIOManager):
    """Checks datasets by FOV against the dataset table and writes them below ``alf/``; loading returns arrays."""

    def _staged(self, session: OpenSession, asset: str, product: Product) -> Path:
        if not isinstance(product.content, Mapping):
            return super()._staged(session, asset, product)
        staged = session.stage(asset)
        for fov, datasets in product.content.items():
            write_fov(staged / "alf" / fov, datasets, where=f"{session.key} {fov}")
        return staged

    def _load(self, session: OpenSession, manifest: Manifest) -> FovDatasets:
        return _fovs_of(session, manifest)


def read_fovs(session: OpenSession, asset: str) -> FovDatasets:
    """Datasets that an asset published, by FOV; they are read when asked for.

    Raises
    ------
    MissingInputError
        If the asset was never made.
    """
    return _fovs_of(session, _required(session, asset))


def _fovs_of(session: OpenSession, manifest: Manifest) -> FovDatasets:
    fovs: dict[str, dict[str, Path]] = {}
    for file in manifest.files:
        parts = file.path.split("/")
        if len(parts) == 3 and parts[0] == "alf" and not parts[2].startswith("_"):
            name = ".".join(parts[2].split(".")[:2])
            fovs.setdefault(parts[1], {})[name] = session.path / file.path
    return {fov: FovFiles(files) for fov, files in sorted(fovs.items())}


def input_versions(session: OpenSession, asset: str, upstream: tuple[str, ...]) -> dict[str, str]:
    """Read the versions that an asset's inputs have on disk now; those that were never made are left out.

    Of the raw session the files count that the asset reads.
    """
    versions = {}
    for name in upstream:
        if name == "raw_session":
            versions[name] = session.raw_version(asset)
        elif (manifest := session.manifest(name)) is not None:
            versions[name] = manifest.data_version
    return versions


def _required(session: OpenSession, asset: str) -> Manifest:
    from meso_core.errors import MissingInputError, problem

    manifest = session.manifest(asset)
    if manifest is None:
        raise MissingInputError(
            problem(str(session.key), expected=f"files of {asset}", found="none", remedy=f"Materialise {asset} first")
        )
    return manifest


def _write_small_files(staged: Path, asset: str, product: Product) -> None:
    figures = {f"{FIGURES}/{name}.png": png for name, png in product.figures.items()}
    texts = {path: text.encode() for path, text in {**product.texts, **_qc_text(asset, product.qc)}.items()}
    for path, content in {**texts, **figures}.items():
        (staged / path).parent.mkdir(parents=True, exist_ok=True)
        (staged / path).write_bytes(content)


def _qc_text(asset: str, results: tuple[QCResult, ...]) -> dict[str, str]:
    return {qc_path(asset): results_to_json(results)} if results else {}
