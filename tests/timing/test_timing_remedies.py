"""Each error of the room, met as a person meets it: what its remedy says leads to a result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from mat73_files import save_mat73
from scipy.io import savemat
from timing_rig import imaging_meta, write_session

from meso_core.errors import MesoError
from meso_core.scanimage import load_session_metadata
from meso_core.timing import bouts as bouts_module
from meso_core.timing import consolidate_frame_qc, extract_frame_times, get_bout_edges, mat73, mat_files
from meso_core.timing.bouts import load_software_events
from meso_core.timing.timeline import META_FILE, RAW_FILE, TIMESTAMPS_FILE

pytestmark = pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning")

DAQ, EVENTS = "raw_sync_data", bouts_module.EVENTS_FILE
FIRST, SECOND = "raw_imaging_data_00", "raw_imaging_data_01"
N = 40


@dataclass(frozen=True)
class Case:
    """What is wrong with a session of two bouts, what the message says to do, and doing it."""

    spoil: Callable
    says: str
    follow: Callable
    #: Arguments with which it is tried again.
    again: dict = None
    #: Frames that each FOV has in the end.
    n_frames: int = 2 * N
    read: Callable = lambda session, **again: extract_frame_times(session, **again).times[0].size


def copied(name):
    """The rig still has the file: copy it again."""
    return lambda session: shutil.copyfile(session.with_name("rig") / DAQ / name, session / DAQ / name)


def cut(name):
    def spoil(session):
        file = session / DAQ / name
        file.write_bytes(file.read_bytes()[:-9])

    return spoil


def with_array(name, change):
    def spoil(session):
        np.save(session / DAQ / name, change(np.load(session / DAQ / name)))

    return spoil


def with_meta(change):
    def spoil(session):
        file = session / DAQ / META_FILE
        meta = json.loads(file.read_text())
        change(meta)
        file.write_text(json.dumps(meta))

    return spoil


def the_input(meta, name="neural_frames"):
    return next(entry for entry in meta["inputs"] if entry["name"] == name)


def nan_in(values):
    values = values.astype(float)
    values[1000] = np.nan
    return values


def own_session(*bouts):
    """Move bouts to a session of their own."""

    def follow(session):
        other = session.with_name("002")
        for bout in bouts:
            shutil.move(session / bout, other / bout)

    return follow


def fewer_pulses(session):
    """The DAQ started while the first bout was going on."""
    raw = np.load(session / DAQ / RAW_FILE)
    late = slice(2000, None)
    np.save(session / DAQ / RAW_FILE, raw[late])
    np.save(session / DAQ / TIMESTAMPS_FILE, np.load(session / DAQ / TIMESTAMPS_FILE)[late])


def daq_off_in_first(session):
    raw, stamps = np.load(session / DAQ / RAW_FILE), np.load(session / DAQ / TIMESTAMPS_FILE)
    np.save(session / DAQ / RAW_FILE, raw[6000:])
    np.save(session / DAQ / TIMESTAMPS_FILE, stamps[6000:])


def other_fovs(session):
    file = session / SECOND / "_ibl_rawImagingData.meta.json"
    file.write_text(json.dumps({**imaging_meta(n_lines=20), "nFrames": N}))


def frame_qc(session, **_):
    return consolidate_frame_qc([session / FIRST, session / SECOND], [N, N]).values.size


def rated(name, content, says, follow):
    name = name.replace("_", ".")
    return Case(lambda s: savemat(s / FIRST / name, content), says, lambda s: follow(s / FIRST / name), read=frame_qc)


def cut_mat(session):
    file = session / FIRST / "badframes.mat"
    savemat(file, {"badframes": np.arange(9.0)})
    file.write_bytes(file.read_bytes()[:-8])


def nothing(_):
    """The remedy is a setting."""


def removed(file):
    file.unlink()


def savemat_packed(file, content):
    savemat(file, content, do_compression=True)


def named(meta, name="scope"):
    the_input(meta)["name"] = name


def analog(meta):
    the_input(meta)["measurement"] = "Voltage"
    meta["inputs"].append({**the_input(meta), "name": "scope_counter", "measurement": "EdgeCount"})


def pulses_elsewhere(session):
    raw = np.load(session / DAQ / RAW_FILE)
    np.save(session / DAQ / RAW_FILE, np.column_stack([raw, raw[:, 1]]))
    raw = np.load(session / DAQ / RAW_FILE)
    raw[:, 1] = 0
    np.save(session / DAQ / RAW_FILE, raw)
    with_meta(lambda meta: meta["inputs"].append({**the_input(meta), "name": "scope", "arrayColumn": raw.shape[1]}))(
        session
    )


CASES = {
    "no file": Case(lambda s: (s / DAQ / RAW_FILE).unlink(), "Copy the DAQ's files from the rig", copied(RAW_FILE)),
    "raw cut": Case(cut(RAW_FILE), "Copy the file again", copied(RAW_FILE)),
    "times cut": Case(cut(TIMESTAMPS_FILE), "Copy the file again", copied(TIMESTAMPS_FILE)),
    "metadata cut": Case(cut(META_FILE), "Copy the file again", copied(META_FILE)),
    "raw flat": Case(
        with_array(RAW_FILE, np.ravel),
        "one row per sample and one column",
        with_array(RAW_FILE, lambda v: v.reshape(-1, 3)),
    ),
    "raw on its side": Case(
        with_array(RAW_FILE, np.transpose), "one row per sample and one column", with_array(RAW_FILE, np.transpose)
    ),
    "raw of words": Case(with_array(RAW_FILE, lambda v: v.astype("U4")), "Convert the recording", copied(RAW_FILE)),
    "times of another recording": Case(
        with_array(TIMESTAMPS_FILE, lambda v: v[5:]), "of one recording together", copied(TIMESTAMPS_FILE)
    ),
    "no time": Case(with_array(TIMESTAMPS_FILE, lambda v: v * np.nan), "Copy the file again", copied(TIMESTAMPS_FILE)),
    "times that go back": Case(
        with_array(TIMESTAMPS_FILE, lambda v: v[::-1]), "Copy the file again", copied(TIMESTAMPS_FILE)
    ),
    "no count": Case(with_array(RAW_FILE, nan_in), "Copy the file again", copied(RAW_FILE)),
    "no inputs": Case(with_meta(lambda meta: meta.pop("inputs")), "Correct the field", copied(META_FILE)),
    "no column": Case(
        with_meta(lambda meta: the_input(meta).pop("arrayColumn")),
        "Correct the field",
        with_meta(lambda meta: the_input_without_column(meta).update(arrayColumn=2)),
    ),
    "column too high": Case(
        with_meta(lambda meta: the_input(meta).update(arrayColumn=99)),
        "Correct the field",
        with_meta(lambda meta: the_input(meta).update(arrayColumn=2)),
    ),
    "another name": Case(with_meta(named), "set MESO_FRAME_CHANNEL", nothing, {"frame_channel": "scope"}),
    "no counter": Case(with_meta(analog), "Set MESO_FRAME_CHANNEL", nothing, {"frame_channel": "scope_counter"}),
    "no pulses": Case(pulses_elsewhere, "Set MESO_FRAME_CHANNEL", nothing, {"frame_channel": "scope"}),
    "late start": Case(fewer_pulses, "a session of its own", own_session(FIRST), n_frames=N),
    "off in a bout": Case(daq_off_in_first, "a session of its own too", own_session(FIRST), n_frames=N),
    "a folder of another session": Case(
        lambda s: shutil.copytree(s / FIRST, s / "raw_imaging_data_02"),
        "Move the folder of another session",
        own_session("raw_imaging_data_02"),
    ),
    "other fields of view": Case(other_fovs, "as separate sessions", own_session(SECOND), n_frames=N),
    "events cut": Case(
        lambda s: (s / DAQ / EVENTS).write_text("time\tname\n1\tx\n"),
        "move it away",
        lambda s: (s / DAQ / EVENTS).unlink(),
    ),
    **{
        f"events with {what}": Case(
            lambda s, content=content: (s / DAQ / EVENTS).write_bytes(content),
            "move it away",
            lambda s: (s / DAQ / EVENTS).unlink(),
        )
        for what, content in (
            ("bytes that are no text", b"time\tname\tinfo\n1\t\xff\tx\n"),
            ("a time that is none", b"time\tname\tinfo\nnow\tx\tx\n"),
            ("half a row", b"time\tname\tinfo\n1\n"),
        )
    },
    "two clocks of one name": Case(
        with_meta(
            lambda meta: (
                named(meta, "NeuralFrames"),
                meta["inputs"].append({**the_input(meta, "NeuralFrames"), "name": "neural frames"}),
            )
        ),
        "set MESO_FRAME_CHANNEL",
        nothing,
        {"frame_channel": "NeuralFrames"},
    ),
    "times too coarse": Case(
        with_array(TIMESTAMPS_FILE, lambda v: (v + 1e5).astype(np.float32)),
        "Copy the file again",
        copied(TIMESTAMPS_FILE),
    ),
    "no bout": Case(
        own_session(FIRST, SECOND), "Copy the", lambda s: shutil.move(s.with_name("002") / FIRST, s / FIRST), n_frames=N
    ),
    "ratings of other frames": rated(
        "exptQC_mat", {"frameQC_frames": np.zeros(3), "frameQC_names": "ok"}, "move the file away", removed
    ),
    "a frame that is none": rated("badframes_mat", {"badframes": [99.0]}, "move the file away", removed),
    "a variable that is none": rated(
        "badframes_mat", {"bad": [1.0]}, "Save it under this name", lambda f: savemat(f, {"badframes": [1.0]})
    ),
    "fractions": rated(
        "badframes_mat", {"badframes": [1.5]}, "vector of whole numbers", lambda f: savemat(f, {"badframes": [1.0]})
    ),
    "logical values of other frames": rated(
        "badframes_mat", {"badframes": np.ones((1, 3), bool)}, "move the file away", removed
    ),
    "text for numbers": rated(
        "badframes_mat", {"badframes": "none"}, "vector of whole numbers", lambda f: savemat(f, {"badframes": [1.0]})
    ),
    "two structs of bad frames": rated(
        "badframes_mat",
        {"a": {"badframes": [1.0]}, "b": {"badframes": [2.0]}},
        "Keep one of them",
        lambda f: savemat(f, {"a": {"badframes": [1.0]}}),
    ),
    "names that are numbers": rated(
        "exptQC_mat",
        {"frameQC_frames": np.zeros(N), "frameQC_names": np.arange(3.0)},
        "In MATLAB, set frameQC_names = {'name of 0', 'name of 1', …}",
        lambda f: savemat(f, {"frameQC_frames": np.zeros(N), "frameQC_names": "ok"}),
    ),
    "no file of MATLAB": Case(
        lambda s: (s / FIRST / "badframes.mat").write_bytes(b"no file of MATLAB" * 99),
        "move it away",
        lambda s: (s / FIRST / "badframes.mat").unlink(),
        read=frame_qc,
    ),
    "ratings cut": Case(cut_mat, "move it away", lambda s: (s / FIRST / "badframes.mat").unlink(), read=frame_qc),
    "no folder": Case(
        own_session(FIRST), "Copy the bout", lambda s: shutil.move(s.with_name("002") / FIRST, s / FIRST), read=frame_qc
    ),
}


def the_input_without_column(meta):
    return next(entry for entry in meta["inputs"] if "arrayColumn" not in entry)


@pytest.mark.parametrize("name", CASES)
def test_following_the_remedy_leads_to_a_result(tmp_path, name):
    case = CASES[name]
    session, _ = write_session(tmp_path, n_frames=(N, N))
    shutil.copytree(session, session.with_name("rig"))
    case.spoil(session)
    with pytest.raises(MesoError) as caught:
        case.read(session)
    assert case.says in str(caught.value)
    case.follow(session)
    assert case.read(session, **(case.again or {})) == case.n_frames


@pytest.mark.parametrize(
    ("module", "limit", "save"),
    [(mat_files, "RECORD_BYTES", savemat_packed), (mat73, "_MOST_VALUES", lambda f, v: save_mat73(f, **v))],
)
def test_a_file_of_matlab_that_unpacks_to_too_much_is_moved_away(tmp_path, monkeypatch, module, limit, save):
    session, _ = write_session(tmp_path, n_frames=(N, N))
    file = session / FIRST / "badframes.mat"
    save(file, {"badframes": np.zeros((1, 5000))})
    monkeypatch.setattr(module, limit, 1000)
    with pytest.raises(MesoError, match="or move it away: then no frame of this bout is rated"):
        frame_qc(session)
    file.unlink()
    assert frame_qc(session) == 2 * N


def test_arguments_that_are_none_are_replaced_as_the_message_says(tmp_path):
    session, pulses = write_session(tmp_path, n_frames=(N, N), events=[])
    with pytest.raises(MesoError, match="Give one number per bout"):
        consolidate_frame_qc([session / FIRST, session / SECOND], [N])
    assert frame_qc(session) == 2 * N
    times = np.concatenate(pulses)
    with pytest.raises(MesoError, match="Read them with load_software_events, or leave them out"):
        get_bout_edges(times, (FIRST, SECOND), [("ExpStart", 1.0)])
    for events in (load_software_events(session / DAQ), ()):
        assert get_bout_edges(times, (FIRST, SECOND), events).shape == (2, 2)
    with pytest.raises(MesoError, match="Copy the folders raw_imaging_data_NN from the rig"):
        extract_frame_times(session, bouts=[])
    assert extract_frame_times(session).times[0].size == 2 * N


def test_bouts_of_other_fields_that_were_read_one_by_one_are_split_as_the_message_says(tmp_path):
    session, _ = write_session(tmp_path, n_frames=(N, N))
    first, _ = load_session_metadata(session).bouts
    other_fovs(session)
    shutil.copytree(session, later := session.with_name("002"))
    shutil.rmtree(later / FIRST)
    (second,) = load_session_metadata(later).bouts
    with pytest.raises(MesoError, match="the later bouts and a copy of the DAQ's folder are a session of their own"):
        extract_frame_times(session, bouts=[first, second])
    assert extract_frame_times(session, bouts=[first]).times[0].size == N
    assert extract_frame_times(later).times[0].size == N


def test_no_remedy_of_the_room_is_a_check_that_leads_nowhere():
    texts = " ".join(path.read_text() for path in Path(bouts_module.__file__).parent.glob("*.py"))
    for dead_end in ("Check whether", "Check that", "Check the"):
        assert dead_end not in texts
