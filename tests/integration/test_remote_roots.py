"""A whole session on a root that is on a server: nothing is changed but ``MESO_ROOT``, and the bytes are the same.

S3 and SFTP are real servers. In each run of the tests, the session on S3 is made in this process, and run again by
``meso run``, whose steps are processes of their own; in the night they make it too, on S3 and over SFTP. What is in
memory dies with its process.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from meso_assets.definitions import build_defs
from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.sensors.sensors import scan
from meso_assets.io.resources import Platform
from meso_assets.runs.instance import open_instance
from meso_assets.runs.settings.settings import MesoSettings
from meso_core.session import ARCHIVE_NAME, SessionKey
from meso_core.storage import Session, hash_file
from meso_core.storage.remote.servers.filesystem import RemoteRoot, list_below, open_root
from meso_core.storage.remote.transfers.transfer import read_range, upload, write_small
from tests.integration.conftest import loaded_meso, run_meso, settings_in
from tests.one_status import session_status


@dataclass(frozen=True)
class OnServer:
    """The session of ``finished``, processed on a server."""

    settings: MesoSettings
    key: SessionKey
    root: RemoteRoot

    @property
    def session(self) -> Session:
        return Platform.open(self.settings).session(str(self.key))

    def meso(self, *arguments: str):
        return loaded_meso(self.settings, *arguments)


def deliver(root: RemoteRoot, finished) -> None:
    """Put what the rig left onto the server."""
    for path in finished.raw:
        file = finished.session.path / path
        upload(root, file, f"{finished.key}/{path}", content=hash_file(file))


def with_environment(request: pytest.FixtureRequest, variables: dict[str, str]) -> None:
    """Set variables for this process and those that it starts, as long as the fixture lives."""
    patch = pytest.MonkeyPatch()
    request.addfinalizer(patch.undo)
    for name, value in variables.items():
        patch.setenv(name, value)


def processed_here(finished, folder: Path, url: str, materialise) -> OnServer:
    settings = settings_in(folder, root=url)
    root = open_root(url)
    deliver(root, finished)
    with open_instance(settings) as instance:
        made = materialise(instance, settings, finished.key, CATALOGUE)
        assert made.success
    return OnServer(settings, finished.key, root)


@pytest.fixture(scope="module")
def in_memory(finished, tmp_path_factory, materialise) -> OnServer:
    return processed_here(finished, tmp_path_factory.mktemp("memory"), "memory://whole/Subjects", materialise)


def processed_by_meso_run(finished, folder: Path, url: str) -> OnServer:
    settings = settings_in(folder, root=url)
    root = open_root(url)
    deliver(root, finished)
    ran = run_meso(settings, "run", str(finished.key), timeout=900)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    return OnServer(settings, finished.key, root)


@pytest.fixture(scope="module")
def on_s3(request, finished, tmp_path_factory, materialise, without_workers, _s3) -> OnServer:
    with_environment(request, _s3.environment())
    return processed_here(finished, tmp_path_factory.mktemp("on s3"), _s3.new_root(), materialise)


@pytest.fixture(scope="module")
def run_on_s3(request, finished, tmp_path_factory, _s3) -> OnServer:
    with_environment(request, _s3.environment())
    return processed_by_meso_run(finished, tmp_path_factory.mktemp("run on s3"), _s3.new_root())


@pytest.fixture(scope="module")
def run_on_sftp(request, finished, tmp_path_factory, _openssh) -> OnServer:
    with_environment(request, _openssh.environment())
    return processed_by_meso_run(finished, tmp_path_factory.mktemp("on sftp"), _openssh.new_root())


#: The report names the content of all results, so that of the archive too.
PAGE = "reports/session_report.html"
#: Beside the page of a session on a disk; that of a session on a server says why it has none.
MOVIES = "reports/session_movies/"
#: What follows from the times of raw files, which a server gives anew, or is a picture of a movie.
FOLLOW_THE_TIMES = ("imaging_frames_archive", "session_qc", "alyx_datasets", "alyx_session_qc", "session_report")
#: A whole session takes minutes. Each property is shown on S3; what SFTP and a root in memory do themselves is tried in
#: ``tests/storage``.
BY_MESO_RUN = [pytest.param(name, marks=pytest.mark.nightly) for name in ("run_on_s3", "run_on_sftp")]
IN_MEMORY = pytest.param("in_memory", marks=pytest.mark.nightly)


@pytest.fixture(params=["on_s3", IN_MEMORY, *BY_MESO_RUN])
def on_server(request) -> OnServer:
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["on_s3", *BY_MESO_RUN])
def for_all(request) -> OnServer:
    """A server that other processes reach too."""
    return request.getfixturevalue(request.param)


def test_the_result_is_that_of_a_folder_byte_for_byte(on_server, finished):
    local = finished.session
    files = {f.path: f for f in list_below(on_server.root, str(on_server.key)) if not f.path.startswith(".meso/")}
    there = {file.path for file in local.store.listing(local.key)}
    assert set(files) == {path for path in there if not path.startswith(MOVIES)}, "which would fetch the raw tifs"
    for path, file in sorted(files.items()):
        # an archive holds the times of the tifs, which a server gives anew, and Alyx is told its hash: see manifests
        if path.endswith(ARCHIVE_NAME) or path in ("alyx/datasets.json", PAGE):
            continue
        content = read_range(on_server.root, f"{on_server.key}/{path}", 0, file.size)
        assert content == (local.path / path).read_bytes(), path


def test_the_page_shows_the_light_of_each_field_as_that_of_a_folder_does(on_server, finished):
    def photons(page: bytes) -> str:
        return page.decode().partition('<section id="photons"')[2].partition("</section>")[0]

    size = next(f.size for f in list_below(on_server.root, str(on_server.key)) if f.path == PAGE)
    there = photons(read_range(on_server.root, f"{on_server.key}/{PAGE}", 0, size))
    assert 'aria-label="Variance against mean' in there
    assert there == photons((finished.session.path / PAGE).read_bytes())


def test_manifests_are_those_of_a_folder_but_for_run_times_and_what_follows_from_the_times_of_raw_files(
    on_server, finished
):
    there, here = on_server.session.manifests(), finished.session.manifests()
    assert set(there) == set(here) == set(CATALOGUE)
    for asset, made in there.items():
        assert made.data_version == here[asset].data_version or asset in FOLLOW_THE_TIMES
        assert made.contents == here[asset].contents
        assert made.basis.settings == here[asset].basis.settings
        assert made.session == str(on_server.key)


def test_the_log_of_the_run_tells_what_is_downloaded_and_uploaded(on_server):
    with open_instance(on_server.settings) as instance:
        run = instance.get_runs()[-1]
        told = [entry.user_message for entry in instance.all_logs(run.run_id)]
    for what in ("downloaded", "uploaded"):
        assert [line for line in told if re.match(rf"{what}: [\d,]+ of [\d,]+ MB \(100%\)", line)], what


def test_all_is_current_in_the_status_and_nothing_is_due_for_the_sensor(on_server):
    with open_instance(on_server.settings) as instance:
        cells, remarks = session_status(Platform.open(on_server.settings), instance, on_server.key)
        assert {cell.asset: cell.state.value for cell in cells} == dict.fromkeys(CATALOGUE, "done")
        assert remarks == ()
        context = dg.build_sensor_context(instance=instance)
        assert scan(context, Platform.open(on_server.settings)).run_requests == []


def test_nothing_that_is_not_read_was_left_on_the_server(on_server):
    own = {f.path for f in list_below(on_server.root, f"{on_server.key}/.meso")}
    assert not [path for path in own if path.split("/")[0] in ("uploading", "claims", "locks", "staging", "work")]


def test_the_audit_compares_each_file_and_finds_nothing(for_all):
    ran = for_all.meso("audit", str(for_all.key), "--deep", "--json")
    record = json.loads(ran.stdout)
    assert (ran.returncode, record["findings"]) == (0, [])
    assert record["bytes_read"] == sum(made.total_bytes for made in for_all.session.manifests().values())
    assert (for_all.session.path / ".meso/audit/last.json").is_file(), "kept on the server, and fetched"


def test_a_file_that_was_changed_on_the_server_is_named(on_s3):
    path = "alf/FOV_00/mpci.times.npy"
    before = on_s3.session.fetch([path]) / path
    content = before.read_bytes()
    try:
        write_small(on_s3.root, f"{on_s3.key}/{path}", content[:-1] + bytes([content[-1] ^ 1]))
        for depth in ((), ("--deep",)):
            ran = on_s3.meso("audit", str(on_s3.key), *depth)
            assert ran.returncode == 1
            assert f"{path}" in ran.stdout
        assert "frame_times" in on_s3.meso("status", str(on_s3.key)).stdout
    finally:
        write_small(on_s3.root, f"{on_s3.key}/{path}", content)
    assert on_s3.meso("audit", str(on_s3.key), "--deep").returncode == 0, "another time, and the same content"


def test_the_lineage_of_a_file_leads_back_to_the_raw_files(on_s3, tmp_path):
    path = "alf/FOV_00/mpciROIs.stackPos.npy"
    url = f"{on_s3.settings.root}/{on_s3.key}/{path}"
    for named in ([path, str(on_s3.key)], [url, str(on_s3.key)], [url]):
        ran = on_s3.meso("lineage", *named, "--json")
        assert ran.returncode == 0, ran.stderr
        assert "raw_frames" in ran.stdout
    ran = on_s3.meso("lineage", path, str(on_s3.key), "--ro-crate", str(tmp_path / "crate"))
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "crate" / path).is_file()


def test_an_asset_is_made_again_bit_identical(for_all):
    ran = for_all.meso("reproduce", str(for_all.key), "frame_times")
    assert ran.returncode == 0, ran.stdout + ran.stderr


def tifs_of(on_server: OnServer) -> dict[str, bytes]:
    """Path → content, of the raw tifs of the bouts."""
    key, root = str(on_server.key), on_server.root
    there = [f for f in list_below(root, key) if re.fullmatch(r"raw_imaging_data_\d+/[^/]+\.tif", f.path)]
    return {file.path: read_range(root, f"{key}/{file.path}", 0, file.size) for file in there}


def test_raw_tifs_are_removed_and_brought_back_and_nothing_is_made_again(for_all):
    key, root = str(for_all.key), for_all.root
    before = tifs_of(for_all)
    override = ("--who", "Ada", "--why", "a test")
    dry = for_all.meso("remove-raw", key, *override)
    assert dry.returncode == 0, dry.stdout + dry.stderr
    assert dry.stdout.count("remove    raw_imaging_data") == len(before)
    assert tifs_of(for_all) == before
    gone = for_all.meso("remove-raw", key, *override, "--yes")
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert f"{len(before)} tifs removed, recorded" in gone.stdout
    assert tifs_of(for_all) == {}
    assert for_all.meso("remove-raw").stdout.count("may be freed from 20") == len(before)
    back = for_all.meso("restore", key)
    assert back.stdout.count("put back") == len(before), back.stdout + back.stderr
    assert tifs_of(for_all) == before
    assert for_all.meso("remove-raw", key, *override, "--yes", "--now").returncode == 0
    assert list_below(root, f"{key}/.meso/removed") == ()
    cells = for_all.meso("status", key)
    assert "stale" not in cells.stdout, cells.stdout
    back = for_all.meso("restore", key)
    assert back.stdout.count("MB  restored") == len(before), back.stdout + back.stderr
    assert tifs_of(for_all) == before
    assert "stale" not in for_all.meso("status", key).stdout
    assert for_all.meso("audit", key, "--deep").returncode == 0


def test_the_removal_job_of_the_interface_removes_on_a_server_what_its_dry_run_told(for_all):
    key, settings = for_all.key.name, for_all.settings.model_copy(update={"executor": "in_process"})
    job, before = build_defs(settings).resolve_job_def("remove_raw_tifs"), tifs_of(for_all)

    def run(instance: dg.DagsterInstance, **config: object) -> dg.ExecuteInProcessResult:
        ops = {"raw_tifs_removed": {"config": {"who": "Ada", "why": "a test", **config}}}
        return job.execute_in_process(
            instance=instance, partition_key=key, run_config={"ops": ops}, raise_on_error=False
        )

    with open_instance(settings) as instance:
        dry = run(instance)
        assert dry.success
        assert not run(instance, dry_run=False, confirm="000000000000").success
        assert tifs_of(for_all) == before
        told = "\n".join(entry.user_message for entry in instance.all_logs(dry.run_id))
        assert run(instance, dry_run=False, confirm=re.search(r"confirm: (\w+)", told)[1]).success
        assert tifs_of(for_all) == {}
        seen = instance.fetch_observations(dg.AssetKey("raw_frames"), limit=1).records[0].asset_observation
        assert all(hashlib.sha256(tif).hexdigest() in seen.metadata["removed"].md_str for tif in before.values())
    assert for_all.meso("restore", key).returncode == 0
    assert tifs_of(for_all) == before
    assert "stale" not in for_all.meso("status", key).stdout


def test_no_secret_stands_in_what_was_kept(for_all):
    is_s3 = str(for_all.settings.root).startswith("s3:")
    secret = os.environ["AWS_SECRET_ACCESS_KEY"] if is_s3 else "PRIVATE KEY"
    for folder in (for_all.settings.home, for_all.settings.scratch_folder):
        for file in folder.rglob("*"):
            assert not file.is_file() or secret.encode() not in file.read_bytes(), file
    for file in list_below(for_all.root, f"{for_all.key}/.meso"):
        content = read_range(for_all.root, f"{for_all.key}/.meso/{file.path}", 0, file.size)
        assert secret.encode() not in content


def test_imaging_metadata_are_those_of_a_folder_and_fetch_no_tif(finished, tmp_path, materialise):
    settings = settings_in(tmp_path, root="memory://headers/Subjects", executor="in_process")
    root = open_root(str(settings.root))
    deliver(root, finished)
    with open_instance(settings) as instance:
        assert materialise(instance, settings, finished.key, ["imaging_metadata"]).success
    made = Platform.open(settings).session(str(finished.key)).manifest("imaging_metadata")
    assert made.data_version == finished.session.manifest("imaging_metadata").data_version
    fetched = {file.suffix for file in settings.scratch_folder.rglob("*") if file.is_file()}
    assert ".json" in fetched
    assert ".tif" not in fetched


def test_a_second_run_computes_nothing_and_fetches_no_movie(for_all, tmp_path):
    other = for_all.settings.model_copy(update={"scratch": tmp_path / "another machine"})
    before = {name: (made.published_at, made.digest) for name, made in for_all.session.manifests().items()}
    ran = run_meso(other, "run", str(for_all.key))
    assert ran.returncode == 0, ran.stderr[-2000:]
    after = Platform.open(other).session(str(for_all.key)).manifests()
    assert {name: (made.published_at, made.digest) for name, made in after.items()} == before
    fetched = {file.name for file in other.scratch_folder.rglob("*") if file.is_file()}
    assert not [name for name in fetched if name.endswith(".bin")]
    assert len(re.findall(r"\bunchanged\b", ran.stdout)) >= len(before)
