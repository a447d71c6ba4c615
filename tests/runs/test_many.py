"""Many sessions from a terminal: the right ones run, and one that fails keeps no other from running."""

import re

import pytest
from click.testing import CliRunner

from meso_assets.cli import group
from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.runs import many
from meso_assets.runs.choosing import Wanted
from meso_assets.runs.many import run_sessions, wanted_sessions
from meso_assets.runs.run import RunSummary
from meso_assets.runs.settings.settings import MesoSettings, load_settings
from meso_assets.runs.status import status as status_module
from meso_assets.runs.status.cells import AssetStatus, SessionCells, State
from meso_core.errors import InputFileError, SettingsError
from meso_core.session import SessionKey

KEYS = tuple(SessionKey.parse(f"SP035/2023-03-0{day}/001") for day in (1, 2, 3))


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name in MesoSettings.model_fields:
        monkeypatch.delenv(f"MESO_{name.upper()}", raising=False)
    monkeypatch.setenv("MESO_ROOT", str(tmp_path / "Subjects"))
    monkeypatch.setenv("MESO_HOME", str(tmp_path / "home"))
    for key in KEYS:
        key.folder(tmp_path / "Subjects").mkdir(parents=True)
    return load_settings()


def ran(monkeypatch, by_session):
    """Let each session end in its way: an error, or whether it succeeds."""
    begun = []

    def run(_, key, *, assets=(), suite2p=None, discard_curation=False):
        begun.append((str(key), assets))
        end = by_session.get(str(key), True)
        if isinstance(end, Exception):
            raise end
        return RunSummary("run", end, {}, assets, frozenset() if end else frozenset({"frame_times"}))

    monkeypatch.setattr(many, "run_session", run)
    return begun


def test_after_a_session_that_fails_or_cannot_be_begun_the_next_one_runs(settings, monkeypatch):
    copying = InputFileError.at("x.tif.part", expected="a whole file", found="a copy", remedy="Wait")
    begun, said = ran(monkeypatch, {str(KEYS[0]): copying, str(KEYS[1]): False}), []
    ended = list(run_sessions(settings, KEYS, assets=("frame_times",), say=said.append))
    assert begun == [(str(key), ("frame_times",)) for key in KEYS]
    assert [one.success for one in ended] == [False, False, True]
    assert [one.result for one in ended] == [f"not begun: {copying}", "failed: frame_times", "done"]
    assert said[0] == f"session 1 of 3: {KEYS[0]}"
    assert "0 s left" in said[2]
    assert said[2].endswith("2 so far did not come to their end")


def test_what_would_fail_for_all_ends_it_at_the_first(settings, monkeypatch):
    begun = ran(monkeypatch, {str(KEYS[0]): SettingsError("no such asset")})
    with pytest.raises(SettingsError):
        list(run_sessions(settings, KEYS, say=print))
    assert len(begun) == 1


@pytest.mark.parametrize(
    ("states", "assets", "since", "days"),
    [
        ((State.MISSING,), (), "", [1, 3]),
        ((State.MISSING,), ("rois",), "", [1]),
        ((State.STALE, State.MISSING), ("frame_times",), "", [2, 3]),
        ((), (), "2023-03-02", [2, 3]),
        ((State.FAILED,), (), "", []),
    ],
)
def test_only_sessions_that_stand_as_asked_are_chosen(settings, monkeypatch, states, assets, since, days):
    stand = {1: {"rois": State.MISSING}, 2: {"frame_times": State.STALE}, 3: {"frame_times": State.MISSING}}

    def status(look, _name, _failures):
        key = look.key
        own = stand[int(key.date[-1])]
        cells = [AssetStatus(name, own.get(name, State.DONE)) for name in ("frame_times", "rois")]
        return SessionCells(str(key), tuple(cells), (), key=str(key))

    monkeypatch.setattr(status_module, "cells_of_look", status)
    found = wanted_sessions(settings, Wanted((), frozenset(states), since, assets), print)
    assert [int(key.date[-1]) for key in found] == days


def test_a_session_that_cannot_be_looked_at_is_named_and_the_others_are_chosen(settings, monkeypatch):
    def status(look, _name, _failures):
        key = look.key
        state = State.UNREADABLE if key == KEYS[0] else State.MISSING
        return SessionCells(str(key), (AssetStatus("rois", state, "a record is damaged"),), (), key=str(key))

    said = []
    monkeypatch.setattr(status_module, "cells_of_look", status)
    assert wanted_sessions(settings, Wanted(states=frozenset({State.MISSING})), said.append) == KEYS[1:]
    assert said == [f"{KEYS[0]} is left out: a record is damaged"]


def test_a_folder_and_a_pattern_are_listed_by_a_dry_run(settings):
    for text in (str(settings.root), "SP*/2023-03-0[12]"):
        told = CliRunner().invoke(group, ["run", text, "--since", "2023-03-02", "--dry-run"])
        assert told.exit_code == 0, told.output
        assert told.output.splitlines()[0] == str(KEYS[1])
    assert not settings.home.exists(), "nothing was begun"


def test_a_subject_is_chosen_by_its_option_as_by_its_name(settings):
    SessionKey.parse("AB007/2023-03-01/001").folder(settings.root).mkdir(parents=True)
    by_option = CliRunner().invoke(group, ["run", "--dry-run", "--subject", "SP035"]).output
    assert by_option == CliRunner().invoke(group, ["run", "--dry-run", "SP035"]).output
    assert all(str(key) in by_option for key in KEYS)
    assert "AB007" not in by_option


def test_without_any_choice_no_session_runs():
    told = CliRunner().invoke(group, ["run"])
    assert told.exit_code == 2
    assert "Name sessions" in told.output


def test_the_closing_table_has_a_row_for_each_session_and_the_exit_status_tells_of_failures(settings, monkeypatch):
    ran(monkeypatch, {str(KEYS[1]): False})
    told = CliRunner().invoke(group, ["run", "SP035"])
    assert told.exit_code == 1
    rows = [line.split() for line in told.output.splitlines() if line.startswith("SP035/")]
    assert [(row[0], row[2]) for row in rows] == [
        (str(KEYS[0]), "done"),
        (str(KEYS[1]), "failed:"),
        (str(KEYS[2]), "done"),
    ]
    assert "1 of 3 sessions did not come to their end" in told.output


def stand(monkeypatch, by_day):
    def status(look, _name, _failures):
        key = look.key
        rois = AssetStatus("rois", by_day[int(key.date[-1])], "a reason")
        cells = [rois if name == "rois" else AssetStatus(name, State.DONE) for name in CATALOGUE]
        return SessionCells(str(key), tuple(cells), ("a remark",), key=str(key))

    monkeypatch.setattr(status_module, "cells_of_look", status)


def test_status_shows_those_that_stand_as_asked_and_counts_the_others(settings, monkeypatch):
    stand(monkeypatch, {1: State.DONE, 2: State.STALE, 3: State.INTERRUPTED})
    shown = {}
    for options in (
        (),
        ("--failed",),
        ("--stale", "--failed"),
        ("--missing",),
        ("--since", "2023-03-03"),
        ("SP*/*-02",),
    ):
        told = CliRunner().invoke(group, ["status", *options])
        assert told.exit_code == 0, told.output
        lines = told.output.splitlines()
        rows = [line for line in lines if line.startswith("SP035/") and "a re" not in line]
        shown[options] = [row[15] for row in rows]
        (totals,) = [line for line in lines if "3 sessions" in line]
        if not options:
            assert totals == "3 sessions: 1 interrupted, 1 stale, 1 whole"
        elif shown[options]:
            assert totals.startswith(f"{len(shown[options])} of 3 sessions: ")
    days = [[*"123"], ["3"], ["2", "3"], [], ["3"], ["2"]]
    assert list(shown.values()) == days


def test_the_columns_of_the_status_are_named_by_the_words_of_their_assets(settings, monkeypatch):
    told = CliRunner().invoke(group, ["status"]).output.splitlines()
    rule = next(i for i, line in enumerate(told) if set(line) == {"-"})
    columns = [[], *([] for _ in CATALOGUE)]
    places = [told[rule + 1].index(str(KEYS[0])), *(cell.start() for cell in re.finditer("–|n/a", told[rule + 1]))]
    for line in told[:rule]:
        for column, (begin, end) in enumerate(zip(places, [*places[1:], None], strict=True)):
            columns[column] += line[begin:end].split()
    assert columns == [["session"], *(asset.split("_") for asset in CATALOGUE)]


def test_an_empty_root_is_told_as_one(tmp_path, monkeypatch):
    (tmp_path / "Subjects").mkdir()
    monkeypatch.setenv("MESO_ROOT", str(tmp_path / "Subjects"))
    monkeypatch.setenv("MESO_HOME", str(tmp_path / "home"))
    told = CliRunner().invoke(group, ["status"])
    assert told.exit_code == 0
    assert f"no session below {tmp_path / 'Subjects'}; a session is at" in told.output
