"""The record of a result: strict when read, readable for ever, and linked to those before it."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meso_core.errors import MesoWarning, StorageError
from meso_core.storage import (
    Basis,
    Chain,
    CodeVersion,
    FileRecord,
    MadeBy,
    Manifest,
    MissingFov,
    PackedFile,
    Staging,
    code_version,
)
from meso_core.storage import publish as publish_sealed
from meso_core.storage.manifests.manifest import MANIFEST_VERSION
from meso_core.storage.publication.publishing import kept_records, load_manifest
from tests.made_docs import manifest_schema

HERE = Path(__file__).parent
SCHEMA = HERE.parents[1] / "docs" / "manifest.schema.json"
FORMS = {1: "first_form", 2: "second_form", 3: "third_form", 4: "fourth_form"}
SAMPLES = [(form, file) for form, name in FORMS.items() for file in sorted((HERE / name).glob("*.json"))]

WHOLE = Manifest(
    "rois",
    (FileRecord("alf/FOV_00/a b µ.npy", 3, "a" * 64, "b" * 32, 5),),
    Basis("1", {"raw_daq": "c"}, {"x": [1, None, {"y": 2.5}]}, {"suite2p": "1.1"}),
    MadeBy("run-1", {"numpy": "2"}, {"suite2p": {"tau": 1}}, "rig-3", CodeVersion("1.0", "f" * 40, True)),
    "2026-01-01T00:00:00+00:00",
    {"raw/x.tar": (PackedFile("\udce9.tif", 1, "d" * 64, "", 2),)},
    session="SP035/2023-03-03/001",
    facts={"rois": 4, "atlas": "allen", "rate": 7.5, "phantom": False},
    chain=Chain("e" * 64, {"imaging_metadata": "f" * 64}),
    missing={"FOV_02": MissingFov("motion_registered_frames", "no usable frames")},
)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = tmp_path / "SP035" / "2023-03-03" / "001"
    folder.mkdir(parents=True)
    return folder


def publish(session, asset="rois", content=b"1", inputs=None, run="run-1"):
    staging = Staging(session, asset)
    staging.write(f"alf/{asset}", content)
    return publish_sealed(session, staging.seal(facts={"n": len(content)}), Basis("1", inputs or {}), MadeBy(run))


def file_of(session, asset="rois"):
    return session / ".meso" / "manifests" / f"{asset}.json"


def test_a_record_survives_its_file_and_is_named_by_the_hash_of_it():
    text = WHOLE.to_json()
    back = Manifest.from_json(text, "here")
    assert back == WHOLE
    assert back.digest == sha256(text.encode()).hexdigest()
    assert back.to_json() == text


def leaves(value, path=()):
    """All places in a JSON value that a dataclass describes; what is below settings and options is free."""
    if path and path[-1] in ("settings", "options"):
        return
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in items:
        yield from leaves(one, (*path, name))


def spoilt(path, value):
    body = json.loads(WHOLE.to_json())
    inner = body
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return json.dumps(body)


PLACES = [path for path in leaves(json.loads(WHOLE.to_json())) if path]


@pytest.mark.parametrize("path", PLACES, ids=lambda path: ".".join(map(str, path)))
def test_a_value_of_another_type_is_named_wherever_it_is(path):
    if path == ("manifest_version",):
        return
    # a list of one None is of no type that a field has
    wrong = [None]
    with pytest.raises(StorageError) as told:
        Manifest.from_json(spoilt(path, wrong), "here")
    assert f"here, field '{'.'.join(map(str, path))}" in str(told.value)


@pytest.mark.parametrize(
    "path", [p for p in PLACES if p[-1] in ("sha256", "host", "files", "chain", "commit", "n_pages")]
)
def test_a_field_that_is_missing_or_unknown_is_named(path):
    body = json.loads(WHOLE.to_json())
    inner = body
    for name in path[:-1]:
        inner = inner[name]
    kept = inner.pop(path[-1])
    with pytest.raises(
        StorageError, match=rf"field '{'.'.join(map(str, path))}': expected a value, found no such field"
    ):
        Manifest.from_json(json.dumps(body), "here")
    inner |= {path[-1]: kept, "more": 1}
    named = ".".join(map(str, (*path[:-1], "more")))
    with pytest.raises(StorageError, match=rf"field '{named}': .*found an unknown field"):
        Manifest.from_json(json.dumps(body), "here")


@given(st.binary(max_size=60) | st.sampled_from([b"{", b"[1]", b"null", b'{"manifest_version": true}', b"[" * 5000]))
def test_what_is_no_record_is_a_named_error(content):
    with pytest.raises(StorageError, match="here"):
        Manifest.from_json(content.decode("utf-8", "surrogateescape"), "here")


def test_a_record_of_a_newer_meso_is_refused_by_its_form():
    with pytest.raises(StorageError, match=f"at most {MANIFEST_VERSION}, found {MANIFEST_VERSION + 1}"):
        Manifest.from_json(spoilt(("manifest_version",), MANIFEST_VERSION + 1), "here")


def test_there_are_samples_of_every_form():
    assert {form for form, _ in SAMPLES} == set(range(1, MANIFEST_VERSION + 1))


@pytest.mark.parametrize(("form", "file"), SAMPLES, ids=lambda value: getattr(value, "stem", value))
def test_records_of_every_form_are_read(form, file):
    manifest = Manifest.from_json(file.read_text(), str(file))
    assert (manifest.version, manifest.asset) == (form, file.stem)
    assert manifest.files
    assert manifest.digest == sha256(file.read_bytes()).hexdigest()
    again = Manifest.from_json(manifest.to_json(), "brought up")
    assert again == replace(manifest, version=MANIFEST_VERSION)


def test_early_records_which_call_pages_frames_are_read():
    """The pages are those that the simulator wrote into the two tifs of the sample's session."""
    manifest = Manifest.from_json((HERE / "first_form" / "imaging_frames_archive.json").read_text(), "here")
    tifs = manifest.contents["raw_imaging_data_00/imaging.frames.tar.bz2"]
    assert [tif.n_pages for tif in tifs] == [50, 30]


def test_the_published_schema_is_that_of_the_code():
    assert SCHEMA.read_text() == manifest_schema()


def test_the_schema_names_what_a_record_has_and_tells_what_it_means():
    schema, body = json.loads(SCHEMA.read_text()), json.loads(WHOLE.to_json())
    assert list(schema["properties"]) == schema["required"]
    assert set(schema["required"]) == set(body)
    assert all(part.get("description") for part in schema["properties"].values())
    assert set(schema["properties"]["files"]["items"]["required"]) == set(body["files"][0])
    assert set(schema["properties"]["made_by"]["properties"]["code"]["required"]) == set(body["made_by"]["code"])


def test_a_replaced_record_is_kept_under_its_hash_and_named_by_the_one_that_replaced_it(session):
    texts = []
    for run in ("one", "two", "three"):
        publish(session, content=run.encode(), run=run)
        texts.append(file_of(session).read_bytes())
    digests = [sha256(text).hexdigest() for text in texts]
    assert [json.loads(text)["chain"]["previous"] for text in texts] == ["", *digests[:2]]
    assert kept_records(session) == {"rois": {d: t.decode() for d, t in zip(digests[:2], texts[:2], strict=True)}}
    assert load_manifest(session, "rois").digest == digests[2]


def test_the_records_of_the_inputs_are_named_and_those_of_other_versions_are_not(session):
    metadata = publish(session, "imaging_metadata")
    made = publish(session, inputs={"imaging_metadata": metadata.data_version, "raw_daq": "x"})
    assert made.chain.inputs == {"imaging_metadata": metadata.digest}
    newer = publish(session, "imaging_metadata", b"22")
    late = publish(session, content=b"3", inputs={"imaging_metadata": metadata.data_version})
    assert newer.digest not in late.chain.inputs.values(), "it was made from the one before"


def test_the_digest_that_publishing_returns_is_that_of_the_file(session):
    assert publish(session).digest == sha256(file_of(session).read_bytes()).hexdigest()
    assert publish(session).facts == load_manifest(session, "rois").facts == {"n": 1}


def test_a_damaged_record_that_was_replaced_stays_in_the_history(session):
    publish(session)
    file_of(session).write_bytes(b"\xff{")
    with pytest.warns(MesoWarning, match="damaged"):
        again = publish(session)
    assert again.chain.previous == sha256(b"\xff{").hexdigest()
    assert again.chain.previous in kept_records(session)["rois"]


def test_the_code_is_told_by_version_and_commit():
    code = code_version()
    assert code.version
    assert code.commit == "" or len(code.commit) == 40
