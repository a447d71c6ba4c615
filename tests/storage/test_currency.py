"""Whether a result is current, and why it is not."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meso_core.storage import Basis, Cause, MadeBy, Manifest, Staging, publish, standing
from tests.present_files import files_in

BASIS = Basis(
    "1", {"raw_daq": "a" * 64, "metadata": "b" * 64}, {"format": "zarr", "nested": {"x": 1}}, {"suite2p": "1.1"}
)
FIRST_FORM = sorted((Path(__file__).parent / "first_form").glob("*.json"))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
texts = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)
bases = st.builds(
    Basis, st.text(max_size=3), texts, st.dictionaries(st.text(min_size=1, max_size=5), json_values, max_size=3), texts
)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = tmp_path / "SP035" / "2023-03-03" / "001"
    folder.mkdir(parents=True)
    return folder


def made(session: Path, basis: Basis = BASIS) -> Manifest:
    staging = Staging(session, "rois")
    staging.write("alf/a", b"1")
    return publish(session, staging.seal(), basis, MadeBy("run-1"))


def test_what_was_never_made_is_missing(session):
    found = standing(files_in(session), None, BASIS)
    assert not found.is_current
    assert found.causes == {Cause.MISSING}


def test_the_same_basis_is_current(session):
    manifest = made(session)
    found = standing(files_in(session), manifest, replace(BASIS, inputs=dict(reversed(BASIS.inputs.items()))))
    assert (found.is_current, found.reasons, found.causes) == (True, (), frozenset())


@pytest.mark.parametrize(
    ("change", "reason", "cause"),
    [
        ({"code_version": "2"}, "code version 1 → 2", Cause.MAKING),
        ({"inputs": {**BASIS.inputs, "raw_daq": "c" * 64}}, "raw_daq has changed (aaaaaaaa → cccccccc)", Cause.INPUTS),
        ({"inputs": {"metadata": "b" * 64}}, "raw_daq is not there any more", Cause.INPUTS),
        ({"inputs": {**BASIS.inputs, "extra": "d" * 64}}, "extra: its version was not recorded", Cause.INPUTS),
        ({"settings": {**BASIS.settings, "format": "tar.bz2"}}, "setting format: zarr → tar.bz2", Cause.MAKING),
        ({"settings": {"format": "zarr", "nested": {"x": 2}}}, "setting nested.x: 1 → 2", Cause.MAKING),
        ({"packages": {"suite2p": "1.2"}}, "package suite2p: 1.1 → 1.2", Cause.MAKING),
    ],
)
def test_a_difference_is_told_by_the_part_that_differs(session, change, reason, cause):
    manifest = made(session)
    found = standing(files_in(session), manifest, replace(BASIS, **change))
    assert found.reasons == (reason,)
    assert found.causes == {cause}
    assert standing(files_in(session), manifest, BASIS).is_current, "changed back"


def test_a_file_that_is_gone_or_edited_makes_it_stale(session):
    manifest = made(session)
    (session / "alf" / "a").write_bytes(b"2")
    os.utime(session / "alf" / "a", ns=(0, 0))
    found = standing(files_in(session), manifest, BASIS)
    assert found.reasons == ("alf/a: content changed since it was published",)
    assert found.causes == {Cause.FILES}
    (session / "alf" / "a").unlink()
    assert standing(files_in(session), manifest, BASIS).reasons == ("alf/a: missing",)


@given(bases)
def test_a_basis_survives_its_record(basis):
    back = Basis.from_record(basis.as_record())
    assert back.digest == basis.digest
    assert back.differences(basis) == ()


@given(bases, bases)
def test_bases_differ_exactly_where_their_digests_do(one, other):
    assert bool(one.differences(other)) == (one.digest != other.digest)


@pytest.mark.parametrize("file", FIRST_FORM, ids=lambda file: file.stem)
def test_records_of_the_first_form_are_read_and_count_as_stale_for_what_they_lack(session, file):
    """The samples are those of a session that an earlier version of meso processed."""
    manifest = Manifest.from_json(file.read_text(), str(file))
    assert manifest.asset == file.stem
    assert manifest.files
    assert len(manifest.data_version) == 64
    for record in manifest.files:  # large enough to pass for the published ones
        (session / record.path).parent.mkdir(parents=True, exist_ok=True)
        with (session / record.path).open("wb") as out:
            out.truncate(record.size)
    now = Basis("1", {**manifest.basis.inputs, "raw_frames": "f" * 64}, {"atlas": "allen"})
    found = standing(files_in(session), manifest, now)
    (reason,) = found.reasons
    assert reason.startswith(
        "made by an earlier version of meso, which did not record raw_frames, the settings that count"
    )
    assert found.causes == {Cause.MAKING}, "nothing of the session changed: it is run when somebody asks"
    other = standing(files_in(session), manifest, replace(now, code_version="2"))
    assert any("code version" in text for text in other.reasons)
