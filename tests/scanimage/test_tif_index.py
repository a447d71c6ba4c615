"""Pages are found without reading pixels, whatever the file; damage is told by page."""

import contextlib
import os
import re
import struct

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scanimage_files import small_config, write_bout

from meso_core.errors import InputFileError, MissingInputError
from meso_core.scanimage import LocalTif, ScanImageTif, StreamedTif
from meso_core.simulate.files.header import frame_data, roi_groups_text
from meso_core.simulate.tissue.geometry import session_geometry

REAL = ("hostpixelcorr_noavg_00001_00001.tif", "vol_no_flyback_00001_00001.tif")


@pytest.fixture
def tif(tmp_path):
    """A tif of seven pages, and its pages."""
    pages = write_bout(tmp_path / "bout", small_config(), (7,))
    return next((tmp_path / "bout").iterdir()), pages


@pytest.mark.parametrize("name", REAL)
def test_pages_times_and_pixels_are_those_that_tifffile_finds(real_data, name):
    path = real_data / "scanimage" / name
    index = ScanImageTif(path)
    with tifffile.TiffFile(path) as theirs:
        assert index.n_pages == len(theirs.pages)
        assert index.data_offsets.tolist() == [page.dataoffsets[0] for page in theirs.pages]
        described = [
            dict(line.split(" = ") for line in p.description.splitlines() if " = " in line) for p in theirs.pages
        ]
        assert index.frame_numbers.tolist() == [int(d["frameNumbers"]) for d in described]
        assert index.heads["time"].tolist() == [float(d["frameTimestamps_sec"]) for d in described]
        np.testing.assert_array_equal(pixels_of(path, 4000), theirs.asarray().reshape(-1, *index.page.layout[:2]))


def test_no_pixel_is_read(tif, monkeypatch):
    """What is read is less than the file without its pixels, and what surrounds them."""
    path, _ = tif
    read = 0
    original = ScanImageTif._fetch, ScanImageTif._gather

    def fetch(self, offset, n_bytes):
        nonlocal read
        data = original[0](self, offset, n_bytes)
        # the first look at a file, which tells its kind, is 64 kB whatever is there
        read += len(data) if offset else 0
        return data

    def gather(self, *args):
        nonlocal read
        raw = original[1](self, *args)
        read += raw.nbytes
        return raw

    monkeypatch.setattr(ScanImageTif, "_fetch", fetch)
    monkeypatch.setattr(ScanImageTif, "_gather", gather)
    tall = small_config(((400, 512),))
    write_bout(path.parent / "tall", tall, (40,))
    ScanImageTif(next((path.parent / "tall").iterdir()))
    assert 40 * 2300 < read < 40 * 3000 + 40_000


def pixels_of(tif, max_bytes=1 << 20):
    return np.concatenate([block.pixels for block in LocalTif(tif).blocks(max_bytes)])


def rewrite(path, changes):
    """Write bytes at offsets of a file."""
    with path.open("r+b") as file:
        for offset, data in changes.items():
            file.seek(offset)
            file.write(data)


def directories(path):
    with tifffile.TiffFile(path) as tif:
        return [page.offset for page in tif.pages]


def test_pages_that_are_not_equally_spaced_are_found_by_their_chain(tif, tmp_path):
    """A gap after page 2 and a copy of page 4's directory at the end of the file: the chain tells, the stride lies."""
    path, pages = tif
    raw = path.read_bytes()
    offsets = directories(path)
    cut, gap = offsets[3], 640
    moved = bytearray(raw[:cut] + b"\x55" * gap + raw[cut:])
    n_tags = 18

    def shift(at, by):
        moved[at : at + 8] = struct.pack("<Q", struct.unpack("<Q", moved[at : at + 8])[0] + by)

    shift(offsets[2] + 8 + 20 * n_tags, gap)
    for i, offset in enumerate(offsets[3:], 3):
        start = offset + gap
        for tag in range(n_tags):
            entry = start + 8 + 20 * tag
            if struct.unpack("<H", moved[entry : entry + 2])[0] in (270, 273):
                shift(entry + 12, gap)
        if i < len(offsets) - 1:
            shift(start + 8 + 20 * n_tags, gap)
    path.write_bytes(bytes(moved))
    assert directories(path) == [*offsets[:3], *(o + gap for o in offsets[3:])]
    index = ScanImageTif(path)
    assert index.frame_numbers.tolist() == list(range(1, 8))
    np.testing.assert_array_equal(pixels_of(path), pages)


def test_a_page_of_another_size_at_the_right_distance_is_not_taken_for_its_neighbour(tif):
    path, pages = tif
    offset = directories(path)[3]
    height = struct.unpack("<Q", path.read_bytes()[offset + 8 + 20 + 12 : offset + 8 + 20 + 20])[0]
    rewrite(path, {offset + 8 + 20 + 12: struct.pack("<Q", height - 2)})
    index = ScanImageTif(path)
    assert "'page 3'" in str(index.damage)
    np.testing.assert_array_equal(pixels_of(path), pages[:3])


def test_a_chain_that_runs_in_a_circle_ends_there(tif):
    path, pages = tif
    offsets = directories(path)
    rewrite(path, {offsets[-1] + 8 + 20 * 18: struct.pack("<Q", offsets[1])})
    index = ScanImageTif(path)
    assert "'page 6'" in str(index.damage)
    np.testing.assert_array_equal(pixels_of(path), pages[:6])
    stream = StreamedTif(path.name, lambda: path.open("rb"))
    assert sum(len(block.heads) for block in stream.blocks(4000)) == 6, "a stream gives the same pages"


@pytest.mark.parametrize("n_whole", [0, 3])
@pytest.mark.parametrize("ends_with_a_byte", [False, True])
def test_a_file_that_is_mostly_a_hole_is_refused_before_anything_reads_it_whole(tif, n_whole, ends_with_a_byte):
    """Else 60 GB of zeros would be hashed and packed."""
    path, _ = tif
    os.truncate(path, directories(path)[n_whole] if n_whole else 0)
    os.truncate(path, 60 << 30)
    if ends_with_a_byte:
        with path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"x")
    with pytest.raises(InputFileError, match=r"an end soon after the last page.* never written.*from the rig again"):
        ScanImageTif(path)


def test_whole_pages_are_used_whatever_was_written_behind_them(tif, monkeypatch):
    """One broken directory makes all that follows unreadable, and so does a disk that leaves zeros."""
    monkeypatch.setattr("meso_core.scanimage.tiff.pages.MOST_BEHIND_BYTES", 1 << 12)
    path, pages = tif
    content = path.read_bytes()[: directories(path)[2]]
    for behind in (bytes(1 << 20), b"\xff" * (1 << 20)):
        path.write_bytes(content + behind)
        index = ScanImageTif(path)
        assert index.damage is not None
        np.testing.assert_array_equal(pixels_of(path), pages[:2])


def test_a_page_that_names_no_frame_is_not_the_end(tif):
    path, pages = tif
    raw = path.read_bytes()
    at = raw.index(b"frameNumbers = 4")
    rewrite(path, {at: b"frameXumbers = 4"})
    index = ScanImageTif(path)
    assert index.damage is None
    assert index.frame_numbers.tolist() == [1, 2, 3, 0, 5, 6, 7]
    np.testing.assert_array_equal(pixels_of(path), pages)


def test_a_recording_whose_pages_name_no_frames_is_refused(tif):
    path, _ = tif
    path.write_bytes(path.read_bytes().replace(b"frameNumbers", b"frameXumbers"))
    with pytest.raises(InputFileError, match=r"page 0.*description with frameNumbers"):
        ScanImageTif(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_anywhere_has_its_whole_pages_and_tells_page_expected_and_found(tif, tmp_path, data):
    path, pages = tif
    size = path.stat().st_size
    cut = tmp_path / "cut.tif"
    cut.write_bytes(path.read_bytes())
    n = data.draw(st.one_of(st.integers(0, size - 1), st.integers(0, 40), st.integers(size - 40, size - 1)))
    os.truncate(cut, n)
    index = ScanImageTif(cut)
    whole = sum(start <= n for start in (*directories(path)[1:], size))  # a page ends where the next one begins
    assert index.n_pages == whole
    message = str(index.damage)
    assert re.search(rf"cut\.tif, field 'page {whole}': expected .*found .*\b{n} bytes.*MESO_DAMAGED_FRAMES", message)
    if whole:
        np.testing.assert_array_equal(pixels_of(cut), pages[:whole])
    else:
        assert list(LocalTif(cut).blocks()) == []
        assert LocalTif(cut).summary is None


# the broken byte may be the one that says whether pixels have a sign: then that is told
@pytest.mark.filterwarnings("ignore:.*pixels are uint16; they are halved:meso_core.errors.MesoWarning")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_with_a_broken_byte_is_read_or_refused_but_never_crashes(tif, tmp_path, data):
    path, _ = tif
    raw = bytearray(path.read_bytes())
    offsets = directories(path)
    where = st.one_of(st.integers(0, 40), *(st.integers(o, o + 420) for o in offsets[:4]))
    for at in data.draw(st.lists(where, min_size=1, max_size=3)):
        raw[at] = data.draw(st.integers(0, 255))
    broken = tmp_path / "broken.tif"
    broken.write_bytes(raw)
    with contextlib.suppress(InputFileError):
        index = ScanImageTif(broken)
        assert sum(len(block.pixels) for block in LocalTif(index).blocks(1 << 16)) == index.n_pages


def test_pages_whose_pixels_lie_backwards_in_the_file_are_read_each_from_its_place(tif):
    path, pages = tif
    index = ScanImageTif(path)
    index.data_offsets = index.data_offsets[::-1].copy()
    found = [np.array(block.pixels) for block in LocalTif(index).blocks(1 << 16)]
    np.testing.assert_array_equal(np.concatenate(found), pages[::-1])


def test_a_plain_tiff_is_refused_as_such(real_data):
    with pytest.raises(InputFileError, match="plain TIFF without ScanImage header"):
        ScanImageTif(real_data / "scanimage" / "iblscripts_reference_image.tif")


@pytest.mark.parametrize(
    "words", ["scanimage.SI5.VERSION_MAJOR = 5\nscanimage.SI5.VERSION_MINOR = 1\n", "state.software.version=3.8\r"]
)
def test_a_classic_tiff_of_old_scanimage_is_refused_as_such(tmp_path, words):
    path = tmp_path / "old.tif"
    tifffile.imwrite(path, np.zeros((3, 8, 8), np.int16), description=words, metadata=None, photometric="minisblack")
    with pytest.raises(InputFileError, match="classic TIFF of an older ScanImage"):
        ScanImageTif(path)


def test_a_bigtiff_without_scanimage_header_is_refused(tmp_path):
    path = tmp_path / "other.tif"
    words = "frameNumbers = 1\nframeTimestamps_sec = 0.0\n"
    tifffile.imwrite(
        path, np.zeros((8, 8), np.int16), bigtiff=True, description=words, software="ImageJ", metadata=None
    )
    with pytest.raises(InputFileError, match=r"'Software'.*ImageJ"):
        ScanImageTif(path)


@pytest.mark.parametrize(
    ("options", "pixel"),
    [({"compression": "zlib"}, np.int16), ({}, np.float32), ({"photometric": "rgb"}, np.uint16), ({}, np.uint8)],
)
def test_other_ways_to_store_pixels_are_refused(tmp_path, options, pixel):
    path = tmp_path / "odd.tif"
    shape = (8, 8, 3) if options.get("photometric") == "rgb" else (8, 8)
    tifffile.imwrite(path, np.zeros(shape, pixel), bigtiff=True, software="SI.x = 1", metadata=None, **options)
    with pytest.raises(InputFileError, match=r"page 0.*uncompressed 16-bit"):
        ScanImageTif(path)


def test_no_file_is_told_from_a_wrong_file(tmp_path):
    with pytest.raises(MissingInputError, match="no such file"):
        ScanImageTif(tmp_path / "none.tif")
    (tmp_path / "text.tif").write_text("this is no picture at all")
    with pytest.raises(InputFileError, match="begins with"):
        ScanImageTif(tmp_path / "text.tif")


def test_texts_are_those_that_were_written(tif):
    path, _ = tif
    config = small_config()
    index = ScanImageTif(path)
    assert index.software == frame_data(config, session_geometry(config))
    assert index.artist == roi_groups_text(config)
