"""What the command line says: hints that lead on, errors without tracebacks, gates that look closed when they are."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from meso_assets.cli import group
from meso_assets.defs.running.claims import Claims
from meso_assets.runs.settings.settings import MesoSettings
from meso_core.errors import MissingInputError
from meso_core.imaging import Estimate, Preflight
from meso_core.session import imaging_bouts, raw_tifs


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch, tmp_path):
    for name in MesoSettings.model_fields:
        monkeypatch.delenv(f"MESO_{name.upper()}", raising=False)
    monkeypatch.delenv("MESO_SETTINGS", raising=False)
    monkeypatch.setenv("MESO_ROOT", str(tmp_path / "Subjects"))
    monkeypatch.setenv("MESO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def meso(*arguments, **variables):
    """Call ``meso`` as the shell does."""
    command = [sys.executable, "-c", "from meso_assets.cli import main; main()", *arguments]
    environment = {**os.environ, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("arguments", "variables", "toml", "named"),
    [
        (("simulate",), {}, "root = @", "line 1"),
        (("simulate",), {"MESO_SUITE2P": "{bad"}, "", "suite2p"),
        (("simulate", "--seed", "-3"), {}, "", "field 'seed': expected 0 or more, found -3"),
        (("simulate", "--date", "2023-99-99"), {}, "", "2023-99-99"),
        (("simulate", "--root", "/dev/null/x"), {}, "", "Check the permissions and the disk"),
        (("status",), {"MESO_HOME": "/dev/null/home"}, "", "Set MESO_HOME"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, arguments, variables, toml, named):
    (tmp_path / "Subjects").mkdir()
    (tmp_path / "meso.toml").write_text(toml)
    told = meso(*arguments, **variables)
    assert told.returncode == 2
    assert "Traceback" not in told.stderr
    (line,) = told.stderr.splitlines()
    assert named in line
    assert "expected" in line
    assert not list((tmp_path / "Subjects").iterdir())


def test_a_misspelt_variable_is_one_line_of_warning(tmp_path):
    (tmp_path / "Subjects").mkdir()
    told = meso("restore", "SP035/2023-03-03/001", MESO_ROOOT="/elsewhere")
    assert told.stderr.splitlines()[0] == (
        "warning: MESO_ROOOT is no setting of meso and is ignored: did you mean MESO_ROOT?"
    )


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [(("statsus",), "Did you mean 'status'?"), (("run", "S/2023-03-03/001", "--assets", "roi"), "did you mean rois?")],
)
def test_a_misspelt_command_or_asset_is_told_with_the_one_that_is_meant(tmp_path, arguments, meant):
    (tmp_path / "Subjects/S/2023-03-03/001/raw_imaging_data_00").mkdir(parents=True)
    (tmp_path / "Subjects/S/2023-03-03/001/raw_imaging_data_00/a.tif").touch()
    told = meso(*arguments)
    assert (told.returncode, meant in told.stderr) == (2, True), told.stderr


def test_restoring_where_nothing_was_removed_says_so():
    meso("simulate")
    told = meso("restore", "SP035/2023-03-03/001")
    assert (told.returncode, "nothing to restore" in told.stdout) == (0, True), told


def commands_below(command, *names):
    yield names, command
    for name in command.list_commands(None) if isinstance(command, click.Group) else ():
        yield from commands_below(command.get_command(None, name), *names, name)


def test_each_command_and_each_of_its_options_says_what_it_does():
    every = dict(commands_below(group))
    assert len(every) > 30
    assert [names for names, command in every.items() if not command.help] == []
    options = [(names, each) for names, command in every.items() for each in command.params]
    assert [(names, each.name) for names, each in options if isinstance(each, click.Option) and not each.help] == []


@pytest.mark.parametrize("columns", ["80", "200"])
def test_help_has_each_command_once_below_what_it_is_for_with_one_whole_line(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    told = CliRunner().invoke(group, ["--help"]).output
    assert "…" not in told.partition("Options:")[2]
    assert "..." not in told.partition("Options:")[2]
    _, *parts = told.partition("Options:")[2].split("\n\n")
    lines = [line for part in parts for line in part.strip("\n").splitlines()[1:]]
    names = [line.split()[0] for line in lines]
    assert sorted(names) == sorted(group.list_commands(None))
    assert all(line.endswith(".") and len(line) <= 80 for line in lines)
    assert [part.splitlines()[0].endswith(":") for part in parts] == [True] * len(parts)
    assert len(parts) > 4
    for name in names:
        assert isinstance(group.get_command(None, name), click.Command)


@pytest.mark.parametrize("day", ["yesterday", "2023-3-1", "01.03.2023", "2023-02-30", "", "٢٠٢٣-٠٣-٠١"])
def test_a_day_in_another_form_is_refused_with_the_form_and_an_example(day):
    told = CliRunner().invoke(group, ["status", "--since", day])
    assert told.exit_code == 2
    assert f"expected a day as year, month and day, YYYY-MM-DD, found {day!r}. Today is 20" in told.output
    assert "as in 2023-03-01" in " ".join(CliRunner().invoke(group, ["run", "--help"]).output.split())


def test_why_a_disk_is_not_known_is_told_in_words(tmp_path, monkeypatch):
    from meso_assets.cli.status import _disk

    monkeypatch.setattr("meso_core.storage.files.file_system._TRIED", {})  # another test may have tried this disk
    (tmp_path / "file").touch()
    assert _disk(tmp_path / "file") == "not known, because nothing can be written there (Not a directory)"


def test_help_of_simulate_lists_every_fault():
    from meso_core.simulate import FAULTS

    told = CliRunner().invoke(group, ["simulate", "--help"]).output
    assert all(name in told for name in FAULTS)


def test_a_session_that_is_simulated_again_was_there_already():
    first, second = (CliRunner().invoke(group, ["simulate", "--number", "007"]) for _ in range(2))
    assert first.exit_code == second.exit_code == 0
    assert "was there already" not in first.output
    assert "was there already" in second.output


@pytest.mark.parametrize(
    ("folder", "remedy"), [((), "Run `make demo`"), (("--folder", "my demo"), "`meso demo --folder 'my demo'`")]
)
def test_the_interface_before_the_demo_asks_for_the_demo(folder, remedy):
    told = CliRunner().invoke(group, ["dev", "--demo", *folder])
    assert isinstance(told.exception, MissingInputError)
    assert remedy in str(told.exception)
    assert "MESO_ROOT" not in str(told.exception)


def test_the_demos_hint_opens_the_folder_that_it_was_made_in():
    from meso_assets.runs.demo import how_to_open

    assert "make dev" in how_to_open()
    assert how_to_open(Path("X")) == "`meso dev --demo --folder X`"


@pytest.fixture
def archived(tiny_session, tmp_path):
    """Session whose two bouts are archived, published and on record, but which was not processed."""
    import os

    from meso_core.archive import archive_bout, save_report
    from meso_core.storage import Basis, MadeBy, Staging, publish

    session = tmp_path / "Subjects" / str(tiny_session.key)
    for bout in imaging_bouts(tiny_session.session_path):
        shutil.copytree(bout, session / bout.name)
    staging, contents = Staging(session, "imaging_frames_archive"), {}
    for bout in imaging_bouts(session):
        report = archive_bout(bout)
        save_report(session, report)
        (staging.folder / bout.name).mkdir()
        os.link(bout / report.name, staging.folder / bout.name / report.name)
        contents[f"{bout.name}/{report.name}"] = report.contents
    publish(session, staging.seal(contents), Basis("1"), MadeBy("run"))
    return session


def test_a_closed_gate_shows_its_obstacles_and_nothing_to_remove(archived):
    told = CliRunner().invoke(group, ["remove-raw", "SP035/2023-03-03/001"])
    assert told.exit_code == 1
    assert {line.split()[0] for line in told.output.splitlines()} == {"obstacle", "dry"}
    assert "no motion-registered frames" in told.output
    assert "free" not in told.output


def test_an_overridden_gate_lists_what_would_go_and_then_what_went(archived):
    override = ["--who", "me", "--why", "a test"]
    dry = CliRunner().invoke(group, ["remove-raw", "SP035/2023-03-03/001", *override])
    n_tifs = sum(len(raw_tifs(bout)) for bout in imaging_bouts(archived))
    assert dry.exit_code == 0
    assert [line.split()[0] for line in dry.output.splitlines()].count("remove") == n_tifs > 1
    wet = CliRunner().invoke(group, ["remove-raw", "SP035/2023-03-03/001", *override, "--yes"])
    assert wet.exit_code == 0, wet.output
    assert not any(raw_tifs(bout) for bout in imaging_bouts(archived))


def test_removed_tifs_are_kept_until_their_time_is_over_or_a_person_wants_the_room_now(archived):
    key, override = "SP035/2023-03-03/001", ["--who", "me", "--why", "a test"]
    before = {tif: tif.stat() for bout in imaging_bouts(archived) for tif in raw_tifs(bout)}

    def meso_says(*arguments):
        told = CliRunner().invoke(group, arguments)
        assert told.exit_code == 0, told.output
        return told.output

    assert "after 7 days (MESO_REMOVED_KEPT_DAYS; at once with --now)" in meso_says("remove-raw", key, *override)
    assert meso_says("remove-raw", key, *override, "--yes").count("may be freed from 20") == len(before)
    assert not any(tif.exists() for tif in before)
    assert meso_says("remove-raw", key).count("kept ") == len(before)
    assert "obstacle" not in meso_says("remove-raw", key), "that nothing is left to be removed is none"
    assert meso_says("remove-raw", "--yes") == "nothing freed: of no session is the time of removed tifs over\n"
    assert meso_says("restore", key).count("put back") == len(before)
    assert {tif: tif.stat().st_ino for tif in before} == {tif: status.st_ino for tif, status in before.items()}
    meso_says("remove-raw", key, *override, "--yes")
    assert "compared with their archives again" in meso_says("remove-raw", key, "--yes", "--now")
    for arguments in ([], ["--yes"], ["--yes", "--now"]):
        assert "no raw tifs are there. `meso restore" in meso_says("remove-raw", key, *override, *arguments)
    assert not (archived / ".meso" / "removed").exists()
    assert meso_says("restore", key).count("MB  restored") == len(before)


def test_the_room_of_all_sessions_whose_time_is_over_is_freed_and_one_in_doubt_keeps_its_tifs(archived, monkeypatch):
    other = shutil.copytree(archived, archived.with_name("002"))
    for key in ("SP035/2023-03-03/001", "SP035/2023-03-03/002"):
        assert CliRunner().invoke(group, ["remove-raw", key, "--yes", "--who", "me", "--why", "a"]).exit_code == 0
    monkeypatch.setenv("MESO_REMOVED_KEPT_DAYS", "0")
    next(archived.glob("raw*/imaging.frames.tar.bz2")).unlink()
    told = CliRunner().invoke(group, ["remove-raw", "--yes"])
    assert told.exit_code == 2
    assert "002" in next(line for line in told.output.splitlines() if line.startswith("freed"))
    assert "recorded, but not there" in next(line for line in told.output.splitlines() if line.startswith("kept"))
    assert not (other / ".meso" / "removed").exists()
    assert sum(len(raw_tifs(bout)) for bout in imaging_bouts(archived)) == 3, "they are back at their places"


REMOVING = ["remove-raw", "SP035/2023-03-03/001", "--who", "me", "--why", "a test"]


@pytest.mark.parametrize("arguments", [[*REMOVING, "--yes"], ["restore", "SP035/2023-03-03/001"]])
def test_tifs_neither_go_nor_come_while_a_run_reads_them(archived, arguments, monkeypatch):
    monkeypatch.setattr("meso_assets.defs.running.claims._LOOK_EVERY_S", 0.01)
    run, tifs = Claims(archived, "aaaa-1"), [tif for bout in imaging_bouts(archived) for tif in raw_tifs(bout)]
    if arguments[0] == "restore":
        assert CliRunner().invoke(group, [*REMOVING, "--yes"]).exit_code == 0
    there, found = [tif.exists() for tif in tifs], []
    run.take(["motion_registered_frames", "frame_times"])

    def ends():
        found.extend(tif.exists() for tif in tifs)
        run.give_all_back()

    timer = threading.Timer(0.5, ends)
    timer.start()
    told = CliRunner().invoke(group, arguments)
    timer.join()
    assert told.exit_code == 0, told.output
    assert "waiting: motion_registered_frames is made by run aaaa, process" in told.output
    assert "frame_times" not in told.output, "it reads no tif"
    assert found == there
    assert [tif.exists() for tif in tifs] == [not each for each in there]
    assert Claims(archived, "next").take(["motion_registered_frames", "imaging_frames_archive"]) == ()


def test_a_dry_run_waits_for_nobody(archived):
    Claims(archived, "aaaa-1").take(["motion_registered_frames"])
    assert CliRunner().invoke(group, REMOVING).exit_code == 0


def test_restoring_what_is_there_says_that_nothing_was_restored_and_counts_nothing_as_restored(archived):
    def told():
        said = CliRunner().invoke(group, ["restore", "SP035/2023-03-03/001"])
        assert said.exit_code == 0, said.output
        return said.output

    tifs = [tif for bout in imaging_bouts(archived) for tif in raw_tifs(bout)]
    here = told()
    assert here.splitlines()[-1] == (
        f"SP035/2023-03-03/001: nothing to restore: all that was archived is there, unchanged ({len(tifs)} tifs)"
    )
    assert "restored" not in here
    assert "unpacked: " in here, "it was read, to compare"
    tifs[0].unlink()
    assert told().splitlines()[-1] == f"SP035/2023-03-03/001: 1 tif restored, {len(tifs) - 1} there before"
    for tif in tifs:
        tif.unlink()
    assert told().splitlines()[-1] == f"SP035/2023-03-03/001: {len(tifs)} tifs restored"


@pytest.mark.parametrize("recorded", [True, False])
def test_restore_tells_what_was_compared_with_no_record(archived, recorded):
    for bout in imaging_bouts(archived):
        for tif in raw_tifs(bout):
            tif.unlink()
    if not recorded:
        shutil.rmtree(archived / ".meso" / "archive")
    told = CliRunner().invoke(group, ["restore", "SP035/2023-03-03/001"])
    assert told.exit_code == 0, told.output
    restored = [line for line in told.output.splitlines() if "restored" in line and ".tif" in line]
    assert len(restored) == sum(len(raw_tifs(bout)) for bout in imaging_bouts(archived)) > 1
    assert all(("not compared with a record" in line) is not recorded for line in restored)


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["--genotype", "Camk2a-tTA;Ai94(TITL-G6f)-ICL-G6f"], {"tau": 0.7}),
        (["--genotype", "tetO-G6m", "--suite2p", "tau=1.2"], {"tau": 1.2}),
        ([], {}),
    ],
)
def test_the_genotype_of_one_run_decides_its_tau(tmp_path, monkeypatch, arguments, asked):
    import meso_assets.runs.run

    seen = {}

    def run(settings, key, *, assets, suite2p, discard_curation, tell):
        seen.update(suite2p)
        raise MissingInputError("far enough")

    monkeypatch.setattr(meso_assets.runs.run, "run_session", run)
    CliRunner().invoke(group, ["run", "SP035/2023-03-03/001", *arguments])
    assert seen == asked


@pytest.mark.parametrize(("arguments", "asked"), [([], None), (["--discard-curation"], True)])
def test_edits_of_labels_are_given_up_only_when_that_is_asked_for(tmp_path, monkeypatch, arguments, asked):
    import meso_assets.runs.run

    bout = tmp_path / "Subjects/SP035/2023-03-03/001/raw_imaging_data_00"
    bout.mkdir(parents=True)
    (bout / "x.tif").write_bytes(b"x")
    seen = {}

    def run(settings, instance, name, assets, config, expected_s):
        seen.update(config)
        raise MissingInputError("far enough")

    monkeypatch.setattr(meso_assets.runs.run, "_run", run)
    ahead = Preflight("SP035/2023-03-03/001", (), Estimate(0, None, None))
    monkeypatch.setattr(meso_assets.runs.run, "look_ahead", lambda flight: ahead)
    told = CliRunner().invoke(group, ["run", "SP035/2023-03-03/001", "--assets", "rois,frame_times", *arguments])
    assert isinstance(told.exception, MissingInputError), told.output
    given = {"ops": {"rois": {"config": {"suite2p": {}, "discard_curation": True}}}}
    assert seen == (given if asked else {})


@pytest.fixture
def odd_root(tmp_path):
    """Root with a session numbered 1 in which there is more than data, and folders that are none."""
    root = tmp_path / "Subjects"
    session = root / "SP035" / "2023-03-03" / "1"
    for name in ("raw_imaging_data_00/x_00001.tif", "raw_imaging_data_00/._x_00001.tif", "raw_imaging_data_1/y.tif",
                 "alf/FOV_09/mpci.times.npy", "suite2p/plane9/F.npy", ".DS_Store"):  # fmt: skip
        (session / name).parent.mkdir(parents=True, exist_ok=True)
        (session / name).write_bytes(b"x")
    (root / "SP035" / "2023-99-99" / "001").mkdir(parents=True)
    (root / "SP 36" / "2023-03-03" / "001").mkdir(parents=True)
    return root


ODD = {
    "not ready: changed 0 min ago, still being copied?",
    "ignored, a hidden file: .DS_Store, raw_imaging_data_00/._x_00001.tif",
    "raw_imaging_data_1 is passed over: an imaging bout is a folder raw_imaging_data_NN, with two digits",
    "alf/FOV_09 is not of meso and is left alone",
    "suite2p/plane9 is not of meso and is left alone",
}


def test_status_lists_what_is_passed_over_ignored_and_of_others_with_its_reason(odd_root):
    told = CliRunner().invoke(group, ["status"])
    assert told.exit_code == 0, told.output
    lines = told.output.splitlines()
    assert {line.removeprefix("SP035/2023-03-03/001  ") for line in lines if line.startswith("SP035")} >= ODD
    assert "passed over: SP035/2023-99-99: there is no such date; a date is YYYY-MM-DD" in lines
    assert "passed over: SP 36/2023-03-03/001: a name with other characters than letters, digits, _ . -" in lines
    records = json.loads(CliRunner().invoke(group, ["status", "--json"]).output)
    assert {record["why"] for record in records if record["state"] == "remark"} == ODD
    assert {record["session"] for record in records if record["state"] == "passed over"} == {
        "SP035/2023-99-99",
        "SP 36/2023-03-03/001",
    }


def test_status_of_one_session_takes_its_number_without_zeros(odd_root):
    told = CliRunner().invoke(group, ["status", "SP035/2023-03-03/1"])
    assert told.exit_code == 0, told.output
    assert "SP035/2023-03-03/001  –  " in told.output
    assert "passed over: SP" not in told.output


def test_one_session_that_cannot_be_read_does_not_hide_the_others(odd_root):
    bad = odd_root / "SP035" / "2023-03-03" / "002"
    bad.mkdir()
    (bad / "_ibl_experiment.description.yaml").write_text("devices: [unclosed")
    told = CliRunner().invoke(group, ["status"])
    assert told.exit_code == 0, told.output
    assert "SP035/2023-03-03/002  unreadable: " in told.output
    assert "SP035/2023-03-03/001  –  " in told.output
