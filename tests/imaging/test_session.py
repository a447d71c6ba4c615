"""suite2p on a session: split once, resumed by the basis, staged with true hashes, taken from what was published."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meso_core.errors import InputFileError, MissingInputError, ProcessingError
from meso_core.imaging import DetectedFov, SessionImaging, StagedRegistration, StagedRois, Suite2pOverrides
from meso_core.imaging.fovs.marker import read_marker, why_not_whole
from meso_core.imaging.registration.fov import why_not_registered
from meso_core.progress import silent
from meso_core.scanimage import BoutSource, load_session_metadata, local_bouts
from meso_core.simulate import preset, simulate_session
from meso_core.storage import FileRecord, hash_file
from meso_core.storage.manifests.basis import Basis

pytestmark = pytest.mark.usefixtures("without_workers")

FIRST = Basis("1", {"raw_frames": "v1"})
QUICK = Suite2pOverrides.parse({"nimg_init": 60})


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A simulated session of two FOVs, 120 frames of each, and its metadata."""
    config = preset("tiny")
    made = simulate_session(
        tmp_path_factory.mktemp("raw") / "Subjects", replace(config, rois=(config.rois[0], config.rois[2]))
    )
    return made.session_path, load_session_metadata(made.session_path).imaging


class Run:
    """A session in a folder: its work, what is staged, and what was published."""

    def __init__(self, root: Path, raw: tuple[Path, dict[str, Any]], **options: Any) -> None:
        self.root, self.opened = root, 0
        self._session = raw[0]
        self.imaging = SessionImaging(
            root / "work", raw[1], "SP035/2023-03-03/001", overrides=QUICK, **{"registration_basis": FIRST, **options}
        )

    def sources(self) -> Sequence[BoutSource]:
        self.opened += 1
        return local_bouts(self._session)

    def other(self, **changes: Any) -> Run:
        """The same folders with other options."""
        run = object.__new__(Run)
        run.__dict__.update(self.__dict__, opened=0, imaging=replace(self.imaging, **changes))
        return run

    def register(self) -> tuple[list[str], StagedRegistration]:
        fovs = self.imaging.split(self.sources, silent)
        reasons = [self.imaging.register(fov, silent).reason for fov in fovs]
        staged = self.root / "staged_registration"
        shutil.rmtree(staged, ignore_errors=True)
        return reasons, self.imaging.stage_registered(staged, list(fovs))

    def find_rois(self, registered: Sequence[FileRecord], published: Sequence[FileRecord] = ()) -> StagedRois:
        root = self.root / "published"
        hashes = {file.path: file.sha256 for file in published}
        fovs = self.imaging.begin_rois(root, registered, hashes)
        staged = self.root / "staged_rois"
        shutil.rmtree(staged, ignore_errors=True)
        found: list[DetectedFov] = [self.imaging.detect(fov, staged, silent) for fov in fovs]
        return self.imaging.stage_rois(staged, found)

    def publish(self, what: str) -> None:
        shutil.copytree(self.root / what, self.root / "published", dirs_exist_ok=True)


def true_records(folder: Path) -> set[FileRecord]:
    """Describe all files below a folder, from reading them."""
    found = set()
    for file in folder.rglob("*"):
        if file.is_file():
            content = hash_file(file)
            found.add(FileRecord(file.relative_to(folder).as_posix(), content.size, content.sha256, content.md5))
    return found


@pytest.fixture(scope="module")
def done(
    raw: tuple[Path, dict[str, Any]], without_workers: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Any, Any]:
    """Everything made and published once; tests copy it."""
    run = Run(tmp_path_factory.mktemp("done"), raw)
    _, registered = run.register()
    run.publish("staged_registration")
    rois = run.find_rois(registered.files)
    run.publish("staged_rois")
    return run, registered, rois


@pytest.fixture
def copied(done: tuple[Run, Any, Any], raw: tuple[Path, dict[str, Any]], tmp_path: Path) -> tuple[Run, Any, Any]:
    shutil.copytree(done[0].root, tmp_path / "copy")
    return Run(tmp_path / "copy", raw), done[1], done[2]


def test_the_records_of_staged_files_are_true_and_complete(done: tuple[Run, Any, Any]) -> None:
    run, registered, rois = done
    for staged, told in (("staged_registration", registered), ("staged_rois", rois)):
        assert set(told.files) == true_records(run.root / staged)
        assert len(told.files) == len(set(told.files))
    assert not {file.path for file in registered.files} & {file.path for file in rois.files}


def test_movies_are_staged_without_a_second_copy(done: tuple[Run, Any, Any]) -> None:
    run = done[0]
    for fov in range(run.imaging.n_fovs):
        name = f"plane{fov}/imaging.frames_motionRegistered.bin"
        assert (run.root / "work" / name).samefile(run.root / "staged_registration" / "suite2p" / name)


def test_where_no_links_can_be_made_movies_are_moved_and_read_where_they_were_published(
    copied: tuple[Run, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, registered, rois = copied
    staged, published = run.root / "staged_registration", run.root / "published"
    for left in (staged, published, run.root / "staged_rois"):
        shutil.rmtree(left)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "link", refuse)
    fovs = list(range(run.imaging.n_fovs))
    movies = [f"plane{fov}/imaging.frames_motionRegistered.bin" for fov in fovs]

    def where() -> list[str]:
        return sorted(p.relative_to(run.root).as_posix() for p in run.root.rglob("*Registered.bin"))

    for _ in range(2):  # a run is killed once the movies are staged, and another one begins
        run.imaging.take_back(staged)
        shutil.rmtree(staged, ignore_errors=True)
        assert where() == [f"work/{movie}" for movie in movies]
        assert run.imaging.split(run.sources, silent) == tuple(fovs)
        assert [run.imaging.register(fov, silent).reason for fov in fovs] == [""] * len(fovs)
        assert run.imaging.stage_registered(staged, fovs, published).files == registered.files
        assert where() == [f"staged_registration/suite2p/{movie}" for movie in movies]
        assert [run.imaging.register(fov, silent).reason for fov in fovs] == [""] * len(fovs)
    shutil.move(staged, published)
    assert run.imaging.split(run.sources, silent) == tuple(fovs)
    assert run.opened == 0
    found = run.find_rois(registered.files)
    assert found.files == rois.files
    assert where() == [f"published/suite2p/{movie}" for movie in movies]

    shutil.rmtree(run.root / "work")  # nor is one copied into a new work folder
    assert run.find_rois(registered.files).files == rois.files
    assert where() == [f"published/suite2p/{movie}" for movie in movies]


def test_another_movie_at_the_published_place_does_not_pass_for_the_one_that_was_moved(
    copied: tuple[Run, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, fovs = copied[0], list(range(copied[0].imaging.n_fovs))
    monkeypatch.setattr("meso_core.imaging.fovs.marker._HASHED_UP_TO_BYTES", 0)  # as if the movies were large
    monkeypatch.setattr("meso_core.imaging.staging.link_file", lambda *_: False)
    run.imaging.stage_registered(run.root / "staged", fovs, run.root / "published")
    movie = run.root / "staged" / "suite2p" / "plane0" / "imaging.frames_motionRegistered.bin"
    other = bytearray(movie.read_bytes())
    other[0] ^= 1
    shutil.rmtree(run.root / "staged")
    place = run.root / "published" / "suite2p" / "plane0" / movie.name
    place.unlink()
    place.write_bytes(other)
    assert (
        why_not_whole(run.root / "work" / "plane0", "registration", read_basis(run))
        == f"{movie.name} missing or changed since"
    )


def read_basis(run: Run) -> Basis:
    marker = read_marker(run.root / "work" / "plane0", "registration")
    assert marker is not None
    return marker.basis


def test_an_unchanged_session_reads_no_page_and_gives_the_same_records(copied: tuple[Run, Any, Any]) -> None:
    run, registered, rois = copied
    reasons, again = run.register()
    assert (run.opened, reasons) == (0, [""] * run.imaging.n_fovs)
    assert again.files == registered.files
    assert all(one.resumed for one in again.fovs.values())
    found = run.find_rois(again.files, rois.files)
    assert all(one.resumed for one in found.fovs.values())
    assert found.files == rois.files


def test_what_differs_in_the_basis_is_the_reason_to_register_again(copied: tuple[Run, Any, Any]) -> None:
    run, registered, _ = copied
    movie = run.root / "work" / "plane0" / "imaging.frames_motionRegistered.bin"
    before = movie.stat().st_ino
    raised = run.other(registration_basis=replace(FIRST, code_version="2"))
    reasons, again = raised.register()
    assert raised.opened == 1
    assert set(reasons) == {"code version 1 → 2"}
    assert movie.stat().st_ino != before
    assert again.files == registered.files, "the same input and settings, the same bytes"
    assert why_not_registered(run.imaging.job(0, "registration")) == "code version 2 → 1"


def test_a_field_that_was_made_when_whole_assets_counted_holds_by_its_own_part(copied: tuple[Run, Any, Any]) -> None:
    run, registered, rois = copied
    for marker in (run.root / "work").glob("plane*/.*-whole"):
        content = json.loads(marker.read_text())
        basis = Basis.from_record(content["basis"])
        older = replace(basis, inputs={**basis.inputs, "frame_qc": "v1"})
        marker.write_text(json.dumps({**content, "basis": older.as_record(), "basis_digest": older.digest}))
    reasons, again = run.register()
    assert reasons == [""] * run.imaging.n_fovs
    assert all(one.resumed for one in run.find_rois(again.files, rois.files).fovs.values())
    changed = run.other(registration_basis=replace(FIRST, inputs={"raw_frames": "v2"}))
    assert changed.register()[0] == ["raw_frames has changed (v1 → v2)"] * run.imaging.n_fovs
    assert again.files == registered.files


def test_only_other_pages_are_split_again(raw: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    run = Run(tmp_path, raw)
    run.imaging.split(run.sources, silent)
    assert run.opened == 1
    for other, opened in (
        ({}, 0),
        ({"overrides": QUICK | Suite2pOverrides.parse({"maxregshift": 0.1})}, 0),
        ({"registration_basis": replace(FIRST, settings={"registration.maxregshift": 0.1})}, 0),
        ({"registration_basis": replace(FIRST, inputs={"raw_frames": "v2"})}, 1),
    ):
        changed = run.other(**other)
        changed.imaging.split(changed.sources, silent)
        assert changed.opened == opened, other


def test_no_raw_movie_is_left_of_a_fov_that_was_whole_when_another_was_split(copied: tuple[Run, Any, Any]) -> None:
    run = copied[0]
    (run.root / "work" / "plane1" / ".registration-whole").unlink()
    reasons, _ = run.register()
    assert reasons == ["", "not made yet"]
    assert not list((run.root / "work").rglob("data_raw.bin"))


def test_a_session_that_changes_while_it_is_registered_is_not_published(copied: tuple[Run, Any, Any]) -> None:
    later = copied[0].other(registration_basis=replace(FIRST, inputs={"raw_frames": "v2"}))
    with pytest.raises(ProcessingError, match=r"FOV_00, FOV_01 \(raw_frames has changed"):
        later.imaging.stage_registered(later.root / "late", [0, 1])
    assert not (later.root / "late").exists()


def test_rois_are_found_in_the_published_movies_where_the_work_folder_is_gone(copied: tuple[Run, Any, Any]) -> None:
    run, registered, rois = copied
    shutil.rmtree(run.root / "work")
    found = run.find_rois(registered.files, rois.files)
    assert not any(one.resumed for one in found.fovs.values())
    assert found.files == rois.files, "the same bytes, the zips too"
    told = why_not_registered(run.imaging.job(0, "registration"))
    assert told, "what the published files were made from is not known here"
    assert "raw_frames: its version was not recorded" in told


def test_rois_are_found_in_what_was_published_and_not_in_later_work(copied: tuple[Run, Any, Any]) -> None:
    run, registered, rois = copied
    other = run.other(overrides=QUICK | Suite2pOverrides.parse({"nonrigid": False}))
    other.imaging.split(other.sources, silent)
    other.imaging.register(0, silent)
    name = "plane0/imaging.frames_motionRegistered.bin"
    published = hash_file(run.root / "published" / "suite2p" / name)
    assert hash_file(run.root / "work" / name) != published
    assert run.find_rois(registered.files, rois.files).files == rois.files
    assert hash_file(run.root / "work" / name) == published


def test_a_published_movie_that_was_changed_or_was_never_there_is_named(copied: tuple[Run, Any, Any]) -> None:
    run, registered, _ = copied
    shutil.rmtree(run.root / "work")
    with pytest.raises(MissingInputError, match=r"plane1/imaging\.frames_motionRegistered\.bin.*FOV_01"):
        run.find_rois([file for file in registered.files if "plane1" not in file.path])
    outputs = run.root / "published" / "suite2p" / "plane1" / "reg_outputs.npy"
    outputs.write_bytes(outputs.read_bytes()[:-1] + b"x")
    with pytest.raises(InputFileError, match=r"plane1/reg_outputs\.npy.*Register"):
        run.find_rois(registered.files)


def test_a_classification_that_is_far_too_large_is_named_before_it_is_read(
    copied: tuple[Run, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, registered, rois = copied
    monkeypatch.setattr("meso_core.imaging.published.hash_file", lambda path: pytest.fail(f"{path} was read"))
    os.truncate(run.root / "published" / "suite2p" / "plane0" / "iscell.npy", 60 << 30)
    with pytest.raises(InputFileError, match=r"plane0/iscell\.npy: expected at most .* bytes"):
        run.find_rois(registered.files, rois.files)


@pytest.mark.parametrize("work", ["kept", "gone"])
def test_a_persons_curation_of_the_published_files_is_taken_back(copied: tuple[Run, Any, Any], work: str) -> None:
    run, registered, rois = copied
    path = run.root / "published" / "suite2p" / "plane0" / "iscell.npy"
    iscell = np.load(path)
    iscell[:, 0] = 1 - iscell[:, 0]
    np.save(path, iscell)
    if work == "gone":
        shutil.rmtree(run.root / "work")
        with pytest.raises(ProcessingError, match="edited by hand"):
            run.find_rois(registered.files, rois.files)
        return
    found = run.find_rois(registered.files, rois.files)
    assert [one.curated for one in found.fovs.values()] == [True] + [False] * (run.imaging.n_fovs - 1)
    staged = run.root / "staged_rois"
    np.testing.assert_array_equal(np.load(staged / "suite2p" / "plane0" / "iscell.npy"), iscell)
    np.testing.assert_array_equal(np.load(staged / "alf" / "FOV_00" / "mpciROIs.mpciROITypes.npy"), iscell[:, 0])
    assert set(found.files) == true_records(staged)


def test_options_of_detection_and_its_basis_repeat_detection_alone(copied: tuple[Run, Any, Any]) -> None:
    run, registered, _ = copied
    options, code = Suite2pOverrides.parse({"max_overlap": 0.5}), Basis("2")
    for fov, change in enumerate(({"detection_basis": code}, {"overrides": QUICK | options})):
        other = run.other(**change)
        assert other.register()[0] == [""] * run.imaging.n_fovs
        other.imaging.begin_rois(run.root / "published", registered.files, {})
        results = [other.imaging.detect(fov, run.root / "again", silent).result for _ in range(2)]
        assert [result.resumed for result in results] == [False, True]


def test_marks_of_a_session_name_the_declared_basis(done: tuple[Run, Any, Any]) -> None:
    marker = read_marker(done[0].root / "work" / "plane0", "registration")
    assert marker is not None
    assert (marker.basis.code_version, marker.basis.inputs) == ("1", {"raw_frames": "v1"})
    assert marker.basis.settings["fov"]["registration"]["nimg_init"] == 60
