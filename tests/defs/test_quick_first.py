"""What is quick goes first: of all sessions, and before the long work of its own; and no session is stuck by it."""

from dataclasses import replace

import pytest

from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.jobs import TIME_AND_PLACE_SESSION, session_jobs
from meso_assets.defs.sensors.sensors import requests
from meso_assets.defs.standing.quick import LONG, QUICK, QUICK_ASSETS, WORK, quick_part, tags_of_work
from meso_assets.defs.standing.standings import with_downstream
from meso_assets.defs.standing.summaries import AssetSummary, SessionSummary
from meso_assets.runs.settings.settings import load_settings

MISSING, CURRENT = AssetSummary(), AssetSummary(reasons=(), causes=(), is_made=True)
OLD_CODE = AssetSummary(reasons=("code version 1 → 2",), causes=("making",), is_made=True)
LONG_ASSETS = {*CATALOGUE} - {*QUICK_ASSETS}


class Lab:
    """Sessions by name, and a sensor that looks at them tick after tick; runs end when they are told to."""

    def __init__(self, n_sessions, tmp_path, **settings):
        self.settings = load_settings({"home": tmp_path / "home", "root": tmp_path, **settings})
        self.due = {f"SP035/2023-03-03/{n:03d}": dict.fromkeys(CATALOGUE, MISSING) for n in range(1, n_sessions + 1)}
        #: What the rig gave: quick keys follow from it.
        self.given = dict.fromkeys(self.due, 0)
        self.asked, self.at_work = set(), {}

    def state(self, key):
        due = self.due[key]
        told = f"{key}:{self.given[key]}:{','.join(due)}"
        quick = f"{key}:{self.given[key]}:quick"
        return SessionSummary(key, True, "because", {**dict.fromkeys(CATALOGUE, CURRENT), **due}, told, quick)

    def tick(self):
        """Look once; what is asked for is at work from then on. Returns session → assets, in order."""
        states = [self.state(key) for key in self.due]
        runs = requests(states, [*self.due], self.asked, self.settings, {*self.at_work}).run_requests
        assert len({run.partition_key for run in runs}) == len(runs), "one run of a session at a time"
        assert not {run.partition_key for run in runs} & {*self.at_work}
        assert not {run.run_key for run in runs} & self.asked
        self.asked |= {run.run_key for run in runs}
        for run in runs:
            self.at_work[run.partition_key] = {key.to_user_string() for key in run.asset_selection}
        return {run.partition_key: run for run in runs}

    def end(self, key, failing=()):
        """Let the run of a session end: what fails, and what reads it, is not made."""
        without = {*with_downstream(failing)}
        for asset in self.at_work.pop(key) - without:
            self.due[key].pop(asset, None)

    def live(self, failing=(), ticks=20):
        """Let runs end between the ticks until none is asked for; returns key, assets and tags of each."""
        asked = []
        for _ in range(ticks):
            if not (ran := self.tick()):
                return asked
            asked += [(run.run_key, frozenset(self.at_work[key]), run.tags) for key, run in ran.items()]
            for key in ran:
                self.end(key, failing)
        raise AssertionError(f"there is no end to it: {asked[-3:]}")


@pytest.fixture
def lab(tmp_path):
    return lambda n_sessions=1, **settings: Lab(n_sessions, tmp_path, **settings)


def kinds(asked):
    return [tags[WORK] for *_, tags in asked]


def test_of_all_new_sessions_what_is_quick_is_asked_for_first_and_goes_before_what_waits(lab):
    many = lab(20, scan_max_runs=20)
    first = many.tick()
    assert len(first) == 20
    for run in first.values():
        assert {key.to_user_string() for key in run.asset_selection} == {*QUICK_ASSETS}
        assert (run.tags[WORK], run.tags["dagster/priority"]) == (QUICK, "1")
        assert run.tags["meso/why"].startswith("quick results first; imaging_metadata: not made yet")
    assert many.tick() == {}, "all are at work"
    for key in [*many.due][:3]:
        many.end(key)
    then = many.tick()
    assert [*then] == [*many.due][:3]
    for run in then.values():
        assert {key.to_user_string() for key in run.asset_selection} == LONG_ASSETS
        assert run.tags[WORK] == LONG
        assert "dagster/priority" not in run.tags
        assert not run.tags["meso/why"].startswith("quick")


def test_a_tick_asks_for_no_more_runs_than_allowed_quick_ones_first_and_one_long_one(lab):
    many = lab(20, scan_max_runs=5)
    assert kinds((0, run.tags) for run in many.tick().values()) == [QUICK] * 5
    for key in [*many.at_work]:
        many.end(key)
    second = many.tick()
    assert kinds((0, run.tags) for run in second.values()) == [QUICK] * 4 + [LONG], "the machine does not idle"
    assert [*second][-1] == next(iter(many.due)), "the oldest"
    one = lab(2, scan_max_runs=1)
    for wanted in (QUICK, QUICK, LONG, LONG):
        (run,) = one.tick().values()
        assert run.tags[WORK] == wanted
        one.end(run.partition_key)


def test_where_quick_ones_are_all_asked_for_long_ones_have_all_places_of_a_tick(lab):
    many = lab(10, scan_max_runs=5)
    kinds_of_ticks = []
    while ran := many.tick():
        kinds_of_ticks.append([run.tags[WORK] for run in ran.values()])
        for key in ran:
            many.end(key)
    assert [one.count(QUICK) for one in kinds_of_ticks] == [5, 4, 1, 0]
    assert [one.count(LONG) for one in kinds_of_ticks] == [0, 1, 4, 5]


def test_a_session_whose_quick_run_has_not_ended_is_not_asked_for_its_long_one(lab):
    one = lab()
    (key,) = one.tick()
    one.due[key].pop("imaging_metadata")  # made while it goes on
    assert one.tick() == {}
    one.end(key)
    assert [*one.tick()] == [key]


@pytest.mark.parametrize("failing", QUICK_ASSETS)
def test_where_something_quick_fails_the_long_run_follows_and_nothing_is_asked_for_without_end(lab, failing):
    one = lab()
    (key,) = one.due
    asked = one.live([failing])
    assert kinds(asked)[:2] == [QUICK, LONG]
    assert [run_key.endswith(":quick") for run_key, *_ in asked].count(True) == 1, "once, and then with the long work"
    assert {*one.due[key]} <= {*with_downstream([failing])}, "what does without is made"


def test_a_quick_run_of_which_nothing_came_lets_the_long_one_follow(lab):
    """It was killed, say, or somebody stopped it."""
    one = lab()
    (key,) = one.tick()
    one.end(key, failing=CATALOGUE)
    (run,) = one.tick().values()
    assert {name.to_user_string() for name in run.asset_selection} == {*CATALOGUE}
    one.end(key, failing=CATALOGUE)
    assert one.tick() == {}


def test_a_bout_that_comes_late_is_quick_first_again(lab):
    one = lab()
    assert kinds(one.live()) == [QUICK, LONG]
    (key,) = one.due
    one.given[key] += 1
    one.due[key] = dict.fromkeys(("imaging_metadata", "imaging_frames_archive", "motion_registered_frames"), MISSING)
    asked = one.live()
    assert kinds(asked) == [QUICK, LONG]
    assert asked[0][1] == {*QUICK_ASSETS} & {*with_downstream(["imaging_metadata"])}


@pytest.mark.parametrize(
    ("due", "tags"),
    [
        (("rois",), [LONG]),
        (("session_report",), [LONG]),
        (("alyx_snapshots",), [QUICK]),
        (("frame_times",), [QUICK, LONG]),
        (("mean_image_mlapdv", "rois"), [QUICK, LONG]),
    ],
)
def test_a_session_has_two_runs_only_where_it_has_both_kinds_of_work(lab, due, tags):
    one = lab()
    (key,) = one.due
    one.due[key] = dict.fromkeys(due, MISSING)
    asked = []
    while ran := one.tick():
        asked += [run.tags[WORK] for run in ran.values()]
        assets = {*one.at_work[key]}
        one.end(key)
        if asked[-1] == QUICK and assets & {*due}:  # another content: what reads it is due
            one.due[key] |= dict.fromkeys({*with_downstream(due)} - assets, MISSING)
    assert asked == tags


def test_what_was_tried_before_gets_no_quick_run_of_its_own(lab):
    """A session that failed under an earlier version, say: its run is known, and nothing of it has changed."""
    one = lab()
    (key,) = one.due
    one.due[key] = {"frame_times": MISSING, "rois": MISSING}
    one.asked.add(one.state(key).run_key)
    assert all("quick" not in run.run_key for run in one.tick().values())


def test_old_code_alone_asks_for_nothing_quick_or_long(lab):
    one = lab()
    (key,) = one.due
    one.due[key] = {"frame_times": OLD_CODE, "rois": OLD_CODE}
    assert one.tick() == {}
    wanted = lab(rerun_stale=True)
    wanted.due[key] = {"frame_times": OLD_CODE, "rois": OLD_CODE}
    assert [run.tags[WORK] for run in wanted.tick().values()] == [QUICK]


def test_what_reads_something_long_that_is_due_is_not_quick(monkeypatch):
    assert quick_part(CATALOGUE) == QUICK_ASSETS
    assert quick_part(["rois"]) == ()
    reads_cells = replace(CATALOGUE["alyx_fov_records"], upstream=("mean_image_mlapdv", "rois"))
    monkeypatch.setitem(CATALOGUE, "alyx_fov_records", reads_cells)
    assert "alyx_fov_records" not in quick_part(CATALOGUE)
    assert quick_part(["mean_image_mlapdv", "rois"]) == ("mean_image_mlapdv",)
    assert quick_part(["alyx_fov_records"]) == ("alyx_fov_records",), "nothing long is due"


def test_an_asset_stands_behind_what_it_reads_in_the_catalogue():
    names = [*CATALOGUE]
    assert all(names.index(other) < n for n, name in enumerate(names) for other in CATALOGUE[name].upstream)


def test_the_quick_job_is_quick_and_the_whole_one_says_nothing():
    tags = {job.name: job.tags for job in session_jobs}
    assert tags[TIME_AND_PLACE_SESSION].items() >= tags_of_work(QUICK_ASSETS).items()
    assert [WORK in told for name, told in tags.items() if name != TIME_AND_PLACE_SESSION] == [False]
