"""A destructive job starts only with the word that a dry run of just this told."""

import pytest

from meso_assets.defs.removal.confirmation import confirmation, insist_on_confirmation
from meso_core.errors import GateError

ASKED = [("raw_imaging_data_00/a.tif", 5), ("raw_imaging_data_00/b.tif", 6)]


def test_the_word_is_the_same_for_the_same_files_and_another_for_others(tmp_path):
    word = confirmation(tmp_path, "SP035/2023-03-03/001", ASKED)
    assert word == confirmation(tmp_path, "SP035/2023-03-03/001", ASKED[::-1])
    others = [
        confirmation(tmp_path, "SP035/2023-03-03/002", ASKED),
        confirmation(tmp_path, "SP035/2023-03-03/001", ASKED[:1]),
        confirmation(tmp_path, "SP035/2023-03-03/001", [*ASKED[:1], ("raw_imaging_data_00/b.tif", 7)]),
        confirmation(tmp_path / "other", "SP035/2023-03-03/001", ASKED),
    ]
    assert len({word, *others}) == 5, "of another platform too: nobody can work it out"


def test_nobody_else_may_read_what_the_word_is_made_with(tmp_path):
    confirmation(tmp_path, "SP035/2023-03-03/001", ASKED)
    (secret,) = tmp_path.iterdir()
    assert secret.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("given", ["", "abc", "é"])
def test_what_was_not_confirmed_is_refused_with_the_way_to_confirm_it(given):
    with pytest.raises(GateError, match="Run it as a dry run"):
        insist_on_confirmation(given, "0123456789ab", "SP035/2023-03-03/001")
    insist_on_confirmation(" 0123456789ab\n", "0123456789ab", "SP035/2023-03-03/001")
