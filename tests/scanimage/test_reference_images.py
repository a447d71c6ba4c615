"""Reference images: one raw stack per bout, under its ALF names."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from damaged_files import Page, write_tif
from PIL import Image
from scanimage_files import small_config

from meso_core.errors import InputFileError, MesoWarning, MetadataError, MissingInputError
from meso_core.scanimage.metadata.extract import meta_with_frames
from meso_core.scanimage.reference_images import reference_images
from meso_core.scanimage.reference_stack import stitch_stack
from meso_core.session import imaging_bouts, raw_tifs
from meso_core.storage import hash_file


@pytest.fixture
def session(tiny_session: Any, tmp_path: Path) -> Path:
    """Copy of the two bouts of the simulated session."""
    target = tmp_path / "Subjects" / "SP035" / "2023-03-03" / "001"
    for bout in imaging_bouts(tiny_session.session_path):
        shutil.copytree(bout, target / bout.name)
    return target


def snapshot(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Content and time of every file below a folder."""
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_each_bout_gets_raw_stack_and_metadata_under_their_names(session: Path, tmp_path: Path) -> None:
    before = snapshot(session)
    made = reference_images(session, tmp_path / "out")
    assert snapshot(session) == before
    assert [m.bout for m in made] == ["raw_imaging_data_00", "raw_imaging_data_01"]
    for images in made:
        folder = tmp_path / "out" / images.bout / "reference"
        names = {p.name for p in folder.iterdir()}
        assert names == {"referenceImage.raw.tif", "referenceImage.stack.tif", "referenceImage.meta.json"}
        (raw,) = raw_tifs(session / images.bout / "reference")
        assert (folder / "referenceImage.raw.tif").read_bytes() == raw.read_bytes()
        assert images.source == raw.name
        assert f"{images.bout}/reference/referenceImage.raw.tif" in images.known_hashes
        for path, content in images.known_hashes.items():
            assert content == hash_file(tmp_path / "out" / path)
        meta = json.loads((folder / "referenceImage.meta.json").read_text())
        assert meta["nFrames"] == images.shape[0] == 3
        bout_meta = json.loads((session / images.bout / "_ibl_rawImagingData.meta.json").read_text())
        assert meta["centerMM"]["ML"] == bout_meta["centerMM"]["ML"]
        with Image.open(io.BytesIO(images.picture)) as shown:
            assert min(shown.size) >= 96
        assert len(images.picture) * 4 / 3 <= 8_000


def test_picture_of_a_noisy_stack_is_small_too() -> None:
    from meso_core.scanimage.reference_images import picture_of

    noise = np.random.default_rng(0).integers(-500, 5000, (3, 1000, 700)).astype(np.int16)
    assert len(picture_of(noise)) * 4 / 3 <= 8_000


def test_stitched_stack_joins_the_strips_without_a_seam(session: Path, tmp_path: Path) -> None:
    """The window is drawn in one piece and cut into strips: the stitched picture must be in one piece again."""
    images = reference_images(session, tmp_path / "out")[0]
    stack = tifffile.imread(tmp_path / "out" / images.files[1])
    assert stack.shape == images.shape == (3, 144, 144)
    assert stack.dtype == np.int16
    steps = np.abs(np.diff(stack.astype(float), axis=2)).mean(axis=(0, 1))
    seams = steps[[47, 95]]
    assert seams.max() < 2 * np.median(steps)


@pytest.mark.filterwarnings("ignore:.*average of fewer frames")
@pytest.mark.parametrize(
    ("n_channels", "frames", "lost", "told"),
    [
        (1, [0, 1, 2, 3, 5, 6, 7, 8], 4, "page 4: frames missing, expected frame 5, found 6"),
        (1, [1, 2, 3, 4, 5, 6, 7, 8], 0, "page 0: frames missing, expected frame 1, found 2"),
        (1, [0, 1, 2, 3, 4, 4, 5, 6, 7, 8], None, "page 5: page twice, expected frame 6, found 5"),
        (1, [0, 1, 7, 2, 3, 4, 5, 6, 8], 7, "page 2: page out of order, expected frame 3, found 8"),
        (2, [0, 1, 2, 3, 5, 6, 7, 8], 4, "page 8: frames missing, expected frame 5, found 6"),
        (2, [0, 1, 2, 3, 4, 4, 5, 6, 7, 8], 4, "pages 8 to 11: frame without all its channels, expected frame 5"),
    ],
)
def test_a_page_of_a_stack_counts_for_the_depth_of_its_frame_number(
    tmp_path: Path, n_channels: int, frames: list[int], lost: int | None, told: str
) -> None:
    """Three volumes of three depths; each pixel of the green channel holds ten times its frame number from 0."""
    config = small_config(((16, 16),), zs=(0.0, 30.0, 60.0), channels=(2, 3)[:n_channels])
    tif = tmp_path / "raw_imaging_data_00" / "reference" / "ref_00001_00001.tif"
    write_tif(tif, config, [Page(frame, channel) for frame in frames for channel in range(n_channels)])
    with pytest.warns(MesoWarning, match=f"raw_imaging_data_00/reference: .*{tif.name}, {told}"):
        stack = stitch_stack(tif, meta_with_frames([tif], 0.0, 0.0)[0])
    for depth in range(3):
        assert (stack[depth] == round(np.mean([10 * f for f in range(depth, 9, 3) if f != lost]))).all()


def test_made_files_do_not_depend_on_when_they_are_made(session: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        reference_images(session, tmp_path / name)
    for file in (tmp_path / "a").rglob("*.*"):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


def test_what_the_rig_delivered_is_kept(session: Path, tmp_path: Path) -> None:
    reference_images(session, tmp_path / "out")
    for bout in imaging_bouts(session):
        shutil.rmtree(bout / "reference")
        shutil.copytree(tmp_path / "out" / bout.name / "reference", bout / "reference")
    marked = session / "raw_imaging_data_00" / "reference" / "referenceImage.meta.json"
    marked.write_text('{"mine": true}')
    again = reference_images(session, tmp_path / "again")
    assert [m.made for m in again] == [(), ()]
    assert (tmp_path / "again" / again[0].files[2]).read_text() == '{"mine": true}'
    assert again[0].source == "referenceImage.raw.tif"


def test_several_raw_stacks_are_refused_by_name(session: Path, tmp_path: Path) -> None:
    folder = imaging_bouts(session)[0] / "reference"
    (raw,) = raw_tifs(folder)
    shutil.copy(raw, folder / "referenceImage.raw.tif")
    reference_images(session, tmp_path / "same")  # the same content under both names is one stack
    (folder / "other.tif").write_bytes(raw.read_bytes()[:-1] + b"?")
    with pytest.raises(InputFileError, match=r"other\.tif"):
        reference_images(session, tmp_path / "out")


def test_folder_without_a_stack_is_an_error_and_no_folder_a_warning(session: Path, tmp_path: Path) -> None:
    first, second = imaging_bouts(session)
    shutil.rmtree(second / "reference")
    with pytest.warns(MesoWarning, match=second.name):
        assert [m.bout for m in reference_images(session, tmp_path / "a")] == [first.name]
    for tif in raw_tifs(first / "reference"):
        tif.unlink()
    with pytest.warns(MesoWarning), pytest.raises(MissingInputError, match="one raw reference stack"):
        reference_images(session, tmp_path / "b")
    shutil.rmtree(first / "reference")
    with pytest.raises(MissingInputError, match="do not run this asset"):
        reference_images(session, tmp_path / "c")


def test_centre_of_the_window_is_asked_for_where_nothing_tells_it(session: Path, tmp_path: Path) -> None:
    for bout in imaging_bouts(session):
        (bout / "_ibl_rawImagingData.meta.json").unlink()
    with pytest.raises(MetadataError, match="centre"):
        reference_images(session, tmp_path / "a")
    images = reference_images(session, tmp_path / "b", center_ml=2.5, center_ap=-1.5)[0]
    meta = json.loads((tmp_path / "b" / images.files[2]).read_text())
    assert (meta["centerMM"]["ML"], meta["centerMM"]["AP"]) == (2.5, -1.5)


@pytest.mark.parametrize(
    ("name", "content"), [("referenceImage.meta.json", b"{"), ("referenceImage.stack.tif", b"II*")]
)
def test_damaged_files_of_the_rig_are_named(session: Path, tmp_path: Path, name: str, content: bytes) -> None:
    (imaging_bouts(session)[0] / "reference" / name).write_bytes(content)
    with pytest.raises(InputFileError, match=name):
        reference_images(session, tmp_path / "a")


def _deliver(session: Path, made: Path) -> Path:
    """Leave everything in the reference folders as if the rig had made it; returns the first of them."""
    reference_images(session, made)
    for bout in imaging_bouts(session):
        shutil.rmtree(bout / "reference")
        shutil.copytree(made / bout.name / "reference", bout / "reference")
    return imaging_bouts(session)[0] / "reference"


@pytest.mark.parametrize("spoil", ["no tif", "cut", "no page"])
def test_raw_stack_is_looked_into_although_nothing_is_made_from_it(session: Path, tmp_path: Path, spoil: str) -> None:
    raw = _deliver(session, tmp_path / "made") / "referenceImage.raw.tif"
    whole = raw.read_bytes()
    raw.write_bytes({"no tif": b"not a tif at all", "cut": whole[:-1000], "no page": whole[:8] + bytes(8)}[spoil])
    with pytest.raises(InputFileError, match=r"referenceImage\.raw\.tif"):
        reference_images(session, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.tif"))


def test_delivered_stack_keeps_its_brightness(session: Path, tmp_path: Path) -> None:
    """60,000 of a uint16 stack is the brightest, not -5536."""
    import io

    from matplotlib.image import imread

    folder = _deliver(session, tmp_path / "made")
    stack = np.full((2, 20, 30), 100, np.uint16)
    stack[:, :, 15:] = 60_000
    tifffile.imwrite(folder / "referenceImage.stack.tif", stack)
    images = reference_images(session, tmp_path / "out")[0]
    assert images.shape == stack.shape
    delivered = tmp_path / "out" / images.files[1]
    assert tifffile.imread(delivered).dtype == np.uint16
    picture = imread(io.BytesIO(images.picture), format="png")[..., 0]
    assert picture[:, -1].min() > picture[:, 0].max()


def test_delivered_stack_of_no_numbers_is_named(session: Path, tmp_path: Path) -> None:
    folder = _deliver(session, tmp_path / "made")
    tifffile.imwrite(folder / "referenceImage.stack.tif", np.zeros((2, 20, 30), np.complex64))
    with pytest.raises(InputFileError, match="complex64"):
        reference_images(session, tmp_path / "out")
