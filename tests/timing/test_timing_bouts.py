"""Bouts on the DAQ's clock: from software events, and from gaps."""

import numpy as np
import pytest
from timing_rig import udp, write_events

from meso_core.errors import InputFileError, MesoWarning, TimingError
from meso_core.timing import SoftwareEvent, find_bouts, get_bout_edges, load_software_events

# three bouts of ten pulses, 0.1 s apart, that begin at 10, 20 and 30 s
PULSES = np.concatenate([start + np.arange(10) / 10 for start in (10.0, 20.0, 30.0)])
WHO = {"subject": "SP035", "date": "2023-03-03"}
ALL = [[10, 10.9], [20, 20.9], [30, 30.9]]


def edges_of(*events, pulses=PULSES, **kwargs):
    return find_bouts(pulses, [SoftwareEvent(*event) for event in events], **WHO, **kwargs)


def test_bouts_are_runs_of_pulses_without_a_long_gap():
    found = edges_of()
    assert found.source == "gaps"
    np.testing.assert_allclose(found.edges, ALL)


def test_a_gap_is_longer_than_the_limit():
    assert len(edges_of(min_gap=9.2).edges) == 1
    assert len(edges_of(min_gap=9.0).edges) == 3


@pytest.mark.parametrize(
    "events",
    [
        [("BlockStart", 9), ("BlockEnd", 12), ("BlockStart", 19), ("BlockEnd", 22), ("BlockStart", 29),
         ("BlockEnd", 32)],
        [("ExpStart", 5), ("BlockStart", 9), ("BlockEnd", 12), ("BlockStart", 19), ("BlockEnd", 22),
         ("BlockStart", 29), ("BlockEnd", 32), ("ExpEnd", 33)],
        [("ExpStart", 9), ("ExpEnd", 12), ("ExpStart", 19), ("ExpEnd", 22), ("ExpStart", 29), ("ExpEnd", 32)],
        [("ExpStart", 8), ("BlockStart", 9), ("BlockEnd", 12), ("ExpEnd", 13), ("ExpStart", 18), ("BlockStart", 19),
         ("BlockEnd", 22), ("ExpEnd", 23), ("ExpStart", 28), ("BlockStart", 29), ("BlockEnd", 32), ("ExpEnd", 33)],
        [("BlockStart", 9), ("BlockStart", 19), ("BlockStart", 29)],
        [("ExpStart", 5), ("BlockStart", 9), ("BlockStart", 19), ("BlockStart", 29), ("ExpEnd", 40)],
    ],
    ids=["blocks", "one-experiment", "an-experiment-each", "experiments-with-blocks", "no-ends", "only-the-last-end"],
)  # fmt: skip
def test_every_way_of_sending_events_finds_the_same_bouts(events):
    found = edges_of(*(udp(kind, time) for kind, time in events))
    assert found.source == "software events"
    np.testing.assert_allclose(found.edges, ALL)


@pytest.mark.parametrize(("n_first", "n_second"), [(15, 3), (15, 25), (4, 25)])
def test_events_tell_bouts_apart_that_no_gap_does(n_first, n_second):
    """The ends of the run of pulses, though near, are not taken for those of the other bout."""
    pulses = 10 + np.arange(n_first + n_second) / 10
    events = udp("BlockStart", 9.9), udp("BlockEnd", pulses[n_first - 1] + 0.05)
    events += udp("BlockStart", pulses[n_first] - 0.03), udp("BlockEnd", 14.5)
    found = edges_of(*events, pulses=pulses)
    np.testing.assert_allclose(found.edges, pulses[[[0, n_first - 1], [n_first, -1]]])


def test_a_pause_within_a_block_does_not_tear_it():
    found = edges_of(udp("BlockStart", 9), udp("BlockEnd", 24), udp("BlockStart", 29), udp("BlockEnd", 32))
    np.testing.assert_allclose(found.edges, [[10, 20.9], [30, 30.9]])


@pytest.mark.parametrize("late", [0.0, 0.35, 0.85])
def test_events_that_come_late_or_early_lose_no_pulse(late):
    events = [
        udp(kind, t) for s in (10, 20, 30) for kind, t in (("BlockStart", s + late), ("BlockEnd", s + 0.9 - late))
    ]
    events = [e for e in events if e[0]]
    if late > 0.45:  # a block must not end before it starts
        events = [e for e in events if "End" not in e[2]]
    np.testing.assert_allclose(edges_of(*events).edges, ALL)


def test_events_of_another_session_are_not_heeded_and_it_is_said():
    other = (9.0, "mpepUDP", "BlockStart SP099 20230303 1")
    with pytest.warns(MesoWarning, match="no Exp or Block event.*SP035"):
        found = edges_of(other)
    assert found.source == "gaps"


def test_other_messages_may_come_first():
    noise = (1.0, "mpepUDP", "hello"), (2.0, "other", "BlockStart SP035 20230303 1")
    found = edges_of(*noise, udp("BlockStart", 9), udp("BlockEnd", 12))
    np.testing.assert_allclose(found.edges, ALL[:1])


def test_a_block_without_a_pulse_is_left_out_with_a_warning():
    with pytest.warns(MesoWarning, match="no frame pulse"):
        found = edges_of(udp("BlockStart", 2), udp("BlockEnd", 4), udp("BlockStart", 9), udp("BlockEnd", 12))
    np.testing.assert_allclose(found.edges, ALL[:1])


@pytest.mark.parametrize(
    ("folders", "bouts"),
    [
        (["raw_imaging_data_00", "raw_imaging_data_01", "raw_imaging_data_02"], [0, 1, 2]),
        (["raw_imaging_data_00", "raw_imaging_data_02"], [0, 2]),
        (["raw_imaging_data_01"], [1]),
        (["raw_imaging_data"], [0]),
        (["raw_imaging_data_03", "raw_imaging_data_04", "raw_imaging_data_07"], [0, 1, 2]),
    ],
)
def test_a_folder_that_was_skipped_leaves_its_bout_out(folders, bouts):
    np.testing.assert_allclose(edges_of().of_folders(folders), np.array(ALL)[bouts])


@pytest.mark.parametrize("folders", [[f"raw_imaging_data_{i:02d}" for i in range(4)], ["raw_imaging_data_05"]])
def test_more_folders_than_bouts_are_an_error_that_shows_both(folders):
    with pytest.raises(TimingError, match="3 bouts on the DAQ"):
        edges_of().of_folders(folders)


def test_the_edges_of_the_folders_are_had_in_one_call():
    events = [
        SoftwareEvent(*udp(kind, t)) for t in (10, 20, 30) for kind, t in (("BlockStart", t), ("BlockEnd", t + 2))
    ]
    np.testing.assert_allclose(get_bout_edges(PULSES), ALL)
    np.testing.assert_allclose(get_bout_edges(PULSES, ["raw_imaging_data_02"], events, **WHO), ALL[2:])


def test_no_pulses_at_all_is_a_named_error():
    with pytest.raises(TimingError, match=r"found none.*MESO_FRAME_CHANNEL"):
        get_bout_edges(np.array([]))


def test_events_are_read_as_matlab_writes_them(tmp_path):
    write_events(
        tmp_path, [(3.5, "mpepUDP", "BlockEnd SP035 20230303 1"), (1.25, "mpepUDP", "ExpStart SP035 20230303 1")]
    )
    assert load_software_events(tmp_path) == (
        SoftwareEvent(1.25, "mpepUDP", "ExpStart SP035 20230303 1"),
        SoftwareEvent(3.5, "mpepUDP", "BlockEnd SP035 20230303 1"),
    )
    assert load_software_events(tmp_path / "none") == ()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("time\tname\n1\tx\n", "columns time, name"),
        ("", "(none)"),
        ("time\tname\tinfo\nsoon\tx\ty\n", "line 2.*'soon'"),
        ("time\tname\tinfo\n1\tx\n", "line 2.*incomplete row"),
        ("time\tname\tinfo\nnan\tx\ty\n", "line 2"),
        (b"\xff\xfe\x00", "does not parse"),
    ],
)
def test_a_damaged_event_log_is_named_with_its_line(tmp_path, text, match):
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "_timeline_softwareEvents.log.htsv").write_bytes(content)
    with pytest.raises(InputFileError, match=match):
        load_software_events(tmp_path)
