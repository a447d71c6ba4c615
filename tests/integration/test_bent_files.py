"""Each raw file in each way in which it can be wrong: the same result, a named error, or a verdict or warning.

``make nightly`` runs all cases and prints a table of what came of them; the usual run a few of each kind.
"""

import os
import resource
import shutil
from collections import Counter
from dataclasses import replace

import pytest

from meso_core.simulate import preset, simulate_session
from tests.integration import bends

SESSION = "SP035/2023-03-03/001"
#: What may give another result without a word, and why no reader can tell.
MAY_DIFFER = {
    "bit flipped": "a bit of a pixel, of a count or of a value: it is another valid one",
    "snapshots/": "pictures and captions are handed on as they are",
    "times_scanImage.npy: as f2": "the microscope's times are compared with the DAQ's; no result is made of them",
    "times_scanImage.npy: as f4": "as above",
    "times_scanImage.npy: coarse": "as above",
    "times_scanImage.npy: of": "as above",
    "timestamps.npy: as f4": "in a short recording rounding moves a time by less than a tenth of a sample",
    "DAQdata.raw.npy: of another session": "as many pulses, as far apart",
    "meta.json: nothing": "made from the headers, as where a rig delivers none",
    "badframes.mat: nothing": "none are bad",
    "badframes.mat: of": "frame numbers that exist here too",
    "exptQC.mat: of": "as many ratings as here",
    "raw_session.flag": "it is there, whatever it holds",
}


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return simulate_session(tmp_path_factory.mktemp("good"), preset("tiny")).session_path


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Session of somebody else, another day."""
    config = replace(preset("tiny"), seed=77, subject="SP999", date="2022-02-02")
    return simulate_session(tmp_path_factory.mktemp("other"), config).session_path


@pytest.fixture(scope="module")
def undisturbed(session, tmp_path_factory):
    found = bends.process(session, tmp_path_factory.mktemp("out"))
    assert found.doubts == ()
    assert bends.process(session, tmp_path_factory.mktemp("again")) == found, "the same twice"
    return found


@pytest.fixture
def try_case(session, other, undisturbed, others_folder, another_user):
    """Function that bends a copy of the session and says what came of it; without rights, as somebody else."""

    def run(case):
        folder = others_folder / "Subjects"
        bent = shutil.copytree(session, folder / SESSION)
        out = others_folder / "out"
        try:
            bends.bend(bent, case, other)
            if case.bend == "no rights":
                out.mkdir(mode=0o777)
                out.chmod(0o777)
                with another_user():
                    return bends.outcome(bent, out, undisturbed)
            return bends.outcome(bent, out, undisturbed)
        finally:
            shutil.rmtree(folder)
            shutil.rmtree(out, ignore_errors=True)

    return run


def is_accepted(case, word):
    may_differ = word == "other result" and any(kind in case.id for kind in MAY_DIFFER)
    return word in ("same result", "named error", "doubt") or may_differ


def test_a_few_of_all_cases_end_well(session, try_case, tried):
    cases = bends.cases_of(session)
    by_bend = {case.bend: case for case in cases[::-1]}
    some = [*list(by_bend.values())[::6], *cases[:: len(cases) // 6]]
    bad = {case.id: found for case in some if not is_accepted(case, (found := try_case(case))[0])}
    tried("bad inputs: a few of all", len(some))
    assert bad == {}


@pytest.mark.parametrize(
    ("file", "bend", "word", "told"),
    [
        ("raw_sync_data/_timeline_DAQdata.timestamps.npy", "as f2", "named error", "which tells"),
        ("raw_sync_data/_timeline_DAQdata.timestamps.npy", "coarse in a fine type", "doubt", "daq_samples_are_regular"),
        ("raw_imaging_data_01/2023-03-03_2_SP035_2P_00001_00001.tif", "of another session", "doubt", "of another bout"),
        ("raw_imaging_data_00/badframes.mat", "link to nothing", "named error", "where there is none"),
        ("raw_imaging_data_01/exptQC.mat", "link to nothing", "named error", "where there is none"),
        ("raw_imaging_data_00/exptQC.mat", "pipe", "named error", "a pipe"),
        ("raw_sync_data/_timeline_softwareEvents.log.htsv", "pipe", "named error", "a pipe"),
        ("raw_sync_data/_timeline_softwareEvents.log.htsv", "folder", "named error", "a folder"),
        ("raw_imaging_data_00/_ibl_rawImagingData.meta.json", "pipe", "named error", "a pipe"),
        ("raw_imaging_data_00/_ibl_rawImagingData.meta.json", "sparse", "named error", "bytes"),
        (
            "raw_imaging_data_00/reference/2023-03-03_1_SP035_ref_00001_00001.tif",
            "of the other bout",
            "doubt",
            "another",
        ),
        (
            "raw_imaging_data_01/reference/2023-03-03_2_SP035_ref_00001_00001.tif",
            "of the other bout",
            "doubt",
            "another",
        ),
        (
            "raw_imaging_data_00/reference/2023-03-03_1_SP035_ref_00001_00001.tif",
            "of another session",
            "doubt",
            "another",
        ),
        ("_ibl_experiment.description.yaml", "no such date", "named error", "YAML"),
    ],
)
def test_what_was_once_silent_or_without_end_is_told(file, bend, word, told, try_case):
    found = try_case(bends.Case(file, bend))
    assert found[0] == word, found
    assert told in found[1]


@pytest.mark.nightly
def test_every_case_ends_well_within_memory(session, try_case, capsys, tried):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cases, words, bad = bends.cases_of(session), Counter(), {}
    for case in cases:
        word, told = try_case(case)
        words[word] += 1
        tried(f"bad inputs: {word}", failures=[] if is_accepted(case, word) else [f"{case.id}: {told}"])
        if not is_accepted(case, word):
            bad[case.id] = f"{word}: {told}"
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    with capsys.disabled():
        print(f"\n{len(cases)} bent files, as user {os.geteuid()}, memory + {grown_mb:.0f} MB")
        print("".join(f"  {word:<14} {n:>5}\n" for word, n in words.most_common()))
    assert bad == {}
    assert len(cases) >= 679
    assert grown_mb < 1500
