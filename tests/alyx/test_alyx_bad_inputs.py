"""What does not fit gets an error with a name, before anything is sent; what it says to do leads to a result."""

from __future__ import annotations

import dataclasses

import pytest

from meso_core.alyx import OwnFile, carry_out, register_fov, register_snapshots
from meso_core.errors import AlyxError, SettingsError, StalePlanError
from meso_core.session import SessionKey
from tests.alyx.ours import Ours, expected, held

NOTHING = {"stacks": [], "fovs": [], "locations": [], "datasets": [], "notes": []}


@pytest.fixture
def refused(site, ours, client):
    """Register; the error that comes, and that the server holds nothing of the session's part."""

    def attempt(session=ours, *parts, error=AlyxError):
        with pytest.raises(error) as caught:
            session.register(client(), *parts)
        found = held(site, session)
        assert {name: found[name] for name in NOTHING} == NOTHING
        assert "password" not in str(caught.value).lower()
        return str(caught.value)

    return attempt


@pytest.fixture
def finished(site, ours, client):
    """Register again after the remedy: all is there once."""

    def attempt(session=ours):
        session.register(client())
        assert held(site, session) == expected(session)

    return attempt


def test_a_session_that_the_server_does_not_have(site, ours, refused, finished):
    site.call("DELETE", f"/sessions/{ours.eid}")
    told = refused_without_session(ours, refused)
    assert "expected one session in Alyx, found 0 sessions" in told
    assert "Register the session first" in told
    finished(ours.other(eid=site.session(ours.key.subject, ours.key.date)))


def refused_without_session(ours, refused):
    """The rows of a session that is not there cannot be asked for: look at those of another one."""
    return refused(ours.other(eid=None))


def test_a_subject_that_the_server_does_not_have(site, ours, refused, finished, tmp_path):
    stranger = SessionKey(f"new_{site.tag}", ours.key.date, "001")
    there = ours.other(key=stranger, has_surgery=False, folder=tmp_path / "new")
    there.folder.mkdir()
    told = refused_without_session(there, refused)
    assert f"no subject {stranger.subject}" in told
    assert "Enter the subject in Alyx" in told
    site.subject(stranger.subject)
    finished(there.other(eid=site.session(stranger.subject, stranger.date)))


def test_a_session_of_another_date(site, ours, refused, finished):
    site.call("PATCH", f"/sessions/{ours.eid}", json={"start_time": "2024-03-02T10:00:00"})
    told = refused(ours)
    assert "2024-03-02" in told
    assert "correct its date in Alyx" in told
    site.call("PATCH", f"/sessions/{ours.eid}", json={"start_time": f"{ours.key.date}T10:00:00"})
    finished()


def test_two_sessions_that_match(site, ours, refused, finished):
    twin = site.session(ours.key.subject, ours.key.date)
    told = refused(ours)
    assert "2 sessions" in told
    assert twin in told
    assert ours.eid in told
    assert "Delete all but one of them" in told
    site.call("DELETE", f"/sessions/{twin}")
    finished()


def test_another_lab_than_that_of_the_folder(site, ours, refused, finished):
    elsewhere = ours.other(key=dataclasses.replace(ours.key, lab=f"other_{site.tag}"))
    told = refused(elsewhere)
    assert f"other_{site.tag}" in told
    assert site.lab in told
    assert "Correct the lab of the session in Alyx" in told
    site.call("POST", "/labs", json={"name": f"other_{site.tag}", "repositories": [site.repository]})
    site.call("PATCH", f"/sessions/{ours.eid}", json={"lab": f"other_{site.tag}"})
    finished(elsewhere)


def test_a_brain_region_that_the_server_does_not_have(site, ours, refused, finished, monkeypatch):
    with monkeypatch.context() as patch:
        located = ours.locations
        fovs = tuple(dataclasses.replace(f, brain_location_ids=(0, 999999999)) for f in located.fovs)
        strange = dataclasses.replace(located, fovs=fovs)
        patch.setattr(Ours, "locations", property(lambda _self: strange))
        told = refused(ours, "fovs")
    assert "999999999" in told
    assert "FOV_00" in told
    finished()


@pytest.mark.parametrize(
    ("path", "named", "enter"),
    [
        ("alf/FOV_00/mpci.novelty.npy", "mpci.novelty", ("/dataset-types", {"name": "mpci.novelty"})),
        ("alf/FOV_00/mpci.times.xyz9", ".xyz9", ("/data-formats", {"name": "xyz9", "file_extension": ".xyz9"})),
    ],
)
def test_a_dataset_whose_type_or_format_the_server_does_not_have(
    site, ours, refused, finished, monkeypatch, path, named, enter
):
    mine = ours.files
    more = dataclasses.replace(mine, files=(*mine.files, OwnFile(path, 3, "a" * 32, "fov_datasets", "1.2.3")))
    monkeypatch.setattr(Ours, "files", property(lambda _self: more))
    told = refused(ours, "datasets")
    assert path in told
    assert named in told
    assert "in Alyx" in told
    endpoint, record = enter
    site.call("POST", endpoint, json=record)
    try:
        finished()
    finally:
        if site.stand_in is None:  # the next test starts from a server without it
            for row in site.rows(f"datasets?session={ours.eid}"):
                site.call("DELETE", f"/datasets/{row['url'][-36:]}")
            site.call("DELETE", f"{endpoint}/{record['name']}")


def test_a_repository_that_the_server_does_not_have(site, ours, refused, finished):
    told = refused(ours.other(repository=f"shelf_{site.tag}"), "datasets", error=SettingsError)
    assert "MESO_ALYX_REPOSITORY" in told
    assert site.repository in told
    site.call("POST", "/data-repository", json={"name": f"shelf_{site.tag}"})
    finished()


def test_a_password_that_is_not_the_user_s(ours, client, finished):
    with pytest.raises(AlyxError, match="ALYX_PASSWORD") as caught:
        ours.register(client(password="wrong-words"))
    assert "wrong-words" not in str(caught.value)
    finished()


def test_a_user_without_rights(real_or_stand_in, site, ours, client, refused, finished):
    if site.stand_in is None:
        pytest.skip("a real server makes such users in its admin site only")
    site.stand_in.add_user("guest", "guest-words", public=True)
    with pytest.raises(AlyxError, match="ALYX_USER") as caught:
        ours.register(client(user="guest", password="guest-words"))
    assert "403" in str(caught.value)
    assert {name: held(site, ours)[name] for name in NOTHING} == NOTHING
    finished()


def test_a_user_whom_the_server_does_not_know(site, ours, client):
    with pytest.raises(AlyxError, match=f"nobody_{site.tag}"):
        ours.register(client(user=f"nobody_{site.tag}"))


@pytest.mark.parametrize("part", ["fovs", "datasets", "snapshots"])
def test_a_plan_that_is_older_than_what_the_server_holds(site, ours, client, finished, part):
    old = ours.parts(client())[part]()
    newer = ours.other(shift_um=7.0, content="second")
    newer.register(client(), part)
    with pytest.raises(StalePlanError, match="Make the plan again"):
        carry_out(old, client(), ours.folder)
    assert held(site, newer)[{"fovs": "locations", "datasets": "datasets", "snapshots": "notes"}[part]]
    finished()


def test_a_dataset_that_the_server_has_twice_is_named_and_the_rest_waits_until_one_is_deleted(
    site, ours, client, finished
):
    """Two workers of a server may make one file twice; every later registration of it is refused."""
    if site.stand_in is None:
        pytest.skip("a real server makes a file twice by chance only")
    ours.register(client(), "datasets")
    row = site.rows(f"datasets?session={ours.eid}")[0]
    record = site.stand_in.tables["datasets"].get(row["url"][-36:])
    twin = site.stand_in.tables["datasets"].add(**{k: v for k, v in record.items() if k != "id"})
    with pytest.raises(AlyxError, match="more than once") as caught:
        ours.other(content="second").register(client(), "datasets")
    assert twin["id"] in str(caught.value)
    assert "delete all but one" in str(caught.value)
    site.call("DELETE", f"/datasets/{twin['id']}")
    finished()


def test_an_address_with_a_password_in_it_is_refused_without_repeating_it(ours, client):
    from meso_core.alyx import connect

    with pytest.raises(SettingsError, match="ALYX_PASSWORD") as caught:
        connect("https://me:sesame@alyx.example.org", user="me", password="x")
    assert "sesame" not in str(caught.value)


def test_a_dry_run_needs_no_server(ours):
    assert register_fov(ours.metadata, ours.locations, session=ours.key).dry_run
    assert register_snapshots(ours.folder, session=ours.key).dry_run
