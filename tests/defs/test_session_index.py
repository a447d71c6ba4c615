"""The index of sessions answers as a look would, whatever became of the files since; without it all is only slower."""

import os
import random
import shutil
import time
import warnings
from hashlib import md5 as md5_of
from hashlib import sha256 as sha256_of

import pytest

from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.standing import session_index
from meso_assets.defs.standing.session_index import SessionIndex
from meso_assets.defs.standing.standings import look_at
from meso_assets.defs.standing.summaries import SessionSummary, summary_of
from meso_assets.io.resources import Platform
from meso_assets.runs.settings.settings import MesoSettings, load_settings
from meso_core.archive import ARCHIVE_NAME, ArchiveReport, save_report
from meso_core.qc import QCResult, Verdict, qc_path, results_to_json
from meso_core.session import SessionKey
from meso_core.storage import MadeBy

KEYS = [SessionKey.parse(f"SP035/2023-03-0{day}/001") for day in (1, 2, 3)]
BOUT = "raw_imaging_data_00"
#: Later than any file; and how long files rest before their session is looked at again, s: the disk's clock ticks.
NOW_NS, REST_S = 10**19, 0.03


@pytest.fixture
def settings(tmp_path):
    """A root with sessions in which everything was made, and a home."""
    settings = load_settings({"root": tmp_path / "Subjects", "home": tmp_path / "home"})
    first = KEYS[0].folder(settings.root)
    for name in (f"{BOUT}/x_00001.tif", f"{BOUT}/exptQC.mat", "raw_sync_data/_timeline_DAQdata.raw.npy"):
        (first / name).parent.mkdir(parents=True, exist_ok=True)
        (first / name).write_bytes(b"raw")
    (first / "raw_session.flag").touch()
    session = Platform.open(settings).session(str(KEYS[0]))
    for name, declared in CATALOGUE.items():
        staging = session.stage(name)
        staging.write(f"{BOUT}/{ARCHIVE_NAME}" if name == "imaging_frames_archive" else f"alf/FOV_00/{name}.txt", b"x")
        verdict = QCResult("a_check", Verdict.WARNING, 1, 2, "look at it", "tests")
        staging.write(qc_path(name), results_to_json((verdict,)).encode())
        session.publish(staging.seal(), look_at(session).standing(declared, settings).basis, MadeBy("by hand"))
    sha256, md5 = sha256_of(b"x").hexdigest(), md5_of(b"x").hexdigest()
    save_report(session.path, ArchiveReport(BOUT, "tar.bz2", ARCHIVE_NAME, (), 1, sha256, md5, 1.0))
    for key in KEYS[1:]:
        shutil.copytree(first, key.folder(settings.root))
    time.sleep(REST_S)
    return settings


def open_index(settings):
    return SessionIndex(settings, settled_after_ns=int(REST_S / 2 * 1e9))


def answers(settings, ask):
    """Ask for each session; what is raised is an answer too."""
    found = {}
    for key in KEYS:
        try:
            found[str(key)] = ask(key)
        except Exception as error:  # noqa: BLE001  whatever it is, both must say it
            found[str(key)] = f"{type(error).__name__}: {error}"
    return found


def by_index(settings):
    index = open_index(settings)
    found = answers(settings, lambda key: index.summary(key, now_ns=NOW_NS))
    index.save()
    return found, index.n_looks


def by_looking(settings):
    platform = Platform.open(settings)
    return answers(settings, lambda key: summary_of(platform.session(str(key)), settings, now_ns=NOW_NS))


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink())


def rewritten_in_its_time(draw, folder):
    """Other content of the same length, in place, and the time of the file set back."""
    file = draw.choice([file for file in files_of(folder) if not file.is_symlink()] or [None])
    if file is None or not (content := bytearray(file.read_bytes())):
        return
    status = file.stat()
    content[draw.randrange(len(content))] ^= 1
    with file.open("r+b") as out:
        out.write(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def lengthened(draw, folder):
    with draw.choice([file for file in files_of(folder) if file.exists()]).open("ab") as out:
        out.write(b"more")


def touched(draw, folder):
    file = draw.choice([file for file in files_of(folder) if file.exists()])
    os.utime(file, ns=(1, draw.randrange(1, 10**18)))


def removed(draw, folder):
    draw.choice(files_of(folder)).unlink()


def renamed(draw, folder):
    file = draw.choice(files_of(folder))
    file.rename(file.with_name(f"{file.name}.{draw.randrange(1000)}"))


def made_a_link(draw, folder):
    file = draw.choice(files_of(folder))
    file.unlink()
    file.symlink_to(draw.choice([*files_of(folder), folder / "nothing", folder]))


def come_late(draw, folder):
    name = draw.choice(
        ["exptQC.mat", "x_00002.tif", "x_00002.tif.part", ".DS_Store", "reference/r.tif", "badframes.mat"]
    )
    file = folder / BOUT / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"late")


def an_empty_folder(draw, folder):
    (folder / draw.choice(["raw_imaging_data_1", "snapshots", "suite2p"])).mkdir(exist_ok=True)


def of_another_name(_draw, folder):
    """The session is moved away, and another copy of it is put there."""
    other = folder.with_name("999")
    folder.rename(other)
    shutil.copytree(other, folder, symlinks=True)
    shutil.rmtree(other)


CHANGES = [
    rewritten_in_its_time,
    lengthened,
    touched,
    removed,
    renamed,
    made_a_link,
    come_late,
    an_empty_folder,
    of_another_name,
]


def keep_to_it(settings, seed, n_changes):
    draw, looks, asked = random.Random(seed), 0, 0
    by_index(settings)
    for _ in range(n_changes):
        for _ in range(draw.randrange(3)):
            change, key = draw.choice(CHANGES), draw.choice(KEYS)
            if files_of(key.folder(settings.root)):
                change(draw, key.folder(settings.root))
        time.sleep(REST_S)
        found, n_looks = by_index(settings)
        assert found == by_looking(settings), seed
        looks, asked = looks + n_looks, asked + len(KEYS)
    assert looks < asked, "it was of use"


@pytest.mark.parametrize("seed", range(4))
def test_with_the_index_every_session_stands_as_without_whatever_is_done_to_its_files(settings, seed):
    keep_to_it(settings, seed, 15)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100, 140))
def test_the_same_over_long_and_many_histories(settings, seed):
    keep_to_it(settings, seed, 40)


def test_what_has_not_changed_is_not_looked_at_again(settings):
    first, n_looks = by_index(settings)
    assert n_looks == len(KEYS)
    assert all(isinstance(one, SessionSummary) and one.due == {} for one in first.values()), "all is whole"
    assert by_index(settings) == (first, 0)


def test_a_damaged_index_is_dropped_and_the_answers_are_the_same(settings):
    true, _ = by_index(settings)
    (file,) = (settings.home / "index").glob("*.json")
    whole, draw = file.read_bytes(), random.Random(1)
    for _ in range(20):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(bytes(content[: draw.choice([None, draw.randrange(len(content))])]))
        assert by_index(settings) == (true, len(KEYS))
    file.unlink()
    file.mkdir()
    assert by_index(settings) == (true, len(KEYS)), "a folder is in its place"


def test_other_settings_other_code_and_sessions_that_are_gone_have_no_entry(settings, monkeypatch):
    by_index(settings)
    other = settings.model_copy(update={"archive_format": "zarr"})
    found, n_looks = by_index(other)
    assert n_looks == len(KEYS)
    assert set(found[str(KEYS[0])].due) == {"imaging_frames_archive"}
    left_out = settings.model_copy(update={"left_out_fovs": {str(KEYS[0]): ("FOV_00",)}})
    assert by_index(left_out) == (by_looking(left_out), len(KEYS))
    monkeypatch.setattr("meso_assets.defs.standing.session_index._code", lambda: "other")
    assert by_index(settings)[1] == len(KEYS)
    monkeypatch.undo()
    index = open_index(settings)
    index.save({str(KEYS[1])})
    assert by_index(settings)[1] == len(KEYS) - 1


def test_what_time_alone_changes_is_looked_at_each_time(settings):
    (KEYS[0].folder(settings.root) / "raw_session.flag").unlink()
    key, minute_ns = KEYS[0], int(60e9)
    newest = max(file.stat().st_mtime_ns for file in files_of(key.folder(settings.root)))
    time.sleep(REST_S)
    for minutes, ready in ((5, False), (16, True), (5, False)):
        index = open_index(settings)
        found = index.summary(key, now_ns=newest + minutes * minute_ns)
        index.save()
        assert (found.ready, index.n_looks) == (ready, 1), "also for a clock that was set back"


def test_what_has_just_changed_is_looked_at_again_for_the_clock_of_the_disk_ticks(settings):
    (KEYS[0].folder(settings.root) / "late.txt").touch()
    index = SessionIndex(settings, settled_after_ns=10**10)
    index.summary(KEYS[0], now_ns=NOW_NS)
    index.save()
    assert by_index(settings)[1] == len(KEYS)


def test_on_a_share_what_has_changed_within_minutes_is_looked_at_again_for_its_clock_may_be_behind(
    settings, monkeypatch
):
    monkeypatch.setattr(session_index, "is_network", lambda kind: True)
    settings = settings.model_copy(update={"home": settings.home / "on_a_share"})
    assert by_index(settings)[1] == len(KEYS)
    assert by_index(settings)[1] == len(KEYS), "the files are seconds old"
    monkeypatch.setattr(session_index, "CLOCKS_DIFFER_S", 0.0)
    by_index(settings)
    assert by_index(settings)[1] == 0


def test_settings_that_do_not_matter_are_settings_and_no_answer_follows_from_them(settings):
    true = by_looking(settings)
    assert {*session_index.NO_MATTER} <= {*MesoSettings.model_fields}
    changes = {"cores": 1, "memory_gb": 1.0, "executor": "in_process", "keep_versions": 3, "rerun_stale": True}
    other = settings.model_copy(
        update={**changes, "watch": True, "scan_max_runs": 1, "removed_kept_days": 0.0, "ui_hosts": "lab"}
    )
    by_index(settings)
    assert by_index(other) == (true, 0)
    assert by_looking(other) == true


def test_every_other_setting_has_an_index_of_its_own(settings):
    usual = session_index._circumstances(settings)
    for name in MesoSettings.model_fields:
        changed = settings.model_copy(update={name: "another"})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # pydantic tells that this is no value of it
            differs = session_index._matters(changed) != session_index._matters(settings)
        assert differs == (name not in session_index.NO_MATTER), name
    assert session_index._circumstances(settings) == usual
