"""The same pages come from a file, from a stream that cannot go back, in blocks of any size."""

import io
import os

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scanimage_files import small_config, write_bout

from meso_core.errors import InputFileError, MesoWarning
from meso_core.scanimage import LocalTif, StreamedTif

REAL = ("hostpixelcorr_noavg_00001_00001.tif", "vol_no_flyback_00001_00001.tif")


class Pipe(io.RawIOBase):
    """A stream that gives some bytes at a time, and never goes back."""

    def __init__(self, data: bytes, portion: int = 1000) -> None:
        self.data, self.at, self.portion = data, 0, portion

    def readinto(self, buffer):
        part = self.data[self.at : self.at + min(len(buffer), self.portion)]
        buffer[: len(part)] = part
        self.at += len(part)
        return len(part)

    def seek(self, *_):
        raise io.UnsupportedOperation("seek")


@pytest.fixture
def tif(tmp_path):
    """A tif of eleven pages, and its pages."""
    pages = write_bout(tmp_path / "bout", small_config(), (11,))
    return next((tmp_path / "bout").iterdir()), pages


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(block=st.integers(1, 40_000), portion=st.integers(1, 5000))
def test_blocks_of_any_size_hold_the_same_pages(tif, block, portion):
    path, pages = tif
    for source in (LocalTif(path), StreamedTif(path.name, lambda: Pipe(path.read_bytes(), portion))):
        blocks = [b.pixels for b in source.blocks(block)]
        assert all(b.dtype == np.int16 and b.nbytes <= max(block, pages[0].nbytes) for b in blocks)
        np.testing.assert_array_equal(np.concatenate(blocks), pages)
        assert source.name == path.name


#: Ways in which a consumer may hold on to pages of a block.
KEEPERS = {
    "the block": lambda block: block,
    "a slice": lambda block: block[:, 3:5],
    "one page": lambda block: block[-1],
    "another view": lambda block: block.T.view(np.uint16),
    "its buffer": memoryview,
    "an array on its buffer": lambda block: np.asarray(memoryview(block[:, 3:5])),
}


@pytest.mark.parametrize("kind", ["file", "stream"])
@pytest.mark.parametrize("keeper", KEEPERS)
def test_pages_that_are_kept_in_any_way_do_not_change(tif, keeper, kind):
    path, pages = tif
    source = LocalTif(path) if kind == "file" else StreamedTif(path.name, lambda: Pipe(path.read_bytes()))
    keep = KEEPERS[keeper]
    kept = [keep(block.pixels) for block in source.blocks(2 * pages[0].nbytes)]
    assert len(kept) == 6
    for i, held in enumerate(kept):
        np.testing.assert_array_equal(np.asarray(held), np.asarray(keep(pages[2 * i : 2 * i + 2])))


def test_pages_kept_now_and_then_do_not_change(tif):
    """Some are let go at once, some later: memory is used again in any order."""
    path, pages = tif
    kept, rng = {}, np.random.default_rng(1)
    for i, block in enumerate(LocalTif(path).blocks(pages[0].nbytes)):
        kept[i] = block.pixels[0, 1:]
        for j in [j for j in kept if rng.random() < 0.4]:
            np.testing.assert_array_equal(kept.pop(j), pages[j, 1:])
    for j, held in kept.items():
        np.testing.assert_array_equal(held, pages[j, 1:])


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_memory_of_blocks_that_are_gone_is_used_again(tif, kind):
    path, pages = tif
    source = LocalTif(path) if kind == "file" else StreamedTif(path.name, lambda: Pipe(path.read_bytes()))
    places = {block.pixels.__array_interface__["data"][0] for block in source.blocks(pages[0].nbytes)}
    assert len(places) == 2  # the consumer still holds a block while the next one is read


@pytest.mark.parametrize("name", REAL)
def test_real_files_stream(real_data, name):
    path = real_data / "scanimage" / name
    streamed, local = StreamedTif(name, lambda: Pipe(path.read_bytes(), 4096)), LocalTif(path)
    blocks = list(streamed.blocks(5000))
    np.testing.assert_array_equal(np.concatenate([b.pixels for b in blocks]), tifffile.imread(path))
    assert streamed.summary == local.summary
    assert streamed.damage is None
    assert np.concatenate([b.heads for b in blocks]).tolist() == local.tif.heads.tolist()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_stream_that_ends_early_gives_its_whole_pages_and_names_the_next(tif, data):
    path, pages = tif
    raw = path.read_bytes()
    n = data.draw(st.one_of(st.integers(0, len(raw) - 1), st.integers(0, 40)))
    source = StreamedTif(path.name, lambda: Pipe(raw[:n]))
    blocks = list(source.blocks(4000))
    with tifffile.TiffFile(path) as theirs:
        ends = [page.dataoffsets[0] + page.databytecounts[0] for page in theirs.pages]
    whole = sum(end <= n for end in ends)
    assert sum(len(block.heads) for block in blocks) == whole
    for block, start in zip(blocks, np.cumsum([0, *(len(b.heads) for b in blocks)]), strict=False):
        np.testing.assert_array_equal(block.pixels, pages[start : start + len(block.heads)])
    assert f"{path.name}, field 'page {whole}'" in str(source.damage)
    assert (source.summary is None) == (whole == 0)


def test_a_file_that_loses_its_end_while_it_is_read_is_named(tif):
    path, pages = tif
    source = LocalTif(path)
    blocks = source.blocks(pages[0].nbytes)
    next(blocks)
    os.truncate(path, path.stat().st_size - 10)
    with pytest.raises(InputFileError, match="page 10"):
        list(blocks)


def test_a_layout_that_must_be_read_backwards_is_refused(tmp_path):
    """tifffile writes the pixels of a series in one piece and the other directories behind them."""
    path = tmp_path / "odd.tif"
    words = "frameNumbers = 1\nframeTimestamps_sec = 0.0\nepoch = []\n"
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        tif.write(
            np.zeros((3, 64, 64), np.int16),
            description=words,
            software="SI.version = 1",
            metadata=None,
            photometric="minisblack",
        )
    with pytest.raises(InputFileError, match=r"from front to back.*`meso restore`"):
        list(StreamedTif(path.name, path.open("rb").__enter__).blocks(1 << 20))


def test_a_stream_that_is_no_scanimage_tif_is_refused(real_data):
    path = real_data / "scanimage" / "iblscripts_reference_image.tif"
    with pytest.raises(InputFileError, match="plain TIFF"):
        list(StreamedTif(path.name, lambda: path.open("rb")).blocks(1 << 20))


def test_unsigned_pixels_are_halved_and_told(tmp_path):
    """suite2p halves uint16 too, lest its upper half becomes negative."""
    path = tmp_path / "unsigned.tif"
    pixels = np.array([[0, 1, 2], [32768, 65534, 65535]], np.uint16)
    words = "frameNumbers = 1\nframeTimestamps_sec = 0.0\n"
    tifffile.imwrite(path, pixels, bigtiff=True, description=words, software="SI.version = 1", metadata=None)
    with pytest.warns(MesoWarning, match="uint16"):
        (block,) = LocalTif(path).blocks(1 << 20)
    assert block.pixels.tolist() == [[[0, 0, 1], [16384, 32767, 32767]]]
