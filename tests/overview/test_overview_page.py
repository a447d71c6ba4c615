"""The overview shows what `meso status` says, is one file, and no name of a folder becomes markup in it."""

import json
import os
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from meso_assets.cli import group
from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.io.resources import Platform
from meso_assets.overview import page
from meso_assets.overview.page import html_page
from meso_assets.overview.record import Overview
from meso_assets.overview.refresh import overview_path, refresh
from meso_assets.overview.sensor import follow
from meso_assets.runs.instance import open_instance
from meso_assets.runs.settings.settings import load_settings
from meso_assets.runs.status.attempts import Failure
from meso_assets.runs.status.cells import AssetStatus, SessionCells, State
from meso_core.errors import StorageError
from meso_core.session import PassedOver
from meso_core.storage import write_file

KEYS = ["SP035/2023-03-03/001", "SP036/2023-03-04/001"]
NASTY = "</script><script>alert(1)</script>&amp;<!--"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    root, home = tmp_path / "Subjects", tmp_path / "home"
    for key in KEYS:
        bout = root / key / "raw_imaging_data_00"
        bout.mkdir(parents=True)
        (bout / "x_00001.tif").write_bytes(b"tif")
    (root / KEYS[0] / "raw_session.flag").touch()
    (root / "SP035" / "2023-99-99" / "001").mkdir(parents=True)
    monkeypatch.setenv("MESO_ROOT", str(root))
    monkeypatch.setenv("MESO_HOME", str(home))
    return load_settings()


@pytest.fixture
def instance(settings):
    with open_instance(settings) as opened:
        yield opened


def values_of(html):
    text = re.search(r'<script type="application/json" id="values">(.*?)</script>', html, re.DOTALL)[1]
    return json.loads(text)


def cells_of(values):
    """The page's cells, as its script reads them."""
    found = {}
    for key, _, packed, *_ in values["sessions"]:
        for (asset, _), cell in zip(values["assets"], packed, strict=True):
            state, why, *_ = [*(cell if isinstance(cell, list) else [cell]), 0]
            found[key, asset] = (values["states"][state], values["texts"][why])
    return found


def test_the_page_says_of_every_asset_what_status_says(settings, instance):
    told = CliRunner().invoke(group, ["status", "--json"])
    records = json.loads(told.stdout)
    by_status = {(r["session"], r["asset"]): (r["state"], r["why"]) for r in records if r["asset"]}
    values = values_of(refresh(settings, instance).read_text())
    assert cells_of(values) == by_status
    assert len(by_status) == len(KEYS) * len(CATALOGUE)
    passed_over = [(r["session"], r["why"]) for r in records if r["state"] == "passed over"]
    assert [tuple(one) for one in values["passed_over"]] == passed_over != []
    waits = {session[0]: values["texts"][session[5]] for session in values["sessions"]}
    assert waits[KEYS[0]] == ""
    assert "still being copied" in waits[KEYS[1]], "one that is not ready yet is there, with the reason"


def test_names_and_reasons_never_become_markup(settings):
    cell = AssetStatus("rois", State.FAILED, NASTY, shown=(NASTY,))
    session = SessionCells(NASTY, (cell,) * len(CATALOGUE), (NASTY,), NASTY, NASTY)
    html = html_page(Overview(NASTY, NASTY, (session,), (PassedOver(NASTY, NASTY),), NASTY))
    assert html.count("<script") == 2, "the values and ours"
    assert html.count("</script>") == 2
    assert "<!--" not in html.split("<body>")[1]
    values = values_of(html)
    assert values["root"] == NASTY
    assert values["sessions"][0][0] == NASTY


def test_the_page_asks_nobody_for_anything(settings, instance):
    html = refresh(settings, instance).read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    assert policy.startswith("default-src 'none'")
    assert not re.findall(r"<(?:link|img|iframe|script)[^>]*(?:src|href)=", html)
    assert "unsafe-inline" not in policy


def test_every_state_has_a_mark_a_colour_and_a_line_in_the_page_on_how_to_read_it():
    folder, pages = Path(page.__file__).parent, Path(__file__).parents[2] / "docs"
    marks = dict(
        re.findall(r'([a-z][a-z ]+)"?: "(\S)"', (folder / "page.js").read_text().split("MARKS = {")[1].split("}")[0])
    )
    assert marks.keys() == {state.value for state in State}
    assert len({*marks.values()}) == len(marks), "they are told apart in grey"
    style, lines = (folder / "page.css").read_text(), (pages / "overview.md").read_text()
    for state, mark in marks.items():
        assert f".{state.replace(' ', '-')} .word" in style, state
        assert f"\n| {mark}" in lines, state


def test_a_thousand_sessions_are_a_small_file(settings):
    why = "setting archive_format: tar.bz2 → zarr"
    cells = tuple(
        AssetStatus(name, State.STALE, why, "2026-01-01T00:00:00+00:00", 4, 10**9, "WARNING", why, "r" * 36)
        for name in CATALOGUE
    )
    many = tuple(SessionCells(f"SP{n:04d}/2023-03-03/001", cells, ()) for n in range(1000))
    assert len(html_page(Overview("/data", "", many, ()))) < 3_000_000


def test_a_page_that_was_just_made_stays_and_one_that_cannot_be_replaced_too(settings, instance, monkeypatch):
    file = refresh(settings, instance)
    before = file.read_text()
    os.utime(file, (time.time() - 60,) * 2)
    refresh(settings, instance, older_than_s=120)
    assert file.stat().st_mtime < time.time() - 30, "it was not made again"
    (settings.root / KEYS[0]).rename(settings.root / KEYS[0].replace("001", "002"))

    def full(*_, **__):
        raise StorageError("no room")

    monkeypatch.setattr("meso_assets.overview.refresh.write_file", full)
    with pytest.raises(StorageError):
        refresh(settings, instance)
    assert file.read_text() == before
    monkeypatch.undo()
    refresh(settings, instance, older_than_s=30)
    assert "002" in str(values_of(file.read_text())["sessions"])


def test_where_a_look_takes_long_nobody_but_a_person_has_it_made_again_at_once(settings, instance):
    file = refresh(settings, instance)
    slow = re.sub(r'name="seconds" content="[^"]*"', 'name="seconds" content="30.00"', file.read_text())
    for age_s, is_asked_for, stays in ((300, False, True), (300, True, False), (700, False, False)):
        file.write_text(slow)
        os.utime(file, (time.time() - age_s,) * 2)
        refresh(settings, instance, older_than_s=10, is_asked_for=is_asked_for)
        assert (file.read_text() == slow) == stays


def test_a_clock_that_was_set_back_does_not_keep_an_old_page(settings, instance):
    file = refresh(settings, instance)
    os.utime(file, (time.time() + 3600,) * 2)
    refresh(settings, instance, older_than_s=120)
    assert file.stat().st_mtime < time.time() + 60


def test_it_is_made_again_when_a_run_has_ended_and_only_then(settings, instance):
    def look(cursor):
        context = dg.build_sensor_context(instance=instance, cursor=cursor)
        return follow(context, Platform.open(settings)).skip_message, context.cursor

    told, cursor = look(None)
    assert told.startswith("the overview was made again")
    assert overview_path(settings).is_file()
    told, cursor = look(cursor or "")
    assert "no run has ended" in told
    _job().execute_in_process(instance=instance)
    os.utime(overview_path(settings), (time.time() - 3600,) * 2)  # on a busy machine the first look may take long
    told, cursor = look(cursor)
    assert told.startswith("the overview was made again")
    assert look(cursor) == ("no run has ended since the overview was made", cursor)
    overview_path(settings).unlink()
    assert look(cursor)[0].startswith("the overview was made again"), "somebody removed it"


def test_a_run_that_ends_soon_after_a_long_look_is_not_forgotten(settings, instance):
    def look(cursor):
        context = dg.build_sensor_context(instance=instance, cursor=cursor)
        return follow(context, Platform.open(settings)).skip_message, context.cursor

    _, cursor = look(None)
    file = overview_path(settings)
    file.write_text(re.sub(r'name="seconds" content="[^"]*"', 'name="seconds" content="30.00"', file.read_text()))
    os.utime(file, (time.time() - 60,) * 2)
    _job().execute_in_process(instance=instance)
    told, after = look(cursor)
    assert "made again later" in told
    assert after == cursor
    os.utime(file, (time.time() - 700,) * 2)
    assert look(after)[0].startswith("the overview was made again")


def test_neither_a_disk_with_another_clock_nor_a_run_of_another_machine_keeps_it_from_being_made(
    settings, instance, monkeypatch
):
    def look(cursor):
        context = dg.build_sensor_context(instance=instance, cursor=cursor)
        return follow(context, Platform.open(settings)).skip_message, context.cursor

    def on_a_share(file, content, **how):
        write_file(file, content, **how)
        os.utime(file, (time.time() - 300,) * 2)

    monkeypatch.setattr("meso_assets.overview.refresh.write_file", on_a_share)
    _job().execute_in_process(instance=instance)
    told, cursor = look(None)
    assert told.startswith("the overview was made again")
    assert look(cursor) == ("no run has ended since the overview was made", cursor)
    late = datetime.now(UTC) - timedelta(minutes=8)
    with monkeypatch.context() as there:
        there.setattr("dagster._core.storage.runs.sql_run_storage.get_current_datetime", lambda: late)
        _job().execute_in_process(instance=instance)
    assert look(cursor)[0].startswith("the overview was made again"), "its end came last, by a time that came before"


def test_a_root_that_is_gone_is_told_and_the_sensor_tries_again(settings, instance):
    settings.root.rename(settings.root.with_name("away"))
    context = dg.build_sensor_context(instance=instance, cursor=None)
    told = follow(context, Platform.open(settings)).skip_message
    assert "could not be made" in told
    assert "MESO_ROOT" in told
    assert not context.cursor


def test_the_command_makes_it_and_prints_where_it_is(settings, monkeypatch):
    opened = []
    monkeypatch.setattr("click.launch", lambda url: opened.append(url) or 0)
    told = CliRunner().invoke(group, ["overview", "--open"])
    assert told.exit_code == 0, told.output
    file = Path(told.stdout.strip())
    assert file == overview_path(settings)
    assert len(values_of(file.read_text())["sessions"]) == len(KEYS)
    assert opened == [file.as_uri()]


def test_a_failed_attempt_never_hides_a_good_result():
    from meso_assets.defs.standing.summaries import AssetSummary, SessionSummary
    from meso_assets.runs.status.status import cells_of as judged

    good = AssetSummary(reasons=(), causes=(), is_made=True, published_at="2026-01-01T00:00:00+00:00")
    found = SessionSummary(KEYS[0], True, "", {"rois": good}, "key")
    by_state = {
        State.FAILED: (State.DONE, "last attempt failed: no memory"),
        State.INTERRUPTED: (State.DONE, "last attempt: no memory"),
        State.RUNNING: (State.RUNNING, "no memory"),
    }
    for state, shown in by_state.items():
        cells = {
            cell.asset: cell for cell in judged(found, KEYS[0], {"rois": Failure(state, "no memory", "run")}).cells
        }
        assert (cells["rois"].state, cells["rois"].why) == shown
        assert (cells["rois"].published_at, cells["rois"].attempt_run_id) == (good.published_at, "run")


def _job():
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def empty() -> None:
        nothing()

    return empty
