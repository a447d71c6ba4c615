"""A reference image is taken just before its bout, after the bout before it began."""

from datetime import datetime, timedelta

import pytest

from meso_core.qc import Verdict
from meso_core.scanimage import load_session_metadata
from meso_core.scanimage.reference_checks import check_references, taken_at


@pytest.fixture(scope="module")
def bouts(tiny_session):
    return load_session_metadata(tiny_session.session_path).bouts


def verdict(bouts, bout, when):
    (result,) = check_references([(bouts[bout].name, when)], bouts)
    return result.verdict


def test_the_simulated_ones_are_of_their_bouts(tiny_session, bouts):
    for number, bout in enumerate(bouts):
        (raw,) = (tiny_session.session_path / bout.name / "reference").glob("*.tif")
        assert verdict(bouts, number, taken_at(raw)) is Verdict.PASS


@pytest.mark.parametrize(
    ("bout", "seconds", "expected"),
    [(0, -1, "PASS"), (0, -7199, "PASS"), (0, -7201, "WARNING"), (0, 1, "WARNING"), (0, -86400, "WARNING"),
     (1, -1, "PASS"), (1, 1, "WARNING")],
)  # fmt: skip
def test_one_that_was_taken_at_another_time_is_doubted(bout, seconds, expected, bouts):
    when = bouts[bout].imaging.acquisition_start + timedelta(seconds=seconds)
    assert verdict(bouts, bout, when).name == expected


def test_one_of_the_bout_before_is_doubted(bouts):
    assert verdict(bouts, 1, bouts[0].imaging.acquisition_start - timedelta(seconds=1)) is Verdict.WARNING


def test_one_that_tells_no_time_is_doubted(bouts, tmp_path):
    (tmp_path / "x.tif").write_bytes(b"no tif")
    assert taken_at(tmp_path / "x.tif") is None
    assert verdict(bouts, 0, None) is Verdict.WARNING
    assert verdict(bouts, 0, datetime(1, 1, 1)) is Verdict.WARNING
