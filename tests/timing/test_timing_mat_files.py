"""``exptQC.mat`` and ``badframes.mat`` as people save them: every version of MATLAB, every shape, one meaning."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mat73_files import Cell, Char, Objects, save_mat73
from scipy.io import savemat

from meso_core.errors import InputFileError
from meso_core.timing import consolidate_frame_qc

pytestmark = pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning")  # a bout without one of the files

N = 6
RATED = [0, 1, 1, 0, 2, 0]
LABELS = ["ok", "PMT off", "PMT off", "ok", "unknown", "ok"]
BAD = [1, 2, 4]


def cells(values, shape=None):
    """A cell array as ``savemat`` takes it."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(shape or (1, -1))


#: How a version is written, and how it writes a cell array and a character matrix.
VERSIONS = {
    "v6": (lambda path, **v: savemat(path, v), cells, lambda *rows: np.array(rows)),
    "v7": (lambda path, **v: savemat(path, v, do_compression=True), cells, lambda *rows: np.array(rows)),
    "v7.3": (save_mat73, lambda values, shape=None: Cell(values, shape), Char),
}
VERSION = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture
def bout(tmp_path):
    folder = tmp_path / "raw_imaging_data_00"
    folder.mkdir()
    return folder


def rated(bout, n=N, **more):
    """Labels of the frames, and the numbers of the bad ones."""
    qc = consolidate_frame_qc(bout, n, **more)
    return [qc.labels[v] for v in qc.values], np.flatnonzero(qc.bad_frames).tolist()


def of_names(version):
    _, cell, char = VERSIONS[version]
    names = ["ok", "PMT off", ""]
    return {
        "row": cell(names),
        "column": cell(names, (3, 1)),
        "padded in the cells": cell(["ok   ", "PMT off ", " "]),
        "char matrix": char("ok     ", "PMT off", "       "),
        "cells of cells": cell([cell(["ok"]), cell(["PMT off"]), cell([""])]),
    }


@VERSION
@pytest.mark.parametrize("form", of_names("v6"))
def test_names_mean_the_same_however_they_were_saved(bout, version, form):
    save = VERSIONS[version][0]
    save(bout / "exptQC.mat", frameQC_frames=np.array([RATED], float), frameQC_names=of_names(version)[form])
    assert rated(bout)[0] == LABELS


ARRAYS = {
    "double row": lambda v: np.array([v], float),
    "double column": lambda v: np.array([v], float).T,
    **{
        kind: lambda v, kind=kind: np.array([v], kind)
        for kind in ("f4", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")
    },
}


@VERSION
@pytest.mark.parametrize("form", ARRAYS)
def test_numbers_mean_the_same_in_every_type_as_row_and_as_column(bout, version, form):
    save, cell, _ = VERSIONS[version]
    save(bout / "exptQC.mat", frameQC_frames=ARRAYS[form](RATED), frameQC_names=cell(["ok", "PMT off", ""]))
    save(bout / "badframes.mat", badframes=ARRAYS[form](BAD))
    assert rated(bout) == (LABELS, BAD)


@VERSION
@pytest.mark.parametrize(
    "wrapped", [lambda v: {"qc": v}, lambda v: {"out": {"qc": v, "user": "me"}, "other": {"x": 1.0}}]
)
def test_fields_of_a_struct_are_found(bout, version, wrapped):
    save, cell, _ = VERSIONS[version]
    values = {"frameQC_frames": np.array([RATED], float), "frameQC_names": cell(["ok", "PMT off", ""])}
    save(bout / "exptQC.mat", **wrapped(values))
    save(bout / "badframes.mat", **wrapped({"badframes": np.array([BAD], float)}))
    assert rated(bout) == (LABELS, BAD)


@VERSION
def test_two_structs_with_the_field_are_no_answer(bout, version):
    VERSIONS[version][0](bout / "badframes.mat", a={"badframes": np.eye(1)}, b={"badframes": np.eye(1)})
    with pytest.raises(InputFileError, match="one struct that holds it, found 2 of them"):
        consolidate_frame_qc(bout, N)


@VERSION
@pytest.mark.parametrize("shape", [(0, 0), (1, 0), (0, 1)])
def test_no_bad_frame_is_an_empty_array_of_any_shape(bout, version, shape):
    VERSIONS[version][0](bout / "badframes.mat", badframes=np.empty(shape))
    assert rated(bout)[1] == []


@VERSION
def test_one_bad_frame_and_one_label_are_lists_of_one(bout, version):
    save, cell, _ = VERSIONS[version]
    save(bout / "exptQC.mat", frameQC_frames=np.zeros((1, N)), frameQC_names=cell(["ok"]))
    save(bout / "badframes.mat", badframes=np.array([[3.0]]))
    assert rated(bout) == (["ok"] * N, [3])


@VERSION
def test_a_file_without_a_name_rates_nothing(bout, version):
    save, cell, _ = VERSIONS[version]
    save(bout / "exptQC.mat", frameQC_frames=np.zeros((1, N)), frameQC_names=cell([], (0, 0)))
    assert rated(bout)[0] == ["unknown"] * N


@VERSION
@settings(max_examples=15, deadline=None)
@given(mask=st.lists(st.booleans(), min_size=3, max_size=9), column=st.booleans(), logical=st.booleans())
def test_one_logical_value_per_frame_marks_the_frames_where_it_is_true(
    tmp_path_factory, version, mask, column, logical
):
    """MATLAB's mask, also after ``double(mask)``: no list of frames holds 0 and 1 so often."""
    bout = tmp_path_factory.mktemp("bout")
    value = np.array([mask]) if logical else np.array([mask], float)
    VERSIONS[version][0](bout / "badframes.mat", badframes=value.T if column else value)
    assert rated(bout, len(mask))[1] == np.flatnonzero(mask).tolist()


def test_a_mask_of_pages_marks_frames_of_which_a_page_is_bad(bout):
    savemat(bout / "badframes.mat", {"badframes": np.array([[False, False, True, False, True, True]])})
    assert rated(bout, 3, n_channels=2)[1] == [1, 2]


@VERSION
def test_a_mask_of_another_length_is_refused(bout, version):
    VERSIONS[version][0](bout / "badframes.mat", badframes=np.array([[True, False, True]]))
    with pytest.raises(InputFileError, match="6 logical values, found 3 logical values"):
        consolidate_frame_qc(bout, N)


def test_version_4_is_read(bout):
    values = {"frameQC_frames": np.array([RATED], float), "frameQC_names": np.array(["ok     ", "PMT off", "       "])}
    savemat(bout / "exptQC.mat", values, format="4")
    savemat(bout / "badframes.mat", {"badframes": np.array([BAD], float)}, format="4")
    assert rated(bout) == (LABELS, BAD)


# what only MATLAB can read


def opaque(name, kind=b"string"):
    """A version 5 MAT-file with one variable of a class that MATLAB keeps elsewhere."""

    def element(number, content):
        return struct.pack("<II", number, len(content)) + content + bytes(-len(content) % 8)

    ids = np.array([0xDD000000, 2, 1, 1, 1, 1], np.uint32)
    inner = element(6, struct.pack("<II", 13, 0)) + element(5, struct.pack("<ii", 6, 1)) + element(1, b"")
    inner += element(6, ids.tobytes())
    body = element(6, struct.pack("<II", 17, 0)) + element(1, name) + element(1, b"MCOS") + element(1, kind)
    body += element(14, inner)
    header = b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(116) + bytes(8) + b"\0\1IM"
    return header + element(14, body)


@pytest.mark.parametrize("kind", ["string", "table"])
@pytest.mark.parametrize("version", ["v7", "v7.3"])
def test_objects_of_matlab_are_refused_with_the_remedy(bout, version, kind):
    if version == "v7.3":
        save_mat73(bout / "badframes.mat", badframes=Objects(kind))
    else:
        (bout / "badframes.mat").write_bytes(opaque(b"badframes", kind.encode()))
    remedy = r"badframes = cellstr\(badframes\)" if kind == "string" else r"double\(badframes\)"
    with pytest.raises(InputFileError, match=rf"field 'badframes': .* found a MATLAB {kind}, which .* set .*{remedy}"):
        consolidate_frame_qc(bout, N)


def test_strings_for_names_are_refused_and_cellstr_of_them_is_read(bout):
    file = bout / "exptQC.mat"
    save_mat73(file, frameQC_frames=np.zeros((1, N)), frameQC_names=Objects())
    with pytest.raises(InputFileError, match=r"In MATLAB, set frameQC_names = cellstr\(frameQC_names\)"):
        consolidate_frame_qc(bout, N)
    save_mat73(file, frameQC_frames=np.zeros((1, N)), frameQC_names=Cell(["ok", "PMT off"]))
    assert rated(bout)[0] == ["ok"] * N


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("1 2 3", "the text '1 2 3'"),
        (np.array([[1.5, 2]]), "fractions, or NaN"),
        (np.array([[1, np.nan]]), "fractions, or NaN"),
        (np.arange(6.0).reshape(2, 3), "float64 of 2 x 3"),
        (np.array([[1j, 2]]), "complex numbers"),
        ({"a": 1.0}, "a struct with a"),
        (cells([1.0, 2.0]), "a cell array of 2"),
    ],
)
def test_what_is_no_vector_of_whole_numbers_is_named(bout, value, found):
    savemat(bout / "badframes.mat", {"badframes": value})
    with pytest.raises(InputFileError, match=f"field 'badframes': .*found {found}.*In MATLAB, set badframes to"):
        consolidate_frame_qc(bout, N)


@VERSION
def test_names_that_are_numbers_are_refused(bout, version):
    save, cell, _ = VERSIONS[version]
    save(bout / "exptQC.mat", frameQC_frames=np.zeros((1, N)), frameQC_names=cell(["ok", np.array([[1.0, 2.0]])]))
    with pytest.raises(InputFileError, match="field 'frameQC_names': expected a cell array of character vectors"):
        consolidate_frame_qc(bout, N)


@VERSION
def test_a_missing_variable_is_named_beside_those_that_are_there(bout, version):
    VERSIONS[version][0](bout / "badframes.mat", badFrames=np.eye(1), user="me")
    with pytest.raises(InputFileError, match=r"field 'badframes': .*found badFrames, user\. Save it under this name"):
        consolidate_frame_qc(bout, N)


@pytest.mark.parametrize("keep", [600, 0.5, 0.9])
def test_a_file_of_version_73_that_is_cut_short_is_named(bout, keep):
    file = bout / "badframes.mat"
    save_mat73(file, badframes=np.arange(10.0**4)[None])
    content = file.read_bytes()
    file.write_bytes(content[: keep if keep > 1 else int(keep * len(content))])
    with pytest.raises(InputFileError, match=r"badframes\.mat: .* does not load .* save\(\.\.\., '-v7'\)"):
        consolidate_frame_qc(bout, 10**4)


def test_cells_that_hold_themselves_are_named(bout):
    import h5py

    file = bout / "badframes.mat"
    save_mat73(file, badframes=Cell([np.eye(1), np.eye(1)]))
    with h5py.File(file, "r+") as raw:
        raw["badframes"][0, 0] = raw["badframes"].ref
    with pytest.raises(InputFileError, match="does not load"):
        consolidate_frame_qc(bout, N)
