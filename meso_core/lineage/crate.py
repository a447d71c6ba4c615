"""The lineage of a file as an RO-Crate, which other programs read.

What belongs here: the terms of RO-Crate 1.1 and of its profile Process Run Crate 0.5
(https://w3id.org/ro/wfrun/process/0.5): each step is an action with what it read, what it made, and the software.
"""

from __future__ import annotations

import base64
import mimetypes
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import StorageError
from ..json_text import json_text
from ..opening import TABLE_BYTES, read_plain
from ..session import MESO_FOLDER, ListedFile
from ..storage import FileRecord, Manifest, Session, storage_errors, write_file
from ..storage.manifests.ownership import verify_file
from .tracing import Lineage, RawInput, Step

_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_TERMS = {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}
_SOFTWARE = "https://pypi.org/project/"
METADATA_FILE = "ro-crate-metadata.json"


def write_crate(session: Session, lineage: Lineage, folder: Path, *, licence: str = "") -> Path:
    """Write the lineage of a file as an RO-Crate, with the file itself and the manifests of all steps.

    Files of earlier steps and raw files are described with their hashes and sizes, and not copied.

    Parameters
    ----------
    session, lineage
        The session, and what :func:`~meso_core.lineage.trace` found.
    folder
        Folder to make; it must be empty, or not there.
    licence
        URL of the licence of the data; without one, the crate says that none was given.

    Returns
    -------
    pathlib.Path
        The metadata file.

    Raises
    ------
    StorageError
        If the folder holds something, or cannot be written.
    """
    with storage_errors(folder):
        if folder.exists() and any(folder.iterdir()):
            raise StorageError.at(folder, expected="an empty folder", found="files in it", remedy="Name another folder")
        folder.mkdir(parents=True, exist_ok=True)
        subject = lineage.steps[-1].manifest
        inside = (lineage.file,) if lineage.file else subject.files
        present = session.present()
        session.fetch(file.path for file in inside if file.path in present.files)
        for file in inside:
            (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(session.path / file.path, folder / file.path)
            if wrong := verify_file(folder / file.path, file, content=True):
                raise StorageError.at(
                    session.path / file.path,
                    expected=f"the file as it was published on {subject.published_at}",
                    found=wrong,
                    remedy=f"Bring it back, or run `meso run {session.key} --assets {subject.asset}`",
                )
        for step in lineage.steps:
            write_file(folder / _manifest_id(step), _record_text(session, step.manifest).encode())
    crate = crate_record(lineage, licence=licence)
    write_file(folder / METADATA_FILE, (json_text(crate, indent=2) + "\n").encode())
    return folder / METADATA_FILE


def crate_record(lineage: Lineage, *, licence: str = "") -> dict[str, Any]:
    """Describe a lineage in the terms of RO-Crate, as JSON-LD."""
    ids = _file_ids(lineage)
    entities: dict[str, dict[str, Any]] = {}
    for entity in (*_raw(lineage.raw), *(part for step in lineage.steps for part in _step(step, lineage, ids))):
        entities.setdefault(entity["@id"], entity)
    data = [entity["@id"] for entity in entities.values() if entity["@type"] == "File"]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    root: dict[str, Any] = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"{lineage.subject} of {lineage.session}",
        "description": f"Where {lineage.subject} of the imaging session {lineage.session} comes from",
        "datePublished": now,
        "license": {"@id": licence} if licence else "No licence was given; ask those who recorded the session",
        "conformsTo": {"@id": _PROFILE},
        "hasPart": [{"@id": one} for one in data],
        "mentions": [
            {"@id": one} for one in (*map(_raw_id, lineage.raw), *(_action_id(step) for step in lineage.steps))
        ],
    }
    descriptor = {
        "@id": METADATA_FILE,
        "@type": "CreativeWork",
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        "about": {"@id": "./"},
    }
    profile = {"@id": _PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    context = ["https://w3id.org/ro/crate/1.1/context", _TERMS]
    return {"@context": context, "@graph": [descriptor, root, profile, *entities.values()]}


def _file_ids(lineage: Lineage) -> Mapping[str, str]:
    """SHA-256 → path, of the files that are in the crate."""
    files = (lineage.file,) if lineage.file else lineage.steps[-1].manifest.files
    return {file.sha256: file.path for file in files}


def _step(step: Step, lineage: Lineage, inside: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    manifest = step.manifest
    inputs = [one.manifest for one in lineage.steps if one.manifest.digest in step.inputs.values()]
    read = [_raw_id(raw) for raw in lineage.raw if manifest.basis.inputs.get(raw.name) == raw.version]
    read += [_id(file, inside) for one in inputs for file in one.files]
    made = [_entity(file, manifest, inside) for file in manifest.files]
    settings = [_setting(manifest, name, value) for name, value in manifest.basis.settings.items()]
    yield {
        "@id": _action_id(step),
        "@type": "CreateAction",
        "name": f"Make {manifest.asset}",
        "description": f"Run {manifest.made_by.run_id} on {manifest.made_by.host or 'a host that was not recorded'}",
        "endTime": manifest.published_at,
        "instrument": {"@id": _software_id(manifest)},
        "object": [{"@id": one} for one in (*read, *(setting["@id"] for setting in settings))],
        "result": [{"@id": one["@id"]} for one in (*made, {"@id": _manifest_id(step)})],
    }
    yield from _software(manifest)
    yield from settings
    yield {
        "@id": _manifest_id(step),
        "@type": "File",
        "name": f"Manifest of {manifest.asset}: files, hashes, inputs, settings, versions",
        "encodingFormat": "application/json",
        "sha256": manifest.digest,
    }
    yield from made


def _software(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Describe meso in the version that ran, and the packages that took part."""
    code, packages = manifest.made_by.code, manifest.made_by.packages
    others = {name: version for name, version in packages.items() if name != "meso"}
    yield {
        "@id": _software_id(manifest),
        "@type": "SoftwareApplication",
        "name": "meso",
        "softwareVersion": str(code) if code.version else packages.get("meso", "not recorded"),
        "softwareRequirements": [{"@id": f"{_SOFTWARE}{name}/{version}/"} for name, version in others.items()],
    }
    for name, version in others.items():
        yield {
            "@id": f"{_SOFTWARE}{name}/{version}/",
            "@type": "SoftwareApplication",
            "name": name,
            "url": f"{_SOFTWARE}{name}/{version}/",
            "softwareVersion": version,
        }


def _setting(manifest: Manifest, name: str, value: object) -> dict[str, Any]:
    text = value if isinstance(value, str | int | float | bool) else json_text(value)
    return {
        "@id": f"#setting-{manifest.basis.digest[:12]}-{name}",
        "@type": "PropertyValue",
        "name": name,
        "value": text,
    }


def _raw(inputs: tuple[RawInput, ...]) -> Iterator[dict[str, Any]]:
    for raw in inputs:
        files = [_raw_file(raw, file) for file in raw.files] if raw.is_same else []
        yield {
            "@id": _raw_id(raw),
            "@type": "Collection",
            "name": raw.name,
            "description": f"{'Files of the rig' if raw.files else 'Input that no run makes'}, version {raw.version}"
            + ("" if raw.is_same else "; what is there now is another one"),
            "hasPart": [{"@id": one["@id"]} for one in files],
            **({"mainEntity": {"@id": files[0]["@id"]}} if files else {}),
        }
        yield from files


def _raw_file(raw: RawInput, file: ListedFile) -> dict[str, Any]:
    """Describe a raw file; it is not in the crate, and has no address."""
    entity = {
        "@id": f"#raw/{file.path}",
        "@type": "CreativeWork",
        "name": file.path,
        "contentSize": str(file.size),
        "encodingFormat": _format(file.path),
    }
    return entity | ({"sha256": raw.hashes[file.path]} if file.path in raw.hashes else {})


def _entity(file: FileRecord, manifest: Manifest, inside: Mapping[str, str]) -> dict[str, Any]:
    return {
        "@id": _id(file, inside),
        "@type": "File",
        "name": file.path,
        "description": f"A file of {manifest.asset}",
        "contentSize": str(file.size),
        "encodingFormat": _format(file.path),
        "sha256": file.sha256,
    }


def _id(file: FileRecord, inside: Mapping[str, str]) -> str:
    """Path of a file that is in the crate; else a name that follows from its content (RFC 6920)."""
    if inside.get(file.sha256) == file.path:
        return file.path
    digest = base64.urlsafe_b64encode(bytes.fromhex(file.sha256)).decode().rstrip("=")
    return f"ni:///sha-256;{digest}#{file.path}"


def _format(path: str) -> str:
    return mimetypes.guess_type(path)[0] or "application/octet-stream"


def _raw_id(raw: RawInput) -> str:
    return f"#{raw.name}-{raw.version[:12]}"


def _action_id(step: Step) -> str:
    return f"#run-{step.manifest.made_by.run_id}-{step.asset}"


def _software_id(manifest: Manifest) -> str:
    code = manifest.made_by.code
    return f"#meso-{code.version or manifest.made_by.packages.get('meso', 'unknown')}-{code.commit[:12]}"


def _manifest_id(step: Step) -> str:
    return f"manifests/{step.asset}.{step.manifest.digest[:12]}.json"


def _record_text(session: Session, manifest: Manifest) -> str:
    """Text of a manifest as it is on disk: its hash is that which others name."""
    kept = session.store.history(session.key).get(manifest.asset, {})
    if manifest.digest in kept:
        return kept[manifest.digest]
    file = session.path / MESO_FOLDER / "manifests" / f"{manifest.asset}.json"
    return read_plain(file, TABLE_BYTES).decode()
