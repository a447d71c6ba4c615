"""What long work tells about itself."""

from __future__ import annotations

import pytest

from meso_core import progress


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when told to."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_tells_share_rate_and_time_left(clock):
    lines = []
    listen = progress.throttled(lines.append, every_s=5)
    for second in range(0, 21):
        listen(10 * second, 400, "frames registered")
        clock[0] += 1
    assert lines[0] == "frames registered: 50 of 400 (12%), 10/s, 35 s left"
    assert len(lines) == 4


def test_the_end_is_always_told(clock):
    lines = []
    listen = progress.throttled(lines.append, every_s=1000)
    listen(0, 3, "pages")
    clock[0] += 1.5
    listen(3, 3, "pages")
    assert lines == ["pages: 3 of 3 (100%), 2/s"]


def test_bytes_are_told_as_megabytes_and_a_changing_remark_does_not_start_anew(clock):
    lines = []
    listen = progress.throttled(lines.append, every_s=1)
    for second in range(3):
        listen(second * 10**7, 4 * 10**7, f"bytes compressed (to {60 - second} %)")
        clock[0] += 2
    assert lines == [
        "compressed (to 59 %): 10 of 40 MB (25%), 5.0 MB/s, 6 s left",
        "compressed (to 58 %): 20 of 40 MB (50%), 5.0 MB/s, 4 s left",
    ]


def test_bytes_of_something_are_told_as_that(clock):
    lines = []
    progress.throttled(lines.append)(10**7, 10**7, "bytes of tifs compared")
    assert lines == ["tifs compared: 10 of 10 MB (100%)"]


def test_the_same_work_on_several_things_says_on_which(clock):
    lines = []
    listen = progress.throttled(lines.append, every_s=1)
    for bout in ("raw_imaging_data_00", "raw_imaging_data_01"):
        for done in (0, 10**7):
            progress.about(bout, listen)(done, 10**7, "bytes compressed (to 60 %)")
            clock[0] += 2
    progress.about("", listen)(0, 4, "pages")
    clock[0] += 2
    progress.about("", listen)(4, 4, "pages")
    assert lines == [
        "compressed of raw_imaging_data_00 (to 60 %): 10 of 10 MB (100%), 5.0 MB/s",
        "compressed of raw_imaging_data_01 (to 60 %): 10 of 10 MB (100%), 5.0 MB/s",
        "pages: 4 of 4 (100%), 2/s",
    ]


def test_work_of_unknown_length_tells_what_is_done(clock):
    lines = []
    listen = progress.throttled(lines.append, every_s=1)
    listen(0, 0, "pages")
    clock[0] += 2
    listen(8, 0, "pages")
    assert lines == ["pages: 8, 4/s"]
