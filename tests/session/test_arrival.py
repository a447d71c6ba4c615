"""When a session counts as ready: a pure rule over a listing."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meso_core.session import GONE, ListedFile, judge_arrival
from meso_core.session.arrival import missing_parts, promised_folders

MINUTE = 60 * 10**9
NOW = 10**18
QUIET = 15 * MINUTE

TIF = "raw_imaging_data_00/2023-03-03_1_SP035_2P_00001_00001.tif"
DAQ = "raw_sync_data/_timeline_DAQdata.raw.npy"
PROMISE = {
    "devices": {"mesoscope": {"mesoscope": {"collection": "raw_imaging_data*"}}},
    "sync": {"timeline": {"collection": "raw_sync_data"}},
}


def listing(*paths, age_min=60.0):
    return [ListedFile(path, 1000, NOW - int(age_min * MINUTE)) for path in paths]


def ready(files, description=None):
    return judge_arrival(files, now_ns=NOW, quiet_ns=QUIET, description=description).ready


def test_the_flag_alone_makes_a_session_ready():
    assert ready(listing("raw_session.flag", age_min=0))


def test_what_comes_after_the_flag_must_be_quiet():
    flag, late = listing("raw_session.flag", TIF, DAQ), "raw_imaging_data_01/x.tif"
    told = judge_arrival([*flag, *listing(late, age_min=14)], now_ns=NOW, quiet_ns=QUIET)
    assert (told.ready, told.until_later) == (False, True)
    assert "14 min ago, and after raw_session.flag" in told.reason
    assert ready([*flag, *listing(late, age_min=15)])
    assert ready([*listing(late, age_min=0), *listing("raw_session.flag", age_min=0)]), "the flag came again"
    assert ready([*flag, *listing("raw_imaging_data_00/Thumbs.db", age_min=0)]), "no data"


def test_a_flag_and_files_of_the_same_moment_are_told_apart_by_no_coarse_clock():
    second = 10**9
    flag = ListedFile("raw_session.flag", 0, NOW - 10 * second)
    assert ready([flag, ListedFile(TIF, 1000, NOW - 8 * second)])
    assert not ready([flag, ListedFile(TIF, 1000, NOW - 8 * second + 1)])


def test_what_the_description_promises_must_be_present_and_quiet():
    assert ready(listing(TIF, DAQ), PROMISE)
    assert not ready(listing(TIF), PROMISE)
    assert not ready(listing(DAQ), PROMISE)
    assert not ready(listing(TIF, DAQ, age_min=14), PROMISE)


def test_one_file_that_still_changes_keeps_the_session_back():
    assert not ready([*listing(TIF, DAQ), *listing("raw_imaging_data_01/x.tif", age_min=1)], PROMISE)


def test_without_a_description_a_quiet_bout_is_enough():
    assert ready(listing(TIF))
    assert not ready(listing(DAQ))
    assert not ready(listing("raw_imaging_data_00/reference/referenceImage.raw.tif"))


def test_an_archived_bout_counts_as_imaging():
    assert ready(listing("raw_imaging_data_00/imaging.frames.tar.bz2"))


@pytest.mark.parametrize("ending", [".part", ".partial", ".filepart", ".crdownload", ".tmp", "~"])
@pytest.mark.parametrize("flag", [(), ("raw_session.flag",)])
def test_a_copy_that_goes_on_keeps_the_session_back_however_old_it_is(ending, flag):
    files = listing(TIF, DAQ, *flag, f"raw_imaging_data_00/late_00002.tif{ending}", age_min=10**6)
    told = judge_arrival(files, now_ns=NOW, quiet_ns=QUIET)
    assert not told.ready
    assert f"late_00002.tif{ending}" in told.reason
    assert "delete" in told.reason
    assert ready(files[:-1]), "the remedy"


def test_what_is_ignored_neither_makes_a_session_whole_nor_keeps_it_back():
    litter = [path for folder in ("raw_imaging_data_00", "raw_sync_data") for path in (f"{folder}/.DS_Store",)]
    assert not ready([*listing("raw_imaging_data_00/._x.tif", *litter)], PROMISE)
    assert not ready([*listing(TIF), *listing(*litter)], PROMISE)
    assert ready([*listing(TIF, DAQ), *listing(*litter, "raw_imaging_data_00/@eaDir/x.tif", age_min=0)], PROMISE)


def test_a_link_to_nothing_keeps_the_session_back_and_is_named():
    files = [*listing("raw_session.flag", TIF), ListedFile("raw_imaging_data_00/x_00002.tif", GONE, 0)]
    told = judge_arrival(files, now_ns=NOW, quiet_ns=QUIET)
    assert not told.ready
    assert "raw_imaging_data_00/x_00002.tif" in told.reason


def test_a_file_from_the_future_is_told_and_not_trusted():
    told = judge_arrival(listing(TIF, age_min=-90), now_ns=NOW, quiet_ns=QUIET)
    assert not told.ready
    assert "clocks" in told.reason


def test_the_reason_names_what_is_missing():
    assert "raw_sync_data" in judge_arrival(listing(TIF), now_ns=NOW, quiet_ns=QUIET, description=PROMISE).reason


def test_the_real_description_of_a_rig_promises_imaging_and_sync(real_data):
    text = (real_data / "headers" / "iblscripts_mesoscope__ibl_experiment.description.yaml").read_text()
    assert promised_folders(yaml.safe_load(text)) == ("raw_imaging_data*", "raw_sync_data")
    assert missing_parts({TIF, DAQ}, yaml.safe_load(text)) == ()


@pytest.mark.parametrize("odd", [{}, {"devices": None}, {"devices": {"mesoscope": "yes"}}, {"sync": ["timeline"]}])
def test_an_odd_description_promises_nothing(odd):
    assert promised_folders(odd) == ()


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=6), st.integers(0, 20))
def test_a_session_without_flag_becomes_ready_as_the_youngest_file_comes_of_age(ages, minutes_later):
    """At the moment when the youngest file is as old as the quiet period, and from then on; never a minute before."""
    files = [file for age in ages for file in listing(TIF, age_min=age)]
    wait = max(0, 15 - min(ages))
    at = NOW + minutes_later * MINUTE
    assert judge_arrival(files, now_ns=at, quiet_ns=QUIET).ready == (minutes_later >= wait)
