"""What metadata hold: one picture, small whatever it shows."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import numpy as np
import pytest

from meso_assets.io.metadata import (
    archive_metadata,
    dataset_metadata,
    lineage_metadata,
    picture,
    raw_metadata,
    registration_metadata,
)
from meso_core.archive import ArchiveMember, ArchiveReport
from meso_core.session import GONE, ListedFile, RawFiles, RawKind, SessionKey
from meso_core.storage import Basis, Chain, CodeVersion, FileRecord, LocalStore, MadeBy, Manifest, Session


@pytest.mark.parametrize("side", [96, 256, 512])
def test_the_picture_of_a_noisy_fov_takes_at_most_8_kb(side):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    noise = np.random.default_rng(side).gamma(2, 50, (side, side))
    figure.subplots().imshow(noise, cmap="gray", interpolation="nearest")
    (entry,) = picture(figure, "noise").values()
    (encoded,) = re.findall(r"base64,([^)]*)", entry.value)
    assert len(encoded) <= 8_000


def test_a_fovs_full_picture_becomes_small_in_metadata():
    import io

    from PIL import Image

    file = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (728, 832, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, format="png")
    (entry,) = picture(file.getvalue(), "areas").values()
    assert len(entry.value) <= 8_000 + 100


def test_a_result_shows_its_record_what_it_replaced_its_code_inputs_hashes_and_where_to_audit_it(tmp_path):
    files = tuple(FileRecord(f"alf/{i:03d}.npy", i, f"{i:064d}", "0" * 32) for i in range(45))
    basis = Basis("1", {"raw_daq": "a" * 64, "imaging_metadata": "b" * 64})
    made_by = MadeBy("run", code=CodeVersion("1.2.3", "abcdef1234", dirty=True))
    made = Manifest("frame_times", files, basis, made_by, "2026-01-01T00:00:00+00:00", digest="d" * 64)
    key = SessionKey.parse("SP035/2023-03-03/001")
    session = Session(key, key.folder(tmp_path), LocalStore(tmp_path))
    shown = lineage_metadata(session, replace(made, chain=Chain("e" * 64, {"imaging_metadata": "c" * 64})))
    assert shown["manifest"].value == str(session.path / ".meso/manifests/frame_times.json")
    assert (shown["manifest_sha256"], shown["replaced_manifest"]) == ("d" * 64, "e" * 64)
    assert all(part in shown["code"] for part in ("1.2.3", "abcdef1234"[:7]))
    inputs, hashes = shown["inputs"].value.splitlines(), shown["hashes"].value.splitlines()
    assert f"| raw_daq | `{'a' * 12}` | `–` |" in inputs, "raw files have no record"
    assert f"| imaging_metadata | `{'b' * 12}` | `{'c' * 12}` |" in inputs
    assert [row.split(" | ")[0] for row in hashes[2:42]] == [f"| {file.path}" for file in files[:40]]
    assert hashes[42] == "| 5 more are in the manifest | | |"
    assert shown["audit"].value == dg.AssetKey("lineage_audit")
    assert lineage_metadata(session, made)["replaced_manifest"] == "none: it is the first"


def test_motion_that_is_left_is_shown_as_mean_and_largest_and_not_at_all_where_unmeasured(tmp_path):
    from meso_core.imaging import RegistrationResult

    still, image = np.zeros(100), np.zeros((20, 20))
    reg_dx = np.tile(np.array([[0.25], [0.75]]), (15, 4))
    none = np.zeros(100, bool)
    fovs = {
        f"FOV_0{i}": RegistrationResult(tmp_path, 100, still, still, none, none, image, dx, False)
        for i, dx in enumerate((reg_dx, None))
    }
    head, _, measured, unmeasured = registration_metadata(fovs)["by_fov"].value.splitlines()
    columns = [name.strip() for name in head.split("|")]
    for name, shown in (("mean regDX (px)", "0.50"), ("largest regDX (px)", "0.75")):
        at = columns.index(name)
        assert measured.split("|")[at].strip() == shown
        assert unmeasured.split("|")[at].strip() == "–"


def test_a_thousand_tifs_make_a_short_table_that_says_where_the_others_stand():
    """The names are as long as they come, and not all of them UTF-8."""
    hashes = ("0" * 64, "1" * 32)
    members = [ArchiveMember(f"{i:04d}_\udce9{'µ' * 60}.tif", 10**10, 0, *hashes, 2000) for i in range(500)]
    bouts = [f"raw_imaging_data_{i:02d}" for i in range(2)]
    reports = [ArchiveReport(b, "tar.bz2", "a.tar.bz2", tuple(members), 10**12, *hashes, 1.0) for b in bouts]
    shown = archive_metadata(reports)
    assert (shown["tifs"], shown["pages"]) == (1000, 2_000_000)
    rows = shown["by_tif"].records
    assert [row.data["tif"][:4] for row in rows] == [f"{i:04d}" for i in range(40)]
    assert "960 of 1000 tifs" in shown["tifs_not_shown"].value
    assert ".meso/manifests/imaging_frames_archive.json" in shown["tifs_not_shown"].value
    stored = dg.serialize_value(shown["by_tif"])
    assert len(stored.encode()) < 40_000
    assert dg.deserialize_value(stored) == shown["by_tif"]
    assert "tifs_not_shown" not in archive_metadata([replace(reports[0], members=tuple(members[:40]))])


def test_files_that_are_no_datasets_are_told_by_reason():
    why = {f"alf/FOV_{i:02d}/mpci.x.npy": "the phantom" for i in range(20)} | {"notes.txt": "no dataset"}
    shown = dataset_metadata(SimpleNamespace(files=(1, 2), left_out=why))
    assert (shown["datasets"], shown["left_out"]) == (2, 21)
    rows = shown["why_left_out"].value.splitlines()[2:]
    assert [row.split(" | ")[1:] for row in rows] == [["20", "the phantom |"], ["1", "no dataset |"]]
    assert rows[0].startswith("| alf/FOV_00/mpci.x.npy, ")


def test_of_raw_files_a_person_reads_how_many_how_large_in_which_bouts_and_from_when():
    listed = [
        ListedFile("raw_imaging_data_00/a.tif", 2_000_000_000, 1_700_000_000_000_000_000),
        ListedFile("raw_imaging_data_01/b.tif", 500_000_000, 1_600_000_000_000_000_000),
        ListedFile("raw_imaging_data_01/gone.tif", GONE, 0, is_link=True),
    ]
    told = raw_metadata(RawFiles(RawKind.FRAMES, Path("/x"), tuple(listed)))
    assert (told["files"], told["gb"], told["bouts"]) == (3, 2.5, "raw_imaging_data_00, raw_imaging_data_01")
    assert told["newest"] == "2023-11-14T22:13:20+00:00"
    assert raw_metadata(RawFiles(RawKind.DAQ, Path("/x"), ()))["newest"] == "none"
