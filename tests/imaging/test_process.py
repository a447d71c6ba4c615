"""FOVs through workers: results, resume, what a kill leaves, what bad input gets."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meso_core.errors import InputFileError, MissingInputError, ProcessingError, StorageError, WorkStoppedError
from meso_core.imaging import (
    FovJob,
    Suite2pOverrides,
    fov_jobs,
    image_motion_registration,
    process_fovs,
    roi_detection,
    zip_plane,
)
from meso_core.imaging.fovs.job import detection_basis, registration_basis
from meso_core.imaging.fovs.marker import changed_outputs, marker_path, read_marker, why_not_whole
from meso_core.imaging.registration.fov import registration_is_whole, why_not_registered
from meso_core.storage.manifests.basis import Basis
from tests.in_this_process import suite2p_may_warn

from .conftest import Movies, make_meta


@pytest.fixture(autouse=True)
def _quiet_torch() -> Iterator[None]:
    """Let pass what suite2p says, in the tests that run it in this process."""
    with suite2p_may_warn():
        yield


def copy_planes(movies: Movies, target: Path, n_frames: int = 600) -> Path:
    for plane in sorted(movies.folder.glob("plane*")):
        (target / plane.name).mkdir(parents=True)
        frames = np.fromfile(plane / "data_raw.bin", np.int16, 160 * 160 * n_frames)
        frames.tofile(target / plane.name / "data_raw.bin")
    return target


def copy_processed(processed: tuple[Path, Any], movies: Movies, target: Path) -> tuple[FovJob, ...]:
    shutil.copytree(processed[0], target)
    return fov_jobs(target, movies.meta, bad_frames=movies.bad_frames, keep_raw=True)


def test_every_fov_leaves_what_suite2p_would(processed: tuple[Path, Any], movies: Movies) -> None:
    folder, results = processed
    for i, result in enumerate(results):
        plane = folder / f"plane{i}"
        names = {p.name for p in plane.iterdir() if p.suffix in (".npy", ".bin")}
        assert names >= {
            "imaging.frames_motionRegistered.bin", "ops.npy", "db.npy", "settings.npy", "reg_outputs.npy",
            "detect_outputs.npy", "stat.npy", "F.npy", "Fneu.npy", "spks.npy", "iscell.npy", "bad_frames.npy",
        }  # fmt: skip
        assert result.registration.n_frames == 600
        assert result.detection.n_rois == len(np.load(plane / "F.npy")) >= result.detection.n_cells > 0
        left_out = result.registration.bad_frames
        assert left_out[movies.bad_frames].all(), "what the experimenter excluded"
        assert left_out[~movies.bad_frames].mean() < 0.1, "and few others"
        log = (plane / "run.log").read_text()
        assert "Extracting fluorescence" in log
        assert "Traceback" not in log


def test_finished_fovs_return_at_once_without_a_worker(
    processed: tuple[Path, Any], movies: Movies, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = fov_jobs(processed[0], movies.meta, bad_frames=movies.bad_frames, keep_raw=True)

    def no_worker(*_: Any, **__: Any) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(subprocess, "Popen", no_worker)
    again = process_fovs(jobs)
    assert [r.registration.resumed and r.detection.resumed for r in again] == [True, True]


def test_same_input_and_settings_give_the_same_bytes(
    processed: tuple[Path, Any], movies: Movies, suite2p: Any, tmp_path: Path
) -> None:
    folder = copy_planes(movies, tmp_path / "elsewhere" / "suite2p")
    job = fov_jobs(folder, movies.meta, bad_frames=movies.bad_frames)[0]
    image_motion_registration(job)
    roi_detection(job)
    for stage in ("registration", "detection"):
        first, second = (read_marker(f / "plane0", stage) for f in (processed[0], folder))
        assert first is not None
        assert second is not None
        assert first.outputs == second.outputs
    assert (processed[0] / "plane0" / "ops.npy").read_bytes() == (folder / "plane0" / "ops.npy").read_bytes()
    assert not (folder / "plane0" / "data_raw.bin").exists(), "the raw binary goes when registration is whole"


@pytest.mark.parametrize("through", ["roi_detection", "process_fovs"])
def test_registering_the_same_again_leaves_the_same_bytes_of_rois(
    through: str, processed: tuple[Path, Any], movies: Movies, suite2p: Any, tmp_path: Path
) -> None:
    job = copy_processed(processed, movies, tmp_path / "suite2p")[0]
    before = zip_plane(job.folder, tmp_path / "before.zip")
    other = fov_jobs(
        tmp_path / "suite2p",
        movies.meta,
        bad_frames=movies.bad_frames,
        overrides=Suite2pOverrides.parse({"threshold_scaling": 2.0}),
        keep_raw=True,
    )[0]
    (job.folder / ".registration-whole").unlink()
    assert not image_motion_registration(other).resumed
    result = (
        roi_detection(job) if through == "roi_detection" else process_fovs([job], stages=("detection",))[0].detection
    )
    assert result.resumed, "the movie is the same, so are the settings of detection"
    assert zip_plane(job.folder, tmp_path / "after.zip") == before


def test_the_settings_beside_rois_are_those_that_made_them(
    processed: tuple[Path, Any], movies: Movies, suite2p: Any, tmp_path: Path
) -> None:
    copy_processed(processed, movies, tmp_path / "suite2p")
    overrides = Suite2pOverrides.parse({"threshold_scaling": 2.0})
    job = fov_jobs(tmp_path / "suite2p", movies.meta, bad_frames=movies.bad_frames, overrides=overrides)[0]
    roi_detection(job)
    zip_plane(job.folder, tmp_path / "rois.zip")
    with zipfile.ZipFile(tmp_path / "rois.zip") as packed:
        packed.extractall(tmp_path / "unpacked")
    settings_file = job.folder / "detect_settings.npy"
    for path in (settings_file, tmp_path / "unpacked" / "settings.npy", tmp_path / "unpacked" / "ops.npy"):
        assert np.load(path, allow_pickle=True).item()["detection"]["threshold_scaling"] == 2.0, path


def test_detection_leaves_what_registration_wrote(processed: tuple[Path, Any]) -> None:
    for plane in sorted(processed[0].glob("plane*")):
        registered = read_marker(plane, "registration")
        assert registered is not None
        assert {"ops.npy", "settings.npy"} <= set(registered.outputs)
        assert changed_outputs(plane, registered) == []


def test_whole_stages_are_told_without_reading_their_files(
    processed: tuple[Path, Any], movies: Movies, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from meso_core.imaging.fovs import marker

    def reads(path: Path) -> None:
        raise AssertionError(f"{path} was read")

    job = copy_processed(processed, movies, tmp_path / "suite2p")[0]
    with monkeypatch.context() as patch:
        patch.setattr(marker, "hash_file", reads)
        assert why_not_whole(job.folder, "registration", registration_basis(job)) is None
    written = job.folder / "reg_outputs.npy"
    written.write_bytes(written.read_bytes())
    assert why_not_whole(job.folder, "registration", registration_basis(job)) is None, "the same content, written later"
    written.write_bytes(bytes(reversed(written.read_bytes())))
    told = why_not_whole(job.folder, "registration", registration_basis(job))
    assert told == "reg_outputs.npy missing or changed since"


def test_markers_hold_the_true_hashes_of_all_that_a_stage_left(processed: tuple[Path, Any]) -> None:
    for plane in sorted(processed[0].glob("plane*")):
        markers = [read_marker(plane, stage) for stage in ("registration", "detection")]
        outputs = {name: content for marker in markers if marker for name, content in marker.outputs.items()}
        assert set(outputs) == {p.name for p in plane.iterdir() if p.suffix in (".npy", ".bin")} - {"data_raw.bin"}
        for name, content in outputs.items():
            written = (plane / name).read_bytes()
            expected = (len(written), hashlib.sha256(written).hexdigest(), hashlib.md5(written).hexdigest())
            assert (content.size, content.sha256, content.md5) == expected, name


def test_a_changed_setting_repeats_only_what_depends_on_it(
    processed: tuple[Path, Any], movies: Movies, suite2p: Any, tmp_path: Path
) -> None:
    copy_processed(processed, movies, tmp_path / "suite2p")
    movie = tmp_path / "suite2p" / "plane0" / "imaging.frames_motionRegistered.bin"
    written = movie.stat().st_mtime_ns
    overrides = Suite2pOverrides.parse({"threshold_scaling": 2.0})
    job = fov_jobs(tmp_path / "suite2p", movies.meta, bad_frames=movies.bad_frames, overrides=overrides)[0]
    assert registration_is_whole(job)
    result = roi_detection(job)
    assert not result.resumed
    assert result.n_rois < processed[1][0].detection.n_rois
    assert movie.stat().st_mtime_ns == written
    other = fov_jobs(
        tmp_path / "suite2p",
        movies.meta,
        bad_frames=movies.bad_frames,
        overrides=Suite2pOverrides.parse({"maxregshift": 0.1}),
    )[0]
    assert not registration_is_whole(other)


def test_a_raised_code_version_registers_and_detects_again(movies: Movies, suite2p: Any, tmp_path: Path) -> None:
    folder = copy_planes(movies, tmp_path / "suite2p", 300)
    inputs = {"raw_frames": "as they were"}

    def run(code_version: str) -> tuple[bool, bool, list[int]]:
        job = fov_jobs(folder, movies.meta, fovs=[0], basis=Basis(code_version, inputs), keep_raw=True)[0]
        registered, detected = image_motion_registration(job), roi_detection(job)
        files = [job.folder / "imaging.frames_motionRegistered.bin", job.folder / "stat.npy"]
        return registered.resumed, detected.resumed, [file.stat().st_ino for file in files]

    first = run("1")
    assert run("1") == (True, True, first[2])
    raised = run("2")
    assert raised[:2] == (False, False)
    assert not set(raised[2]) & set(first[2]), "both files were written anew"
    job = fov_jobs(folder, movies.meta, fovs=[0], basis=Basis("3", inputs))[0]
    assert why_not_registered(job) == "code version 2 → 3"


@pytest.mark.parametrize("stage", ["registration", "detection"])
def test_another_class_of_device_makes_a_stage_stale(
    stage: str, processed: tuple[Path, Any], movies: Movies, monkeypatch: pytest.MonkeyPatch
) -> None:
    from meso_core.imaging import device

    job = fov_jobs(processed[0], movies.meta, bad_frames=movies.bad_frames, keep_raw=True)[0]
    registered = read_marker(job.folder, "registration")
    assert registered is not None

    def why() -> str | None:
        basis = registration_basis(job) if stage == "registration" else detection_basis(job, registered.outputs)
        return why_not_whole(job.folder, stage, basis)

    assert why() is None
    monkeypatch.setattr(device, "_has_cuda", lambda: True)
    assert why() == "setting fov.device: cpu → cuda"


def test_other_bad_frames_make_both_stages_stale(
    processed: tuple[Path, Any], movies: Movies, suite2p: Any, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(processed[0], tmp_path / "suite2p"))
    job = fov_jobs(folder, movies.meta, fovs=[0], bad_frames=np.arange(600) < 90, keep_raw=True)[0]
    assert not registration_is_whole(job)
    image_motion_registration(job)
    assert not roi_detection(job).resumed, "the movie is the same, the frames that detection leaves out are others"


def test_a_marker_of_the_old_form_counts_as_none(processed: tuple[Path, Any], movies: Movies, tmp_path: Path) -> None:
    job = copy_processed(processed, movies, tmp_path / "suite2p")[0]
    path = marker_path(job.folder, "registration")
    now = json.loads(path.read_text())
    outputs = {name: [content["size"], content["sha256"]] for name, content in now["outputs"].items()}
    basis = {"input": {"version": ""}, "settings": {}, "db": {}, "bad_frames": "", "code": "1", "extra": {}}
    path.write_text(json.dumps({"stage": "registration", "basis": basis, "outputs": outputs, "notes": now["notes"]}))
    assert why_not_registered(job) == "its record is damaged, or of another version"


def test_a_curation_that_no_record_tells_of_is_not_overwritten(
    processed: tuple[Path, Any], movies: Movies, tmp_path: Path
) -> None:
    job = copy_processed(processed, movies, tmp_path / "suite2p")[0]
    marker_path(job.folder, "detection").unlink()
    iscell = np.load(job.folder / "iscell.npy")
    iscell[0, 0] = 1 - iscell[0, 0]
    np.save(job.folder / "iscell.npy", iscell)
    with pytest.raises(ProcessingError, match=r"edited by hand.*discard_curation"):
        roi_detection(job)
    np.testing.assert_array_equal(np.load(job.folder / "iscell.npy"), iscell)


def test_other_raw_frames_are_registered_anew(processed: tuple[Path, Any], movies: Movies, tmp_path: Path) -> None:
    job = copy_processed(processed, movies, tmp_path / "suite2p")[0]
    assert registration_is_whole(job)
    raw = np.memmap(job.folder / "data_raw.bin", np.int16, "r+")
    raw[1000] += 1
    raw.flush()
    assert not registration_is_whole(job)


def test_curated_cells_are_never_overwritten(
    processed: tuple[Path, Any], movies: Movies, suite2p: Any, tmp_path: Path
) -> None:
    jobs = copy_processed(processed, movies, tmp_path / "suite2p")
    path = jobs[0].folder / "iscell.npy"
    iscell = np.load(path)
    iscell[:, 0] = 1 - iscell[:, 0]
    np.save(path, iscell)
    result = roi_detection(jobs[0])
    assert result.curated
    assert result.resumed
    np.testing.assert_array_equal(np.load(path), iscell)
    changed = Suite2pOverrides.parse({"threshold_scaling": 2.0})
    bad = movies.bad_frames
    job = fov_jobs(tmp_path / "suite2p", movies.meta, bad_frames=bad, overrides=changed)[0]
    with pytest.raises(ProcessingError, match="edited by hand"):
        roi_detection(job)
    np.testing.assert_array_equal(np.load(path), iscell)
    yes = fov_jobs(tmp_path / "suite2p", movies.meta, bad_frames=bad, overrides=changed, discard_curation=True)[0]
    assert not roi_detection(yes).curated


def test_a_killed_run_resumes_at_the_fov_that_was_not_whole(movies: Movies, tmp_path: Path) -> None:
    folder = copy_planes(movies, tmp_path / "suite2p", 300)
    (tmp_path / "meta.json").write_text(json.dumps(movies.meta))
    script = (
        "import json, sys; from pathlib import Path\n"
        "from meso_core.imaging import fov_jobs, process_fovs\n"
        "meta = json.loads(Path(sys.argv[2]).read_text())\n"
        "process_fovs(fov_jobs(Path(sys.argv[1]), meta), stages=['registration'], workers=1)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", script, str(folder), str(tmp_path / "meta.json")])
    first, second = (marker_path(folder / f"plane{i}", "registration") for i in range(2))
    _wait(lambda: list((folder / "plane1").glob(".imaging.frames_motionRegistered.bin.*.part")), run)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert first.exists()
    assert not second.exists()
    assert (folder / "plane1" / "data_raw.bin").exists(), "raw frames stay until their FOV is whole"
    whole = first.stat().st_mtime_ns
    time.sleep(1.0)
    left = {p.name: p.stat().st_mtime_ns for p in (folder / "plane1").iterdir()}
    time.sleep(0.5)
    assert {p.name: p.stat().st_mtime_ns for p in (folder / "plane1").iterdir()} == left, "a worker lives on"
    results = process_fovs(fov_jobs(folder, movies.meta), stages=["registration"])
    assert [r.registration.resumed for r in results] == [True, False]
    assert first.stat().st_mtime_ns == whole
    assert second.exists()
    assert not list(folder.rglob("*.part"))


def _wait(happened: Any, run: subprocess.Popen[bytes], seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert run.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_dead_worker_is_a_named_error_and_the_other_fov_is_whole(movies: Movies, tmp_path: Path) -> None:
    folder = copy_planes(movies, tmp_path / "suite2p", 300)
    killed: list[int] = []

    def kill(done: int, total: int, what: str) -> None:
        if what.startswith("plane0") and not killed:
            for pid in _children():
                if b"meso_core.imaging.fovs.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    killed.append(pid)
                    os.kill(pid, signal.SIGKILL)

    with pytest.raises(WorkStoppedError, match=r"plane0.*killed by signal 9 \(out of memory") as caught:
        process_fovs(fov_jobs(folder, movies.meta), stages=["registration"], workers=1, progress=kill)
    assert killed
    assert "run again" in str(caught.value)
    assert marker_path(folder / "plane1", "registration").exists()
    assert (folder / "plane0" / "data_raw.bin").exists()


def _children() -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.append(int(stat.parent.name))
    return found


def plane_of(frames: np.ndarray, folder: Path) -> Path:
    (folder / "plane0").mkdir(parents=True)
    frames.astype(np.int16).tofile(folder / "plane0" / "data_raw.bin")
    return folder


def noise(n_frames: int) -> np.ndarray:
    return np.random.default_rng(0).normal(500, 50, (n_frames, 64, 64))


def test_too_few_or_only_bad_frames_are_refused_before_any_work(tmp_path: Path) -> None:
    meta = make_meta(64, 64, 1)
    short = fov_jobs(plane_of(noise(30), tmp_path / "short"), meta)[0]
    with pytest.raises(ProcessingError, match="at least 50 usable frames, found 30"):
        image_motion_registration(short)
    spoilt = fov_jobs(plane_of(noise(80), tmp_path / "spoilt"), meta, bad_frames=np.ones(80, bool))[0]
    with pytest.raises(ProcessingError, match="found 0 of 80"):
        image_motion_registration(spoilt)
    other = fov_jobs(plane_of(noise(80), tmp_path / "other"), meta, bad_frames=np.arange(90) == 85)[0]
    with pytest.raises(ProcessingError, match="bad_frames"):
        image_motion_registration(other)


def test_a_missing_or_cut_binary_names_the_file(tmp_path: Path) -> None:
    meta = make_meta(64, 64, 1)
    folder = plane_of(noise(80), tmp_path)
    raw = folder / "plane0" / "data_raw.bin"
    raw.write_bytes(raw.read_bytes()[:-100])
    with pytest.raises(InputFileError, match=r"data_raw\.bin.*79 frames"):
        image_motion_registration(fov_jobs(folder, meta)[0])
    raw.unlink()
    with pytest.raises(MissingInputError, match=r"data_raw\.bin"):
        image_motion_registration(fov_jobs(folder, meta)[0])


def test_a_full_disk_is_a_named_error_and_leaves_nothing_half(suite2p: Any, tmp_path: Path) -> None:
    job = fov_jobs(plane_of(noise(120), tmp_path), make_meta(64, 64, 1))[0]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 64 * 2 * 60, hard))
    try:
        with pytest.raises(StorageError, match="room on the disk"):
            image_motion_registration(job)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in job.folder.iterdir()] == ["data_raw.bin"]
    assert not registration_is_whole(job)
    assert image_motion_registration(job).n_frames == 120


@pytest.mark.parametrize("by_second", [False, True])
def test_a_second_channel_moves_with_the_one_that_is_aligned(
    suite2p: Any, movies: Movies, tmp_path: Path, by_second: bool
) -> None:
    """The second channel is the first at half brightness, so either alignment must give both the same shifts."""
    folder = copy_planes(movies, tmp_path / "suite2p", 300)
    raw = np.fromfile(folder / "plane0" / "data_raw.bin", np.int16)
    (raw // 2).tofile(folder / "plane0" / "data_chan2_raw.bin")
    meta = movies.meta | {"channelSaved": [2, 3]}
    job = fov_jobs(folder, meta, fovs=[0], overrides=Suite2pOverrides.parse({"align_by_chan2": by_second}))[0]
    result = image_motion_registration(job)
    first = np.fromfile(job.folder / "imaging.frames_motionRegistered.bin", np.int16).astype(float)
    second = np.fromfile(job.folder / "imaging.frames_motionRegistered_chan2.bin", np.int16).astype(float)
    assert np.abs(first / 2 - second).max() <= 1.5
    reg = np.load(job.folder / "reg_outputs.npy", allow_pickle=True).item()
    np.testing.assert_allclose(reg["meanImg_chan2"], reg["meanImg"] / 2, atol=1)
    np.testing.assert_allclose(result.mean_image, first.reshape(300, 160, 160).mean(axis=0), atol=0.5)
    assert not list(job.folder.glob("data*.bin"))
    found = roi_detection(job)
    assert len(np.load(job.folder / "F_chan2.npy")) == len(np.load(job.folder / "redcell.npy")) == found.n_rois


def test_workers_fit_the_cores_and_the_memory(movies: Movies, monkeypatch: pytest.MonkeyPatch) -> None:
    from meso_core.imaging import choose_workers
    from meso_core.imaging.fovs import schedule

    jobs = fov_jobs(movies.folder, movies.meta)
    need = max(schedule.memory_needed(job) for job in jobs)
    monkeypatch.setattr(schedule, "cores_at_hand", lambda: 8)
    for at_hand, workers in ((100 * need, 8), (3 * need + 1, 3), (need // 2, 1)):
        monkeypatch.setattr(schedule, "memory_at_hand", lambda at_hand=at_hand: at_hand)
        assert choose_workers(jobs) == workers


def test_a_workers_memory_does_not_grow_with_the_movie(tmp_path: Path) -> None:
    n_frames, side = 3200, 128
    some = np.random.default_rng(0).normal(500, 50, (400, side, side))
    folder = plane_of(np.concatenate([np.roll(some, i, axis=2) for i in range(n_frames // 400)]), tmp_path)
    held: list[tuple[int, float]] = []

    def look(done: int, total: int, what: str) -> None:
        if "registered" in what:
            held.append((done, sum(anonymous_mb(child) for child in _children())))

    process_fovs(fov_jobs(folder, make_meta(side, side, 1)), stages=("registration",), workers=1, progress=look)
    early = max(mb for done, mb in held if done <= n_frames // 4)
    assert max(mb for _, mb in held) < early + 16, held


def anonymous_mb(pid: int) -> float:
    """Memory that a process holds for itself, without pages of files, MB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:")) / 1024
