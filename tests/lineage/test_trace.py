"""Where a file comes from, back to the rig, and what was made from it: as values, as a picture, as an RO-Crate."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree
from hashlib import sha256

import pytest

from meso_core.errors import MissingInputError, StorageError
from meso_core.lineage import lineage_svg, trace, write_crate
from meso_core.session import ListedFile
from meso_core.storage import standing
from tests.lineage.recorded import ASSETS, Recorded, overwrite
from tests.present_files import files_in

CELLS = "alf/FOV_00/cells.npy"
RAW = ("f" * 64, (ListedFile("raw_imaging_data_00/a.tif", 3, 1),))


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def recorded(tmp_path) -> Recorded:
    return Recorded(tmp_path / "root").make_all("first")


def follow(recorded, subject=CELLS, raw=RAW):
    made = recorded.manifests()
    standings = {name: standing(files_in(recorded.path), made.get(name), recorded.basis(name)) for name in ASSETS}
    return trace(recorded.session, subject, standings, {"raw_frames": raw})


def assets(steps):
    return [step.asset for step in steps]


def test_a_file_is_followed_back_to_the_rig_and_an_asset_onward(recorded):
    found = follow(recorded)
    assert assets(found.steps) == ["metadata", "movies", "cells"]
    assert (assets(found.onward), [raw.name for raw in found.raw]) == ([], ["raw_frames"])
    assert found.file.sha256 == sha256((recorded.path / CELLS).read_bytes()).hexdigest()
    onward = follow(recorded, "metadata")
    assert (assets(onward.steps), assets(onward.onward)) == (["metadata"], ["movies", "cells"])
    assert onward.file is None


def test_a_step_names_the_records_of_its_inputs(recorded):
    found = follow(recorded)
    digests = {step.asset: sha256(recorded.record(step.asset).read_bytes()).hexdigest() for step in found.steps}
    assert {step.asset: step.manifest.digest for step in found.steps} == digests
    assert found.steps[-1].inputs == {name: digests[name] for name in ("metadata", "movies")}


def test_an_input_that_was_replaced_is_followed_into_the_history(recorded):
    before = recorded.manifests()["metadata"]
    recorded.make("metadata", "second")
    found = follow(recorded)
    old = found.steps[0]
    assert (old.manifest, old.is_replaced, old.reasons) == (before, True, ())
    assert "metadata has changed" in found.steps[-1].reasons[0]
    assert follow(recorded, "metadata").onward == (), "of the new one, nothing was made"


def test_raw_files_that_are_others_now_are_told(recorded):
    (raw,) = follow(recorded, raw=("0" * 64, RAW[1])).raw
    assert (raw.version, raw.is_same) == ("f" * 64, False)
    assert follow(recorded).raw[0].is_same


@pytest.mark.parametrize(
    ("subject", "found"), [("alf/none", "no such file"), ("raw_imaging_data_00/a.tif", "a file that no record names")]
)
def test_a_file_of_no_record_is_a_named_error(recorded, subject, found):
    with pytest.raises(MissingInputError, match=found):
        follow(recorded, subject)


def test_an_asset_that_was_not_made_is_a_named_error(tmp_path):
    with pytest.raises(MissingInputError, match="meso run SP035/2023-03-03/001 --assets cells"):
        follow(Recorded(tmp_path), "cells")


def test_the_record_of_a_lineage_is_json(recorded):
    body = json.loads(json.dumps(follow(recorded).as_record()))
    assert [step["asset"] for step in body["steps"]] == ["metadata", "movies", "cells"]
    assert body["steps"][2]["made_by"]["host"] == "rig"


def boxes(svg):
    """Texts of each box, and its rectangle."""
    namespace = "{http://www.w3.org/2000/svg}"
    found = {}
    for group in ElementTree.fromstring(svg).iter(f"{namespace}g"):
        rect = group.find(f"{namespace}rect").attrib
        texts = [text.text or "" for text in group.findall(f"{namespace}text")]
        found[texts[0]] = (texts, [float(rect[side]) for side in ("x", "y", "width", "height")], rect["fill"])
    return found


def test_the_picture_has_a_box_for_each_step_and_none_lies_on_another(recorded):
    found = boxes(lineage_svg(follow(recorded)))
    assert set(found) == {"raw_frames", "metadata", "movies", "cells"}
    columns = [found[name][1][0] for name in ("raw_frames", "metadata", "movies", "cells")]
    assert columns == sorted(set(columns)), "from left to right"
    places = [place for _, place, _ in found.values()]
    for i, (x, y, width, height) in enumerate(places):
        for x1, y1, *_ in places[i + 1 :]:
            assert abs(x - x1) >= width or abs(y - y1) >= height


def test_what_is_stale_looks_otherwise_and_says_why(recorded):
    recorded.make("metadata", "second")
    found = boxes(lineage_svg(follow(recorded)))
    fills = {name: fill for name, (_, _, fill) in found.items()}
    assert len({fills["cells"], fills["metadata"], fills["raw_frames"]}) == 3
    assert any(text.startswith("stale: metadata has changed") for text in found["cells"][0])


def test_the_picture_holds_any_name(recorded):
    recorded.make("movies", "<&>")
    assert boxes(lineage_svg(follow(recorded)))


def crate(recorded, tmp_path, subject=CELLS):
    folder = tmp_path / "crate"
    body = json.loads(write_crate(recorded.session, follow(recorded, subject), folder).read_text())
    return folder, {entity["@id"]: entity for entity in body["@graph"]}


def test_a_crate_holds_the_file_and_the_records_as_they_are(recorded, tmp_path):
    folder, entities = crate(recorded, tmp_path)
    assert (folder / CELLS).read_bytes() == (recorded.path / CELLS).read_bytes()
    for entity in entities.values():
        if entity["@type"] == "File" and not entity["@id"].startswith("ni:"):
            assert sha256((folder / entity["@id"]).read_bytes()).hexdigest() == entity["sha256"]


def test_each_step_of_a_crate_names_what_it_read_made_and_used_and_all_of_it_is_described(recorded, tmp_path):
    _, entities = crate(recorded, tmp_path)
    actions = {one["name"]: one for one in entities.values() if one["@type"] == "CreateAction"}
    assert set(actions) == {"Make metadata", "Make movies", "Make cells"}
    names = {key: entity.get("name") for key, entity in entities.items()}
    assert {names[one["@id"]] for one in actions["Make cells"]["object"]} == {
        "alf/_meta.json",
        "suite2p/plane0/movie.bin",
        "suite2p/plane1/movie.bin",
    }
    assert CELLS in {one["@id"] for one in actions["Make cells"]["result"]}
    for entity in entities.values():
        for value in entity.values():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, dict) and not one["@id"].startswith("https://w3id.org/ro/"):
                    assert one["@id"] in entities or one["@id"].startswith("https://")


def test_a_crate_is_not_written_over_something(recorded, tmp_path):
    crate(recorded, tmp_path)
    with pytest.raises(StorageError, match="an empty folder"):
        crate(recorded, tmp_path)


def test_a_file_that_was_changed_since_does_not_go_into_a_crate(recorded, tmp_path):
    overwrite(recorded.path / CELLS, b"other".ljust(64))
    with pytest.raises(StorageError, match=r"cells\.npy: expected .* as it was published"):
        crate(recorded, tmp_path)
