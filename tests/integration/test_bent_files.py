"""Each raw file in each way in which it can be wrong: the same result, a named error, or a verdict or warning.

``make nightly`` runs all cases and prints a table of what came of them; the usual run a few of each kind.
"""

import os
import re
import resource
import shutil
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest

from meso_core.scanimage import bin_per_plane, load_session_metadata
from meso_core.scanimage.metadata.bouts import local_bouts
from meso_core.session import SessionKey
from meso_core.simulate import preset, simulate_session
from meso_core.timing import find_frame_times
from tests.integration import bends

SESSION = "SP035/2023-03-03/001"


@dataclass(frozen=True)
class MayDiffer:
    """What may give another result without a word."""

    #: Regular expressions of the file and of how it is bent.
    file: str
    bend: str
    #: Parts of the results that may differ; all others must be the same.
    parts: frozenset[str]
    #: Why nobody can tell, from these files alone.
    why: str

    def covers(self, case, changed):
        named = re.fullmatch(self.file, case.file) and re.fullmatch(self.bend, case.bend)
        return bool(named) and set(changed.split(", ")) <= self.parts


_BOUT, _OTHER = r"raw_imaging_data_\d\d", "of (the other bout|another session)"
MAY_DIFFER = tuple(
    MayDiffer(file, bend, frozenset(parts.split(", ")), why)
    for file, bend, parts, why in [
        (
            *(rf"{_BOUT}/[^/]+_2P_\d+_\d+\.tif", "bit flipped.*", "archives, movies"),
            "a tif has no check sums: one bit of one pixel is another, as a test below counts",
        ),
        (
            *(rf"{_BOUT}/reference/[^/]+\.tif", "bit flipped.*", "reference images"),
            "the same; a byte of the file that is no pixel is part of its published copy",
        ),
        (
            *(rf"{_BOUT}/_ibl_rawImagingData\.meta\.json", "nothing", "metadata"),
            "a rig need not deliver it: the headers of the tifs tell all that times, movies and ratings are made with",
        ),
        (
            *(rf"{_BOUT}/badframes\.mat", "nothing in it", "ratings"),
            "in an empty one, none is marked; that there is none is told where frames are flagged",
        ),
        (
            *(r"raw_sync_data/_timeline_DAQdata\.timestamps\.npy", "as f4", "times"),
            "it resolves a tenth of a sample for 2 s at 1 kHz and more: a test below bounds by how much times move",
        ),
        (
            *(r"raw_sync_data/_timeline_DAQdata\.raw\.npy", _OTHER, "times"),
            "it holds counts of edges alone; this other session has as many frames, as far apart",
        ),
        (
            r"snapshots/[^/]+\.png",
            f"nothing|{_OTHER}",
            "snapshots",
            "a picture tells no session; without one none is sent",
        ),
        (r"snapshots/[^/]+\.txt", ".*", "snapshots", "a caption is what somebody typed: any text is one"),
        (
            *(r"raw_session\.flag", ".*", "readiness"),
            "the flag says that the copy has ended, and holds nothing: where it cannot be seen, the session waits",
        ),
    ]
)


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


def is_accepted(case, word, told):
    may_differ = word == "other result" and any(may.covers(case, told) for may in MAY_DIFFER)
    return word in ("same result", "named error", "doubt") or may_differ


@pytest.mark.sample
def test_a_few_of_all_cases_end_well(session, try_case, tried):
    cases = bends.cases_of(session)
    by_bend = {case.bend: case for case in cases[::-1]}
    some = [*list(by_bend.values())[::6], *cases[:: len(cases) // 6]]
    bad = {case.id: found for case in some if not is_accepted(case, *(found := try_case(case)))}
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
        ("raw_imaging_data_00/exptQC.mat", "link to itself", "named error", "where there is none"),
        ("raw_session.flag", "link to itself", "other result", "readiness"),
        ("snapshots/mean_image_FOV_00.png", "cut to 75%", "named error", "cut short"),
        ("raw_imaging_data_00/exptQC.mat", "pipe", "named error", "a pipe"),
        ("raw_sync_data/_timeline_softwareEvents.log.htsv", "pipe", "named error", "a pipe"),
        ("raw_sync_data/_timeline_softwareEvents.log.htsv", "folder", "named error", "a folder"),
        ("raw_imaging_data_00/_ibl_rawImagingData.meta.json", "pipe", "named error", "a pipe"),
        ("raw_imaging_data_00/_ibl_rawImagingData.meta.json", "sparse", "named error", "bytes"),
        ("raw_imaging_data_00/2023-03-03_1_SP035_2P_00001_00002.tif", "sparse", "named error", "never written"),
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


def movies_of(session, out):
    metadata = load_session_metadata(session)
    return [np.fromfile(movie.path, np.int16) for movie in bin_per_plane(local_bouts(session), metadata.imaging, out)]


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_of_a_tif_that_nobody_can_tell_is_one_bit_of_one_pixel(session, try_case, tmp_path, seed):
    bent = shutil.copytree(session, tmp_path / SESSION)
    case = bends.Case("raw_imaging_data_00/2023-03-03_1_SP035_2P_00001_00002.tif", f"bit flipped {seed}")
    bends.bend(bent, case, session)
    assert try_case(case) == ("other result", "archives, movies")
    before, after = movies_of(session, tmp_path / "before"), movies_of(bent, tmp_path / "after")
    changed = np.concatenate([(a ^ b)[a != b].view(np.uint16) for a, b in zip(before, after, strict=True)])
    assert len(changed) == 1
    assert changed[0].item().bit_count() == 1


def test_timestamps_of_single_precision_move_a_time_by_less_than_a_tenth_of_a_sample(session, tmp_path):
    bent = shutil.copytree(session, tmp_path / SESSION)
    bends.bend(bent, bends.Case("raw_sync_data/_timeline_DAQdata.timestamps.npy", "as f4"), session)
    metadata = load_session_metadata(session)
    fine, coarse = (
        find_frame_times(path / "raw_sync_data", metadata, session=SessionKey.parse(SESSION)).datasets()
        for path in (session, bent)
    )
    moved = [np.abs(fine[fov]["mpci.times"] - coarse[fov]["mpci.times"]).max() for fov in fine]
    samples = np.load(session / "raw_sync_data" / "_timeline_DAQdata.timestamps.npy").reshape(-1)
    assert 0 < max(moved) < 0.1 * np.median(np.diff(samples))


#: The sweep in parts that run side by side: files whose paths begin so.
GROUPS = ("raw_imaging_data_00", "raw_imaging_data_01", "raw_sync_data", "snapshots", "raw_session.flag", "_ibl")


def test_all_cases_are_in_the_groups_once(session):
    cases = bends.cases_of(session)
    assert len(cases) >= 679
    assert all(sum(case.file.startswith(group) for group in GROUPS) == 1 for case in cases)


@pytest.mark.nightly
@pytest.mark.parametrize("group", GROUPS)
def test_every_case_ends_well_within_memory(session, try_case, group, capsys, tried):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cases = [case for case in bends.cases_of(session) if case.file.startswith(group)]
    words, bad, needed = Counter(), {}, set()
    for case in cases:
        word, told = try_case(case)
        words[word] += 1
        accepted = is_accepted(case, word, told)
        tried(f"bad inputs: {word}", failures=[] if accepted else [f"{case.id}: {word}: {told}"])
        if not accepted:
            bad[case.id] = f"{word}: {told}"
        needed |= {may for may in MAY_DIFFER if word == "other result" and may.covers(case, told)}
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    with capsys.disabled():
        print(f"\n{len(cases)} bent files of {group}, as user {os.geteuid()}, memory + {grown_mb:.0f} MB")
        print("".join(f"  {word:<14} {n:>5}\n" for word, n in words.most_common()))
    assert bad == {}
    assert grown_mb < 1500
    here = {may for may in MAY_DIFFER if any(re.fullmatch(may.file, case.file) for case in cases)}
    assert needed == here, "what need not differ must not"
