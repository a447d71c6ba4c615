"""suite2p's pickled files are read, and nothing in them is run."""

import contextlib
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from meso_core.errors import DatasetError, InputFileError
from meso_core.imaging.detection.results import load_classification, load_stat
from meso_core.imaging.fovs import plane
from meso_core.imaging.fovs.objects import read_objects
from meso_core.storage import read_dataset

ran = []


def run(*_):
    """Stand for what a stranger would have run."""
    ran.append("run")


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def write(path, value, protocol=4):
    array = value if isinstance(value, np.ndarray) else np.array(value, dtype=object)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": array.shape})
        pickle.dump(array, file, protocol=protocol)


EVIL = {
    "a function": Evil(run, 1),
    "the shell": Evil(os.system, "true"),
    "code": Evil(eval, "__import__('os').system('true')"),
    "another pickle": Evil(pickle.loads, pickle.dumps(Evil(run))),
    "numpy's own loader": Evil(np.load, "x"),
    "an import": Evil(__import__, "antigravity"),
    "a file": Evil(open, "/tmp/x"),
    "a getter": Evil(getattr, 1, "real"),
    "a structure whose objects a file could forge": np.zeros(1, [("a", object)]),
    "a class of ours": plane.SupportsWrite,
}


@pytest.mark.parametrize("what", EVIL)
@pytest.mark.parametrize("name", ["settings.npy", "db.npy", "ops.npy", "reg_outputs.npy"])
def test_a_strangers_dictionary_runs_nothing_and_is_named(what, name, tmp_path):
    write(tmp_path / name, {"a": EVIL[what]})
    with pytest.raises(InputFileError, match=r"neither an array nor a plain value|values of type|a structure"):
        plane.load_dict(tmp_path / name)
    assert ran == []


@pytest.mark.parametrize("what", EVIL)
def test_a_strangers_rois_run_nothing(what, tmp_path):
    write(tmp_path / "stat.npy", np.array([{"ypix": EVIL[what]}, {}], dtype=object))
    with pytest.raises(InputFileError):
        load_stat(tmp_path)
    write(tmp_path / "iscell.npy", EVIL[what])
    with pytest.raises(InputFileError):
        load_classification(tmp_path)
    assert ran == []


def test_what_changes_the_reader_itself_changes_nothing(tmp_path):
    # BUILD with state on what a name stands for: the next file must be read as before
    for target in (b"cnumpy\ndtype\n", b"c_codecs\nencode\n", b"cnumpy\nndarray\n", b"cpathlib\nPosixPath\n"):
        with (tmp_path / "x.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
            file.write(target + b"(N}X\x0c\x00\x00\x00__setstate__Nstb.")
        with contextlib.suppress(InputFileError):
            read_objects(tmp_path / "x.npy", "again")
        plane.save_objects(tmp_path / "good.npy", {"a": np.arange(3, dtype=">i2"), "b": "text"})
        assert plane.load_dict(tmp_path / "good.npy")["a"].tolist() == [0, 1, 2]


texts = st.text(max_size=5)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts | st.binary(max_size=5)
dtypes = npst.scalar_dtypes().filter(lambda dtype: dtype.kind in "biufcSU")
arrays = npst.arrays(dtypes, npst.array_shapes(min_dims=0, max_side=3))
values = st.recursive(
    plain | arrays,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, max_examples=60)
@given(content=st.dictionaries(st.text(max_size=4), values, max_size=4), protocol=st.sampled_from([2, 4, 5]))
def test_plain_values_and_arrays_come_back_as_numpy_itself_reads_them(content, protocol, tmp_path_factory):
    path = tmp_path_factory.mktemp("o") / "x.npy"
    write(path, content, protocol)
    found, expected = plane.load_dict(path), np.load(path, allow_pickle=True).item()
    np.testing.assert_equal(found, expected)
    again, as_numpy = io.BytesIO(), io.BytesIO()
    plane.dump_objects(again, found)
    plane.dump_objects(as_numpy, expected)
    assert again.getvalue() == as_numpy.getvalue(), "written again, to the byte"


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_damaged_file_is_named_whatever_is_damaged(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("o") / "x.npy"
    write(path, {"a": np.arange(9.0), "b": [1, "x"], "c": np.float32(2)})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    found = None
    with contextlib.suppress(InputFileError):  # and nothing else
        found = plane.load_dict(path)
    assert found is None or isinstance(found, dict), "named, or a value whose bits were flipped"


def test_a_small_file_that_claims_to_be_large_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("meso_core.storage.alf._MOST_UNPACKED_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "mpciROIs.masks.sparse_npz", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("data.npy", bytes(1 << 21))
    assert (tmp_path / "mpciROIs.masks.sparse_npz").stat().st_size < 1 << 13
    with pytest.raises(DatasetError, match="once unpacked"):
        read_dataset(tmp_path / "mpciROIs.masks.sparse_npz")
