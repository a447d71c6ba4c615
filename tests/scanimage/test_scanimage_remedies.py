"""Each error of the room, met as a person meets it: what its remedy says leads to a result, or to another cause."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from remedies_of_headers import HEADERS
from remedies_of_metadata import METADATA
from remedies_of_references import REFERENCES
from remedies_of_tifs import SALVAGED, TIFS
from spoilt_session import ROOM, Spoilt, error_sites, process, site, write_session

from meso_core.errors import MesoError
from meso_core.scanimage import BoutSource, LocalTif, StreamedTif, bin_per_plane, load_session_metadata
from meso_core.session import raw_tifs

pytestmark = pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning")

CASES = {**TIFS, **HEADERS, **METADATA, **REFERENCES}
#: Raised for another function of the room, or handed on from one, which tells it in its own words.
INNER = Counter(
    {
        "metadata/parse.py: parse_session_metadata": 1,
        "metadata/patch.py: _number_slices": 1,
        "reference_images.py: _opened_stack": 1,
        "tiff/header.py: _tokens": 1,
        "tiff/header.py: _value": 1,
        "frames/stream.py: _Forward.blocks": 1,
        "tiff/pages.py: ScanImageTif.page": 1,
        # why a report has no movie: their remedies are followed in test_chosen_frames
        "frames/frame_reader.py: ChosenFrames.read": 1,
        "frames/frame_reader.py: ChosenFrames._of_one_tif": 1,
        "frames/frame_reader.py: _lines": 1,
    }
)


@pytest.fixture(scope="module")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rig") / "001"
    write_session(folder)
    return folder


@pytest.fixture
def spoilt(session_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spoilt:
    shutil.copytree(session_folder, tmp_path / "001")
    shutil.copytree(session_folder, tmp_path / "rig")
    return Spoilt(tmp_path / "001", monkeypatch)


@pytest.fixture(autouse=True, scope="module")
def no_waiting_for_the_disk():
    """Whether movies are flushed is asked elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


@pytest.mark.parametrize("name", CASES)
def test_following_the_remedy_leads_to_a_result(spoilt: Spoilt, name: str) -> None:
    case = CASES[name]
    case.spoil(spoilt)
    with pytest.raises(MesoError) as caught:
        case.attempt(spoilt)
    assert site(caught.value) == case.at
    assert case.says in str(caught.value)
    case.follow(spoilt)
    if case.then:
        with pytest.raises(MesoError, match=case.then):
            case.attempt(spoilt)
    else:
        assert case.attempt(spoilt) == case.left


@pytest.mark.parametrize("name", SALVAGED)
def test_whole_pages_of_a_damaged_tif_are_used_as_its_remedy_says(spoilt: Spoilt, name: str) -> None:
    at, spoil, is_stream, left = SALVAGED[name]
    spoil(spoilt)
    tif = StreamedTif(spoilt.tif.name, lambda: spoilt.tif.open("rb")) if is_stream else LocalTif(spoilt.tif)
    list(tif.blocks(1 << 20))
    assert tif.damage is not None
    assert site(tif.damage) == at
    spoilt.settings["damaged_frames"] = "refuse"
    with pytest.raises(MesoError, match=r"tif cut short.*set MESO_DAMAGED_FRAMES=salvage"):
        process(spoilt)
    spoilt.settings["damaged_frames"] = "salvage"
    assert process(spoilt) == left
    if is_stream:
        metadata = load_session_metadata(spoilt.session, **spoilt.settings)
        sources = [
            BoutSource(bout.name, [StreamedTif(p.name, lambda p=p: p.open("rb")) for p in raw_tifs(bout)])
            for bout in spoilt.bouts
        ]
        out = spoilt.session.with_name("streams")
        assert bin_per_plane(sources, metadata.imaging, out)[0].frames_per_bout == left


def test_each_error_of_the_room_has_its_case() -> None:
    """A new ``raise`` needs a row of the table: as many of a function as it has."""
    told = Counter(case.at for case in CASES.values()) + Counter(at for at, *_ in SALVAGED.values()) + INNER
    missing = Counter(error_sites()) - told
    assert not missing
    assert set(told) <= set(error_sites()), "rows of errors that are no more"


def test_no_remedy_of_the_room_is_a_check_that_leads_nowhere() -> None:
    texts = " ".join(path.read_text() for path in ROOM.rglob("*.py"))
    assert re.findall(r'remedy\w*\s*=\s*\(?\s*f?"(?:Check|Use the tifs|Look)[^"]*', texts, re.IGNORECASE) == []
