"""Several disks and servers as one: a session is of the root in which it stands, one that is away stops no other."""

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import replace
from itertools import product

import dagster as dg
import pytest
from click.testing import CliRunner

from meso_assets.cli import group
from meso_assets.defs.lineage.traces import located
from meso_assets.defs.notices.digest import gather
from meso_assets.defs.notices.ledger import Ledger
from meso_assets.defs.sensors.sensors import scan
from meso_assets.io.resources import Platform
from meso_assets.io.session_names import known_sessions
from meso_assets.overview.refresh import overview_of
from meso_assets.runs.choosing import Wanted
from meso_assets.runs.many import wanted_sessions
from meso_assets.runs.settings.settings import load_settings
from meso_assets.runs.status.cells import State
from meso_core.errors import InputFileError, MesoWarning, MissingInputError, SettingsError, StorageError
from meso_core.session import SessionKey
from meso_core.simulate import simulate_session
from meso_core.storage import verify_manifest
from meso_core.storage.remote import open_root
from meso_core.storage.remote.sessions.store import RemoteFolders
from meso_core.storage.remote.transfers.transfer import write_small
from tests.short_session import short

HERE, THERE = SessionKey.parse("SPA/2023-03-03/001"), SessionKey.parse("SPB/2023-03-03/001")
QUICK = ("imaging_metadata", "frame_qc")


@pytest.fixture
def disks(tmp_path):
    """Two disks, each with a session of a whole bout."""
    disks = tmp_path / "disk1", tmp_path / "disk2"
    for disk, key in zip(disks, (HERE, THERE), strict=True):
        raw(disk / str(key))
    return disks


@pytest.fixture
def settings(disks, make_settings, tmp_path, monkeypatch):
    settings = make_settings(tmp_path, root=list(disks))
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    return settings


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def raw(folder):
    (folder / "raw_imaging_data_00").mkdir(parents=True)
    (folder / "raw_imaging_data_00/x.tif").write_bytes(b"tif")
    (folder / "raw_session.flag").touch()


def meso(*arguments):
    return CliRunner().invoke(group, list(arguments))


def ticked(settings, instance):
    result = scan(dg.build_sensor_context(instance=instance), Platform.open(settings))
    assert isinstance(result, dg.SensorResult), result
    for request in result.dynamic_partitions_requests or ():
        instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
    return {run.partition_key for run in result.run_requests or ()}


@contextmanager
def unplugged(disk, how):
    away = disk.with_name("away")
    disk.rename(away)
    if how == "an empty place of a disk":
        disk.mkdir()
    yield
    if disk.exists():
        disk.rmdir()
    away.rename(disk)


@pytest.mark.parametrize("ways", ["in a variable", "in the file"])
def test_roots_are_read_from_a_variable_and_from_the_file_alike(ways, tmp_path, monkeypatch):
    one, other = tmp_path / "a", "s3://bucket/lab"
    if ways == "in a variable":
        monkeypatch.setenv("MESO_ROOT", f"{one} ; {other}/")
    else:
        (tmp_path / "meso.toml").write_text(f"root = {json.dumps([str(one), other])}\n")
        monkeypatch.setenv("MESO_SETTINGS", str(tmp_path / "meso.toml"))
    settings = load_settings()
    assert settings.root == settings.roots == (one, other)
    assert load_settings({"root": settings.as_environment()["MESO_ROOT"]}).root == settings.root
    assert Platform.open(settings).settings.root == settings.root


def test_one_root_stays_what_it_was(tmp_path):
    for given in (tmp_path, str(tmp_path), [tmp_path], f"file://{tmp_path}"):
        settings = load_settings({"root": given})
        assert (settings.root, settings.roots) == (tmp_path, (tmp_path,))
        assert settings.as_environment()["MESO_ROOT"] == str(tmp_path)
        assert settings.store().root == str(tmp_path)


@pytest.mark.parametrize(
    ("roots", "why"),
    [
        ("/a;/a/b", "/a/b lies in /a"),
        ("/a;/b;/a", "/a lies in /a"),
        ("s3://lab;s3://lab/more", "lies in s3://lab"),
        ("/a; ", "empty"),
        ([], "empty"),
        (["/a;b", "/c"], "separates roots"),
        ("/a;ftp://x/y", "the scheme 'ftp'"),
    ],
)
def test_roots_that_would_be_found_twice_or_mean_nothing_are_refused(roots, why):
    with pytest.raises(SettingsError, match="root") as refused:
        load_settings({"root": roots})
    assert why in str(refused.value)


def test_sessions_of_all_roots_arrive_and_are_shown(settings, disks, instance):
    assert ticked(settings, instance) == known_sessions(instance) == {HERE.name, THERE.name}
    page = overview_of(settings, instance)
    assert {one.session: one.place for one in page.sessions} == {
        HERE.name: f"{disks[0]}/{HERE}",
        THERE.name: f"{disks[1]}/{THERE}",
    }
    told = meso("scan")
    assert (told.exit_code, told.output.splitlines()[-1]) == (0, "2 ready")
    told = meso("status", f"{disks[1]}/SPB")
    assert "1 of 2 sessions" in told.output
    assert all(f"disk of {disk}: " in told.output for disk in disks)


def test_a_session_is_found_by_its_folder_below_any_root_and_a_file_tells_its_session(settings, disks):
    platform = Platform.open(settings)
    assert platform.named(f"{disks[1]}/{THERE}") == THERE
    session, file = located(platform, f"{disks[1]}/{THERE}/raw_imaging_data_00/x.tif", "")
    assert (session.key, session.where().rstrip("/")) == (THERE, f"{disks[1]}/{THERE}")
    assert file == "raw_imaging_data_00/x.tif"


@pytest.mark.parametrize("how", ["no folder", "an empty place of a disk"])
def test_a_disk_that_is_away_keeps_its_own_sessions_alone_from_being_looked_at(settings, disks, instance, how):
    ticked(settings, instance)
    word = "no such folder" if how == "no folder" else "is its disk mounted?"
    late = SessionKey.parse("SPA/2023-03-04/001")
    raw(disks[0] / str(late))
    with unplugged(disks[1], how):
        assert ticked(settings, instance) == {HERE.name, late.name}
        page = overview_of(settings, instance)
        (lost,) = (one for one in page.sessions if one.session == THERE.name)
        assert "its disk cannot be reached" in lost.cells[0].why
        assert word in lost.cells[0].why
        assert lost.standing == "unreadable"
        assert [passed.path for passed in page.passed_over] == [str(disks[1])]
        told = meso("scan")
        assert (told.exit_code, told.output.splitlines()[-1]) == (1, "2 ready, 1 unreadable")
        with pytest.raises(StorageError, match="none on the disks that can be reached") as refused:
            Platform.open(settings).session(THERE.name, instance)
        assert word in str(refused.value)
        assert Platform.open(settings).session(HERE.name, instance).key == HERE
        audited = meso("audit")
        assert (audited.exit_code, audited.output.splitlines()[-1]) == (1, "0 of 2 sessions with findings")
        assert f"{disks[1]}: " in audited.output
    assert ticked(settings, instance) == {HERE.name, late.name, THERE.name}
    assert known_sessions(instance) == {HERE.name, late.name, THERE.name}


def test_a_tick_is_skipped_where_no_root_can_be_listed(settings, disks, instance):
    with unplugged(disks[0], ""), unplugged_too(disks[1]):
        result = scan(dg.build_sensor_context(instance=instance), Platform.open(settings))
        assert isinstance(result, dg.SkipReason)
        with pytest.raises(MissingInputError, match="a root that can be listed"):
            overview_of(settings, instance)


@contextmanager
def unplugged_too(disk):
    disk.rename(disk.with_name("away too"))
    yield
    disk.with_name("away too").rename(disk)


def test_a_disk_that_comes_back_brings_nothing_new(settings, disks, instance, tmp_path):
    platform = Platform.open(settings)
    first = gather(platform, instance, Ledger(tmp_path, ""))
    with unplugged(disks[1], ""):
        away = gather(platform, instance, Ledger(tmp_path, "", digest_at="2023-03-05T08:00:00", known=first.keys))
    assert any(str(disks[1]) in line for line in away.passed_over)
    back = gather(platform, instance, Ledger(tmp_path, "", digest_at="2023-03-06T08:00:00", known=away.keys))
    assert not back.arrived


def test_a_server_that_does_not_answer_stops_no_session_of_a_disk(
    disks, make_settings, tmp_path, instance, monkeypatch
):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    settings = make_settings(tmp_path, root=[disks[0], "s3://nobody/there"])
    assert ticked(settings, instance) == {HERE.name}
    with pytest.warns(MesoWarning, match="s3://nobody/there: cannot be reached"):
        assert settings.store().sessions() == (HERE,)


def test_a_session_of_two_roots_is_refused_by_name_and_shown_with_both_folders(settings, disks, instance):
    ticked(settings, instance)
    shutil.copytree(disks[1] / "SPB", disks[0] / "SPB")
    folders = {f"{disk}/{THERE}" for disk in disks}
    assert ticked(settings, instance) == {HERE.name}
    page = overview_of(settings, instance)
    assert [one.session for one in page.sessions] == [HERE.name]
    assert {passed.path for passed in page.passed_over} == folders
    scanned = {one["path"]: one for one in json.loads(meso("scan", "--json").output)}
    assert {scanned[folder]["state"] for folder in folders} == {"breaks a rule"}
    told = meso("status").output
    assert all(f"passed over: {folder}: the same session is at" in told for folder in folders)
    for refused in (meso("run", THERE.name), meso("run", "SPB")):
        assert isinstance(refused.exception, InputFileError) or "not begun" in refused.output
        assert not known_records(disks)
    with pytest.raises(InputFileError, match="one folder of this session, found also"):
        Platform.open(settings).session(THERE.name, instance)
    shutil.rmtree(disks[1] / "SPB")  # one is kept, whichever
    assert ticked(settings, instance) == {HERE.name, THERE.name}
    assert Platform.open(settings).session(THERE.name, instance).path == disks[0] / str(THERE)


def known_records(disks):
    return [path for disk in disks for path in disk.rglob("manifests/*.json")]


def test_a_session_that_another_disk_links_to_is_one(settings, disks, instance):
    (disks[0] / "SPB").symlink_to(disks[1] / "SPB")
    assert ticked(settings, instance) == {HERE.name, THERE.name}
    assert not overview_of(settings, instance).passed_over


def test_two_labs_on_two_disks_are_told_apart(settings, disks, instance):
    for disk, lab in zip(disks, ("labA", "labB"), strict=True):
        raw(disk / lab / "Subjects/SPX/2023-03-03/001")
    assert {name for name in ticked(settings, instance) if "SPX" in name} == {
        "SPX/2023-03-03/001@labA",
        "SPX/2023-03-03/001@labB",
    }
    with pytest.raises(SettingsError, match="2 labs: labA, labB"):
        Platform.open(settings).named("SPX/2023-03-03/001")


@pytest.fixture(params=["in memory", "on S3"])
def url(request, monkeypatch):
    """Root on a server: a made-up one, and a real S3."""
    if request.param == "in memory":
        return "memory://joined/Subjects"
    server = request.getfixturevalue("_s3")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server.new_root()


def test_each_root_gets_what_is_made_of_its_sessions(url, make_settings, materialise, tmp_path):
    """A disk and a server: results, records and tables go to where the session stands, and nothing beside it."""
    settings = make_settings(tmp_path, root=[tmp_path / "disk", tmp_path / "spare", url])
    config, server = short(frames_per_bout=(12,)), open_root(url)
    simulate_session(settings.roots[0], replace(config, subject="SPA"))
    rig = simulate_session(tmp_path / "rig", replace(config, subject="SPB")).session_path
    for path in (path for path in rig.rglob("*") if path.is_file()):
        write_small(server, f"{THERE}/{path.relative_to(rig)}", path.read_bytes())
    (tmp_path / "spare").mkdir()
    before = {path for path in (tmp_path / "disk").rglob("*")}
    with dg.DagsterInstance.ephemeral() as instance:
        assert materialise(instance, settings, THERE, QUICK).success
        assert {path for path in (tmp_path / "disk").rglob("*")} == before
        assert materialise(instance, settings, HERE, QUICK).success
    platform = Platform.open(settings)
    for key, root in ((HERE, str(tmp_path / "disk")), (THERE, url)):
        session = platform.at(key)
        assert session.where().startswith(f"{root}/")
        assert set(QUICK) <= set(session.manifests())
        for asset in QUICK:
            manifest = session.manifest(asset)
            session.fetch([file.path for file in manifest.files])
            assert not verify_manifest(session.path, manifest)
    assert not [path for path in (tmp_path / "disk").rglob("*") if "SPB" in path.parts]
    # moved to another disk, it is what it was
    shutil.move(tmp_path / "disk/SPA", tmp_path / "spare/SPA")
    with dg.DagsterInstance.ephemeral() as instance:
        (moved,) = (one for one in overview_of(settings, instance).sessions if one.session == HERE.name)
    assert moved.place == f"{tmp_path}/spare/{HERE}"
    assert {cell.asset: cell.state for cell in moved.cells if cell.asset in QUICK} == dict.fromkeys(QUICK, State.DONE)


def test_tables_of_one_and_the_index_of_reports_are_of_all_roots(settings, disks):
    told = meso("one-tables")
    assert told.exit_code == 0, told.output
    assert all((disk / "sessions.pqt").is_file() for disk in disks)
    assert meso("one-tables", "--to", str(disks[0] / "tables")).exit_code == 2
    assert "(2 sessions)" in meso("report", "--index").output
    page = (disks[0] / "session_reports.html").read_text()
    assert HERE.name in page
    assert THERE.name in page


def test_names_of_very_many_sessions_ask_once_for_each_subject(settings, disks, monkeypatch):
    asked = []
    of_one = type(settings.store()).labs_of
    monkeypatch.setattr(
        type(settings.store()), "labs_of", lambda roots, subject: asked.append(subject) or of_one(roots, subject)
    )
    keys = [SessionKey("SPX", f"2023-03-{day:02d}", "001", "labA") for day in range(1, 29)]
    assert set(Platform.open(settings).names(keys).values()) == {key.name for key in keys}
    assert asked == ["SPX"]
    Platform.open(settings).names(keys, keys)
    assert asked == ["SPX"]


def test_the_environment_of_a_child_names_all_roots(settings, disks):
    assert os.environ["MESO_ROOT"] == ";".join(map(str, disks))
    assert load_settings().roots == disks


@pytest.mark.parametrize("roots", [["memory://asked"], ["memory://asked", "memory://asked-too"]], ids=["one", "two"])
def test_the_labs_of_a_server_are_listed_once_in_a_look_at_very_many_sessions(
    roots, make_settings, tmp_path, monkeypatch, instance
):
    settings = make_settings(tmp_path, root=roots)
    for root in roots:
        server = open_root(root)
        for lab, subject, day in product(("labA", "labB"), range(5), range(1, 6)):
            own = f"{root[-3:]}{lab}{subject}"
            write_small(server, f"{lab}/Subjects/{own}/2023-03-{day:02d}/001/raw_session.flag", b"")
    listed, look = [], RemoteFolders.children
    monkeypatch.setattr(RemoteFolders, "children", lambda self, folder: listed.append(folder) or look(self, folder))
    whole_walk = len(roots) * (1 + 2 * (1 + 1 + 5 + 5 * 5))  # root; labs; their Subjects; subjects; dates

    def listings(do):
        listed.clear()
        do()
        return listed.count(""), len(listed)

    platform = Platform.open(settings)
    keys = platform.store.sessions()
    assert len(keys) == 50 * len(roots)
    assert listings(lambda: ticked(settings, instance)) == (len(roots), whole_walk)
    assert listings(lambda: overview_of(settings, instance)) == (len(roots), whole_walk)
    assert listings(lambda: wanted_sessions(settings, Wanted(), print)) == (len(roots), whole_walk)
    assert listings(lambda: platform.names(keys, keys)) == (0, 0)
