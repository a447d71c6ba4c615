"""What was registered, the real ``ONE`` in remote mode finds, lists and loads."""

from __future__ import annotations

import hashlib
import logging

import numpy as np
import pytest

from meso_core.alyx import OwnFile, OwnFiles, plan_datasets, register
from tests.alyx.ours import TODAY, Ours

FILES = {
    "alf/FOV_00/mpci.times.npy": np.arange(5.0),
    "alf/FOV_00/mpci.badFrames.npy": np.zeros(5, dtype=bool),
    "alf/FOV_01/mpci.times.npy": np.arange(5.0) + 1,
}


@pytest.fixture
def published(site, tmp_path):
    """A session below the lab's folder, as ONE wants it, with real files."""
    root = tmp_path / "data"
    ours = Ours.entered(site, root / site.lab / "Subjects", n_fovs=2)
    for path, content in FILES.items():
        file = ours.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, content)
    return ours


def register_files(ours, client):
    files = []
    for path in FILES:
        content = (ours.folder / path).read_bytes()
        files.append(OwnFile(path, len(content), hashlib.md5(content).hexdigest(), "fov_datasets", "1.2.3"))
    own = OwnFiles(str(ours.key), tuple(files), {})
    make = lambda: plan_datasets(own, client, repository=ours.repository, today=TODAY)  # noqa: E731
    return register(make, client, ours.folder)[1]


@pytest.fixture
def one(real_or_stand_in, site, published, tmp_path, monkeypatch, caplog):
    """The real client, which knows nothing but the server and the folder of the data."""
    caplog.set_level(logging.CRITICAL)  # it logs that the server has no cache tables, and goes on
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    api = pytest.importorskip("one.api")
    access = {"base_url": real_or_stand_in.url, "username": site.user, "password": site.password}
    return api.ONE(**access, cache_dir=tmp_path / "data", mode="remote", cache_rest=None, silent=True)


def test_datasets_are_listed_and_loaded(published, one, client):
    register_files(published, client())
    assert str(one.path2eid(published.folder)) == published.eid
    assert sorted(one.list_datasets(published.eid)) == sorted(FILES)
    assert sorted(one.list_collections(published.eid)) == ["alf/FOV_00", "alf/FOV_01"]
    np.testing.assert_array_equal(
        one.load_dataset(published.eid, "mpci.times", collection="alf/FOV_01"), np.arange(5.0) + 1
    )
    assert set(one.load_object(published.eid, "mpci", collection="alf/FOV_00")) == {"times", "badFrames"}


def test_sessions_are_found_by_what_was_registered(published, one, client):
    published.register(client(), "fovs")
    register_files(published, client())
    wanted = {"subject": published.key.subject}
    for query in (
        {"date_range": [published.key.date] * 2},
        {"datasets": "mpci.badFrames.npy"},
        {"atlas_acronym": "VISp"},
    ):
        assert [str(eid) for eid in one.search(**wanted, **query)] == [published.eid]
    assert one.search(**wanted, datasets="mpciROIs.uuids.csv") == []


def test_a_protected_dataset_and_its_revision_are_both_listed_and_the_new_one_is_loaded(site, published, one, client):
    path = "alf/FOV_00/mpci.times.npy"
    register_files(published, client())
    tag = f"paper_{site.tag}"
    site.call("POST", "/tags", json={"name": tag, "protected": True})
    (held,) = (
        r for r in site.rows(f"datasets?session={published.eid}&name=mpci.times.npy") if r["collection"] == "alf/FOV_00"
    )
    site.call("PATCH", f"/datasets/{held['url'][-36:]}", json={"tags": [tag]})
    np.save(published.folder / path, np.arange(5.0) * 2)
    outcome = register_files(published, client())
    (sent,) = (r for r in outcome.records if r.name == path)
    assert sent.path == f"alf/FOV_00/#{TODAY}#/mpci.times.npy"
    revised = published.folder / sent.path
    revised.parent.mkdir()
    np.save(revised, np.arange(5.0) * 2)
    assert set(one.list_datasets(published.eid, collection="alf/FOV_00")) == {
        "alf/FOV_00/mpci.badFrames.npy", path, sent.path
    }  # fmt: skip
    loaded = one.load_dataset(published.eid, "mpci.times", collection="alf/FOV_00")
    np.testing.assert_array_equal(loaded, np.arange(5.0) * 2)
