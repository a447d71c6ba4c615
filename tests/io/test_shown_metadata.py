"""What metadata hold: one picture, small whatever it shows."""

import re
from dataclasses import replace

import dagster as dg
import numpy as np
import pytest

from meso_assets.io.metadata import archive_metadata, picture, registration_metadata
from meso_core.archive import ArchiveMember, ArchiveReport


@pytest.mark.parametrize("side", [96, 256, 512])
def test_the_picture_of_a_noisy_fov_takes_at_most_40_kb(side):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    noise = np.random.default_rng(side).gamma(2, 50, (side, side))
    figure.subplots().imshow(noise, cmap="gray", interpolation="nearest")
    (entry,) = picture(figure, "noise").values()
    (encoded,) = re.findall(r"base64,([^)]*)", entry.value)
    assert len(encoded) <= 40_000


def test_a_fovs_full_picture_becomes_small_in_metadata():
    import io

    from PIL import Image

    file = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (728, 832, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, format="png")
    (entry,) = picture(file.getvalue(), "areas").values()
    assert len(entry.value) <= 40_000 + 100


def test_motion_that_is_left_is_shown_as_mean_and_largest_and_not_at_all_where_unmeasured(tmp_path):
    from meso_core.imaging import RegistrationResult

    still, image = np.zeros(100), np.zeros((20, 20))
    reg_dx = np.tile(np.array([[0.25], [0.75]]), (15, 4))
    none = np.zeros(100, bool)
    fovs = [RegistrationResult(tmp_path, 100, still, still, none, none, image, dx, False) for dx in (reg_dx, None)]
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
