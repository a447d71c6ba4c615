"""The one way to open a file: plain files alone, without waiting, within the size of their kind."""

import os
import resource
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from meso_core.errors import InputFileError, MissingInputError
from meso_core.opening import map_array, open_plain, read_array, read_json, read_plain


def _socket(path):
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


NO_FILES = {
    "a folder": lambda path: path.mkdir(),
    "a pipe (FIFO)": os.mkfifo,
    "a socket": _socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to /no/such/place, where there is none": lambda path: path.symlink_to("/no/such/place"),
    "a link to x, where there is none": lambda path: path.symlink_to("x"),
}


@pytest.mark.parametrize("found", NO_FILES)
@pytest.mark.parametrize("read", [open_plain, read_plain, map_array, read_array, lambda p: read_json(p, "Copy it")])
def test_what_is_no_plain_file_is_refused_by_name_at_once(read, found, tmp_path):
    path = tmp_path / "x"
    NO_FILES[found](path)
    started = time.monotonic()
    with pytest.raises(InputFileError) as told:
        read(path)
    assert time.monotonic() - started < 5, "nobody writes to a pipe"
    assert f"found {found}. " in str(told.value)
    assert str(path) in str(told.value)


def test_what_is_not_there_and_a_name_that_is_none_are_told_apart(tmp_path):
    for name in ("x", "file/x"):
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(MissingInputError, match="no such file"):
            open_plain(tmp_path / name)
    for name in ("x\0y", "x" * 300):
        with pytest.raises(InputFileError, match="found "):
            open_plain(tmp_path / name)


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    assert read_plain(tmp_path / "link") == b"abc"


def test_a_file_without_rights_names_the_right_that_is_missing(others_folder, another_user):
    path = others_folder / "x"
    path.write_bytes(b"x")
    path.chmod(0)
    with another_user(), pytest.raises(InputFileError, match="Give the platform's user the right to read it"):
        open_plain(path)


def test_a_folder_without_rights_names_the_right_that_is_missing(others_folder, another_user):
    (others_folder / "closed").mkdir()
    (others_folder / "closed" / "x").write_bytes(b"x")
    (others_folder / "closed").chmod(0)
    with another_user(), pytest.raises(InputFileError, match="Give the platform's user the right to read it"):
        open_plain(others_folder / "closed" / "x")


def test_a_file_of_a_size_that_its_kind_never_has_is_not_read(tmp_path):
    path = tmp_path / "x.json"
    path.touch()
    os.truncate(path, 60 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (read_plain, read_array, lambda p: read_json(p, "Copy it")):
        with pytest.raises(InputFileError, match=f"found {60 << 30} bytes"):
            read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kB"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[" * 200_000, b"1" + b"0" * 10_000], ids=["empty", "cut", "bytes", "deep", "huge"]
)
def test_what_is_no_json_is_told_with_the_remedy(content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputFileError, match=r"expected JSON, found .*\. Make it again\."):
        read_json(tmp_path / "x", "Make it again")


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.eye(3)),
        np.array(3),
        np.empty((0, 2)),
        np.arange(3, dtype=">i2"),
    ],
    ids=str,
)
def test_an_array_is_mapped_and_read_as_it_was_saved(array, tmp_path):
    np.save(tmp_path / "x.npy", array)
    for read in (map_array, read_array):
        found = read(tmp_path / "x.npy")
        np.testing.assert_array_equal(found, array)
        assert (found.dtype, found.shape) == (array.dtype, array.shape)


@pytest.mark.parametrize("shape", [(10**18,), (-1,), (3, 10**12), (2**63, 2**63)])
def test_a_header_that_claims_more_than_there_is_is_refused(shape, tmp_path):
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    for read in (map_array, read_array):
        with pytest.raises(InputFileError, match="a damaged file"):
            read(tmp_path / "x.npy")
