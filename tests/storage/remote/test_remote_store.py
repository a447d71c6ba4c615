"""A store on a server: what it publishes is whole, what it reads is what the server holds."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from meso_core.errors import InputFileError, MesoWarning, MissingInputError, StorageError
from meso_core.session import ListedFile, SessionKey
from meso_core.storage import Basis, FileRecord, MadeBy, Manifest, Session, open_store
from meso_core.storage.remote.mirrors.mirror import _may_change_unseen
from meso_core.storage.remote.mirrors.scratch import Scratch
from meso_core.storage.remote.servers.filesystem import list_below, open_root
from meso_core.storage.remote.sessions import exclusive as alone
from meso_core.storage.remote.sessions import publishing as remote_publishing
from meso_core.storage.remote.sessions import store as remote_store
from meso_core.storage.remote.sessions.claims import RemoteClaims
from meso_core.storage.remote.sessions.store import RemoteStore
from meso_core.storage.remote.transfers.transfer import read_small, remove, stat, write_small
from meso_core.storage.typed import published_shapes
from tests.remote_roots import hash_of

KEY = SessionKey.parse("SP035/2023-03-03/001")
BASIS = Basis("1", {"raw_frames": "f" * 64})
_NUMBERS = count()


@pytest.fixture(params=["memory", "s3", "openssh"])
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty root."""
    if request.param == "memory":
        return f"memory://root{next(_NUMBERS)}"
    server = request.getfixturevalue(f"{request.param}_server")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server.new_root()


@pytest.fixture
def machine(url: str, tmp_path: Path) -> Callable[[str], RemoteStore]:
    """``machine("a")`` is the root as seen from machine a, with a scratch folder of its own."""
    root = open_root(url)
    write_small(root, f"{KEY}/raw_imaging_data_00/a_00001.tif", b"tif")
    return lambda name: RemoteStore(root, Scratch(tmp_path / name, 10**9))


def publish(store: RemoteStore, files: dict[str, bytes], asset: str = "rois", run: str = "run-1") -> Manifest:
    staging = store.stage(KEY, asset)
    for path, content in files.items():
        staging.write(path, content)
    return store.publish(KEY, staging.seal(), BASIS, MadeBy(run))


def content(store: RemoteStore) -> dict[str, bytes]:
    """Files of the session on the server, without the platform's own."""
    files = list_below(store.remote, str(KEY))
    return {
        f.path: read_small(store.remote, f"{KEY}/{f.path}", 1 << 20) for f in files if not f.path.startswith(".meso/")
    }


@pytest.mark.parametrize(
    "path", ["raw_session.flag", ".meso/pending.json", "alf/pending.json", "uploading/x/pending.json"]
)
def test_no_file_of_others_passes_for_a_publication_that_is_going_on(machine, path):
    store = machine("a")
    write_small(store.remote, f"{KEY}/{path}", b"{}")
    publish(store, {"alf/a": b"1"})
    assert content(machine("b"))["alf/a"] == b"1"
    assert read_small(store.remote, f"{KEY}/{path}", 9) == b"{}"


def test_what_was_published_is_there_and_unchanged_for_every_machine(machine):
    made = publish(machine("a"), {"alf/FOV_00/x.npy": b"1" * 100, "alf/FOV_00/ä b.npy": b""})
    other = machine("b")
    assert other.manifest(KEY, "rois") == made
    assert other.published(KEY) == ("rois",)
    session = Session(KEY, other.local(KEY), other)
    present = session.present()
    assert present.broken(made) == ()
    assert all(present.is_unchanged(file) for file in made.files)
    assert (session.fetch(["alf/FOV_00/x.npy"]) / "alf/FOV_00/x.npy").read_bytes() == b"1" * 100
    assert not (session.path / "alf/FOV_00/ä b.npy").exists(), "what was not asked for is not fetched"
    assert not any(".meso/uploading" in file.path for file in list_below(other.remote, str(KEY)))


def test_the_shapes_of_published_arrays_are_told_wherever_and_no_array_is_fetched_for_that(machine):
    array = io.BytesIO()
    np.save(array, np.zeros((400, 300), "f4"))
    here = machine("a")
    made = publish(here, {"alf/x.npy": array.getvalue(), "alf/y.npy": b"no array", "alf/z.tsv": array.getvalue()})
    other = machine("b")
    for store in (here, other):
        shape_of = published_shapes(Session(KEY, store.local(KEY), store))
        assert [shape_of(file) for file in made.files] == [(400, 300), None, None]
    assert not list(other.local(KEY).glob("alf/*"))
    write_small(here.remote, f"{KEY}/alf/x.npy", b"another")
    assert published_shapes(Session(KEY, other.local(KEY), other))(made.files[0]) is None, "not as it was published"


def test_what_is_uploaded_and_downloaded_is_told_byte_by_byte(machine):
    told: list[tuple[int, int, str]] = []

    def listen(done: int, total: int, what: str) -> None:
        told.append((done, total, what))

    store = machine("a")
    staging = store.stage(KEY, "rois")
    for name, size in (("alf/a", 1000), ("alf/b", 234)):
        staging.write(name, b"x" * size)
    store.publish(KEY, staging.seal(), BASIS, MadeBy("run-1"), progress=listen)
    assert told[-1] == (1234, 1234, "bytes uploaded")
    told.clear()
    machine("b").local(KEY, ["alf/a", "alf/b"], listen)
    assert told[-1] == (1234, 1234, "bytes downloaded")


def test_a_new_version_replaces_the_old_one_and_keeps_its_record(machine):
    store = machine("a")
    first = publish(store, {"alf/a": b"1", "alf/b": b"2"})
    second = publish(store, {"alf/a": b"3", "alf/c": b"4"}, run="run-2")
    assert content(store) == {"alf/a": b"3", "alf/c": b"4", "raw_imaging_data_00/a_00001.tif": b"tif"}
    assert second.chain.previous == first.digest
    assert list(machine("b").history(KEY)["rois"]) == [first.digest]
    assert (store.local(KEY) / "alf/a").read_bytes() == b"3"
    assert not (store.local(KEY) / "alf/b").exists()


def test_the_same_content_is_not_uploaded_again(machine, monkeypatch):
    store = machine("a")
    publish(store, {"alf/a": b"1", "alf/b": b"2"})
    sent = []
    real = remote_publishing.upload_all
    monkeypatch.setattr(
        remote_publishing, "upload_all", lambda root, files, **more: (sent.extend(files), real(root, files, **more))
    )
    publish(store, {"alf/a": b"1", "alf/b": b"3"}, run="run-2")
    assert [file.name for file, _, _ in sent] == ["b"]


def test_a_file_of_somebody_else_is_neither_replaced_nor_removed(machine):
    store = machine("a")
    write_small(store.remote, f"{KEY}/alf/a", b"mine")
    with pytest.raises(StorageError, match="somebody else"):
        publish(store, {"alf/a": b"1"})
    assert content(store)["alf/a"] == b"mine"
    publish(store, {"alf/b": b"1"})
    write_small(store.remote, f"{KEY}/alf/b", b"curated")
    publish(store, {"alf/c": b"1"}, run="run-2")
    assert content(store)["alf/b"] == b"curated", "superseded, and another one by now"


def test_a_record_that_claims_raw_files_as_they_are_is_refused_by_name_and_removes_none(machine):
    store, tif = machine("a"), "raw_imaging_data_00/a_00001.tif"
    made = publish(store, {"alf/a": b"1"})
    there, hashes = stat(store.remote, f"{KEY}/{tif}"), hash_of(b"tif")
    claimed = FileRecord(tif, hashes.size, hashes.sha256, hashes.md5, there.mtime_ns)
    forged = replace(made, files=(*made.files, claimed)).to_json()
    write_small(store.remote, f"{KEY}/.meso/manifests/rois.json", forged.encode())
    assert {file.path for file in store.manifest(KEY, "rois").files} == {"alf/a", tif}, "nothing else is wrong with it"
    with pytest.raises(StorageError, match=f"found {tif}. Move this record away"):
        publish(store, {"alf/c": b"1"}, run="run-2")
    assert content(store)[tif] == b"tif"


class Killed(BaseException):
    """What the process was when it was killed."""


def kill_at(monkeypatch, n: int) -> None:
    """Let the n-th call that changes the server be the last one."""
    calls = count(1)
    for module in (remote_publishing, remote_store):
        for name in ("write_small", "put_in_place", "remove", "upload_all"):
            real = getattr(module, name, None)
            if real is None:
                continue

            def counted(*given, real=real, **more):
                if next(calls) == n:
                    raise Killed
                return real(*given, **more)

            monkeypatch.setattr(module, name, counted)


@pytest.mark.parametrize(
    ("url", "every"),
    [
        ("memory", 1),
        pytest.param("s3", 4, marks=pytest.mark.sample),
        pytest.param("s3", 1, marks=pytest.mark.nightly),
        pytest.param("openssh", 1, marks=pytest.mark.nightly),
    ],
    indirect=["url"],
)
def test_a_kill_at_any_call_leaves_the_old_version_or_the_new_one(machine, monkeypatch, tried, every):
    first, second = {"alf/a": b"1", "alf/b": b"2", "alf/e": b"5"}, {"alf/a": b"3", "alf/c": b"4", "alf/e": b"5"}
    raw = {"raw_imaging_data_00/a_00001.tif": b"tif"}
    for n in count(1, every):
        store = machine(f"at {n}")
        for file in list_below(store.remote, str(KEY)):
            if not file.path.startswith("raw_"):
                remove(store.remote, [f"{KEY}/{file.path}"])
        old = publish(store, first)
        with monkeypatch.context() as patched:
            kill_at(patched, n)
            try:
                publish(store, second, run="run-2")
            except Killed:
                killed = True
            else:
                killed = False
        # whoever comes next, on another machine: the claim of the dead one has ended with its process
        for file in list_below(store.remote, f"{KEY}/.meso/locks"):
            remove(store.remote, [f"{KEY}/.meso/locks/{file.path}"])
        other = machine(f"other {n}")
        manifest = other.manifest(KEY, "rois")
        expected = first if manifest.made_by.run_id == "run-1" else second
        assert content(other) == {**expected, **raw}
        tried("kills on shared roots: publication, at each call of the server")
        assert Session(KEY, other.local(KEY), other).present().broken(manifest) == ()
        assert (manifest.digest == old.digest) is (manifest.made_by.run_id == "run-1")
        publish(other, second, run="run-3")
        assert content(other) == {**second, **raw}
        assert not [f.path for f in list_below(other.remote, str(KEY)) if ".meso/uploading" in f.path], (
            "nothing is left"
        )
        if not killed:
            assert n > 8
            return


def test_an_upload_that_vanished_gives_the_old_version_and_says_so(machine, monkeypatch):
    store = machine("a")
    publish(store, {"alf/a": b"1"})
    with monkeypatch.context() as patched:
        patched.setattr(remote_store, "roll_forward", _killed)
        with pytest.raises(Killed):
            publish(store, {"alf/a": b"2"}, run="run-2")
    (waiting,) = remote_publishing.pending_publications(list_below(store.remote, str(KEY)))
    remove(store.remote, [f"{KEY}/{waiting.path('alf/a')}"])
    with pytest.raises(StorageError, match="run-2 uploaded"):
        store.local(KEY)
    assert store.manifest(KEY, "rois").made_by.run_id == "run-1"
    assert content(store)["alf/a"] == b"1"


def _killed(*_: object) -> None:
    raise Killed


def test_two_that_both_believe_to_be_alone_share_no_upload(machine, monkeypatch):
    """One has lost its claim without knowing, and its upload arrives when the other one's result is pending."""
    one, other = machine("a"), machine("b")
    publish(one, {"alf/a": b"0"})
    real_upload, real_roll = remote_publishing.upload_all, remote_store.roll_forward
    late = []

    def slow(root, files, **more):
        monkeypatch.setattr(remote_publishing, "upload_all", real_upload)
        lose_the_claims(one)
        late.append(lambda: real_upload(root, files, **more))
        publish(other, {"alf/a": b"of the other"}, run="run-2")

    def roll(*given):
        waits = [file for file in list_below(one.remote, f"{KEY}/.meso/uploading") if "pending" in file.path]
        while waits and late:
            late.pop()()
        return real_roll(*given)

    monkeypatch.setattr(remote_publishing, "upload_all", slow)
    monkeypatch.setattr(remote_store, "roll_forward", roll)
    with pytest.raises(StorageError, match="no sign of life"):
        publish(one, {"alf/a": b"of the one.."}, run="run-3")
    made = other.manifest(KEY, "rois")
    assert made.made_by.run_id == "run-2"
    assert content(other)["alf/a"] == b"of the other"
    publish(one, {"alf/a": b"4"}, run="run-4")
    assert content(one)["alf/a"] == b"4"
    assert not [file.path for file in list_below(one.remote, f"{KEY}/.meso/uploading")]


@pytest.mark.parametrize("name", ["pending.json", "0123.pending.json"])
def test_a_publication_that_an_earlier_version_began_is_finished_too(machine, monkeypatch, name):
    store = machine("a")
    publish(store, {"alf/a": b"1"})
    with monkeypatch.context() as patched:
        patched.setattr(remote_store, "roll_forward", _killed)
        with pytest.raises(Killed):
            publish(store, {"alf/a": b"2"}, run="run-2")
    folder = f"{KEY}/.meso/uploading/rois"
    prefix = name.removesuffix("pending.json")
    for file in list_below(store.remote, folder):
        renamed = prefix + file.path.partition(".")[2]
        write_small(store.remote, f"{folder}/{renamed}", read_small(store.remote, f"{folder}/{file.path}", 1 << 20))
        remove(store.remote, [f"{folder}/{file.path}"])
    assert machine("b").manifest(KEY, "rois").made_by.run_id == "run-2"
    assert content(store)["alf/a"] == b"2"
    assert list_below(store.remote, folder) == ()


@pytest.mark.parametrize("name", ["manifests/history/rois/.0123.json.abcd.part", "manifests/.rois.json.abcd.part"])
def test_a_record_that_a_killed_publication_was_writing_goes_with_the_next_one(machine, name):
    store = machine("a")
    publish(store, {"alf/a": b"1"})
    others = f"{KEY}/.meso/manifests/.frame_qc.json.abcd.part"
    for path in (f"{KEY}/.meso/{name}", others):
        write_small(store.remote, path, b"half")
    publish(store, {"alf/a": b"2"}, run="run-2")
    assert read_small(store.remote, f"{KEY}/.meso/{name}", 9) is None
    assert read_small(store.remote, others, 9) == b"half"


@pytest.mark.parametrize("url", ["openssh"], indirect=True)
def test_a_raw_file_from_the_future_does_not_make_an_upload_old(machine, request):
    store = machine("a")
    part = f"{KEY}/.meso/claims/.1234.json.0123456789ab.part"
    write_small(store.remote, part, b"half")
    server = request.getfixturevalue("openssh_server")
    tif = next(file for file in server.served.rglob("a_00001.tif") if store.remote.base.split("/")[-1] in file.parts)
    os.utime(tif, (time.time() + 10**6,) * 2)
    publish(store, {"alf/a": b"1"})
    assert read_small(store.remote, part, 9) == b"half"


def test_what_killed_uploads_left_is_removed_by_the_next_publication_which_says_so(machine, monkeypatch, request):
    store = machine("a")
    part = f"{KEY}/.meso/claims/.1234.json.0123456789ab.part"
    write_small(store.remote, part, b"half")
    client = request.getfixturevalue("s3_server").client() if store.root.startswith("s3:") else None
    bucket, _, prefix = store.remote.base.partition("/")
    if client is not None:
        client.create_multipart_upload(Bucket=bucket, Key=f"{prefix}/{KEY}/.meso/uploading/rois/0123.4567")

    def unfinished() -> list[object]:
        return client.list_multipart_uploads(Bucket=bucket, Prefix=f"{prefix}/{KEY}/").get("Uploads", [])

    publish(store, {"alf/a": b"1"})
    assert read_small(store.remote, part, 9) == b"half", "it may still be at work"
    assert client is None or len(unfinished()) == 1
    monkeypatch.setattr(remote_publishing, "_LEFT_AFTER_S", 1.0)
    time.sleep(2.2)
    with pytest.warns(MesoWarning, match=f"{'1' if client is None else '2'} unfinished uploads.*were removed"):
        publish(store, {"alf/a": b"2"})
    assert read_small(store.remote, part, 9) is None
    assert client is None or unfinished() == []


def test_a_mirror_holds_no_file_that_the_root_does_not_hold_as_it_is_there(machine):
    store, tif = machine("a"), "raw_imaging_data_00/a_00001.tif"
    folder = store.local(KEY, [tif])
    assert (folder / tif).read_bytes() == b"tif"
    write_small(store.remote, f"{KEY}/{tif}", b"another")
    os.utime(folder / tif, ns=(1, 1))
    assert (store.local(KEY, [tif]) / tif).read_bytes() == b"another"
    remove(store.remote, [f"{KEY}/{tif}"])
    write_small(store.remote, f"{KEY}/raw_imaging_data_00/b.tif", b"tif")
    time.sleep(0.1)  # what came a moment ago stays
    assert not (store.local(KEY) / tif).exists()
    with pytest.raises(MissingInputError):
        store.local(KEY, [tif])


def test_a_published_file_that_the_server_damaged_is_refused(machine, monkeypatch):
    made = publish(machine("a"), {"alf/a": b"123"})
    store = machine("b")
    write_small(store.remote, f"{KEY}/alf/a", b"666")

    def as_before(file):
        """A disk that rots changes no times."""
        return replace(file, mtime_ns=made.files[0].mtime_ns) if file.path.endswith("alf/a") else file

    real = remote_store.stat, remote_store.list_below
    monkeypatch.setattr(remote_store, "stat", lambda root, path: as_before(real[0](root, path)))
    monkeypatch.setattr(remote_store, "list_below", lambda root, path: tuple(map(as_before, real[1](root, path))))
    store.local(KEY)
    with pytest.raises(StorageError, match="hash"):
        store.local(KEY, ["alf/a"])
    assert not (store.local(KEY) / "alf/a").exists()
    assert store.sha256(KEY, "alf/a") != made.files[0].sha256, "a deep audit names it"


def test_a_file_that_was_copied_to_the_server_is_read_once_and_a_changed_one_again(machine, monkeypatch):
    store = machine("a")
    made = publish(store, {"alf/a": b"123"})
    read = []
    real = remote_store.streamed_sha256
    monkeypatch.setattr(remote_store, "streamed_sha256", lambda *given: (read.append(given[1]), real(*given))[1])
    session = Session(KEY, store.local(KEY), store)
    (file,) = made.files
    long_ago = replace(session.present().files["alf/a"], mtime_ns=10**18)
    for _ in range(3):
        assert session.present([long_ago]).wrong_with(file) == ""
    assert len(read) == 1
    later = replace(long_ago, mtime_ns=2 * 10**17)
    assert session.present([later]).wrong_with(file) == ""
    assert len(read) == 2
    just_now = replace(long_ago, mtime_ns=time.time_ns() + 10**10)  # not the rounded time of the publication
    for _ in range(2):
        session.present([just_now]).wrong_with(file)
    assert len(read) == 4, "what is that young may change within the second"
    store.sha256(KEY, "alf/a")
    assert len(read) == 5, "a deep audit reads"


def test_a_file_whose_server_may_be_behind_this_clock_is_known_when_it_was_the_same_for_a_while(machine, monkeypatch):
    store = machine("a")
    (file,) = publish(store, {"alf/a": b"123"}).files
    read, now, written = [], time.time(), time.time_ns()
    real = remote_store.streamed_sha256
    monkeypatch.setattr(remote_store, "streamed_sha256", lambda *given: (read.append(given[1]), real(*given))[1])
    session = Session(KEY, store.local(KEY), store)
    just_now = replace(
        session.present().files["alf/a"], mtime_ns=written - 60 * 10**9
    )  # not the time of the publication
    for later_s, n_read in ((200, 1), (205, 2), (220, 3), (230, 3)):
        monkeypatch.setattr(time, "time", lambda later_s=later_s: now + later_s)  # minutes ahead of the server
        session.present([just_now]).wrong_with(file)
        assert len(read) == n_read, later_s


@pytest.mark.parametrize(
    ("age_s", "newest_s", "is_read"),
    [(5, 0, True), (240, 240, True), (240, 200, False), (240, 235, True), (700, 700, False), (-300, -300, True)],
)
def test_a_record_is_read_again_while_its_second_may_not_be_over_by_the_clock_of_its_server(age_s, newest_s, is_read):
    now_ns = time.time_ns()
    assert _may_change_unseen(ListedFile("x", 1, now_ns - age_s * 10**9), now_ns - newest_s * 10**9) is is_read


def lose_the_claims(store: RemoteStore) -> None:
    """Somebody takes over what gives no sign of life."""
    folder = f"{KEY}/.meso/locks"
    remove(store.remote, [f"{folder}/{file.path}" for file in list_below(store.remote, folder)])


def test_a_record_of_who_has_lost_the_claim_is_not_written(machine):
    store = machine("a")

    def write() -> None:
        with store.recording(KEY) as folder:
            (folder / ".meso/removals.jsonl").write_text("mine")
            lose_the_claims(store)

    with pytest.raises(StorageError, match="no sign of life"):
        write()
    assert read_small(store.remote, f"{KEY}/.meso/removals.jsonl", 100) is None


def test_a_run_whose_claim_another_run_has_taken_over_publishes_nothing(machine):
    store = machine("a")
    one, other = store.claims(KEY, "run-1"), machine("b").claims(KEY, "run-2")
    assert one.take(["rois"]) == ()
    publish(store, {"alf/a": b"1"})
    folder = f"{KEY}/.meso/claims"
    remove(store.remote, [f"{folder}/{file.path}" for file in list_below(store.remote, folder)])
    assert other.take(["rois"]) == ()
    with pytest.raises(StorageError, match="taken it over"):
        publish(store, {"alf/a": b"2"})
    assert content(store)["alf/a"] == b"1"
    publish(machine("b"), {"alf/a": b"3"}, run="run-2")
    assert content(store)["alf/a"] == b"3"
    one.give_all_back()
    other.give_all_back()


def test_who_publishes_is_waited_for_and_named_when_that_takes_too_long(machine, monkeypatch):
    store = machine("a")
    staged = store.stage(KEY, "rois")
    staged.write("alf/a", b"1")
    other = RemoteClaims(store.remote, f"{KEY}/.meso/locks", "run run-2")
    assert other.take(["rois"]) == ()
    monkeypatch.setattr(alone, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(alone, "_WAIT_S", 0.1)
    with pytest.raises(
        StorageError, match=rf"nobody else at work on rois.*run run-2, process {os.getpid()} on"
    ) as told:
        store.publish(KEY, staged.seal(), BASIS, MadeBy("run-1"))
    (claim,) = list_below(store.remote, f"{KEY}/.meso/locks")
    assert f"remove {KEY}/.meso/locks/{claim.path}" in str(told.value)
    remove(store.remote, [f"{KEY}/.meso/locks/{claim.path}"])  # the remedy
    assert store.publish(KEY, staged.seal(), BASIS, MadeBy("run-1")).files
    other.give_all_back()


def test_a_failure_of_a_publication_is_told_though_its_claim_cannot_be_given_back(machine, monkeypatch):
    store = machine("a")
    publish(store, {"alf/a": b"1"})

    def away(*_: object) -> None:
        raise StorageError("the server is away")

    def fail(*_: object, **__: object) -> None:
        monkeypatch.setattr("meso_core.storage.remote.sessions.claims.remove", away)
        raise ZeroDivisionError

    monkeypatch.setattr(remote_store, "begin", fail)
    with pytest.raises(ZeroDivisionError):
        publish(store, {"alf/a": b"2"}, run="run-2")


def test_records_are_written_one_at_a_time_and_kept(machine):
    one, other = machine("a"), machine("b")
    for store in (one, other, one):
        with store.recording(KEY) as folder, (folder / ".meso/removals.jsonl").open("a") as log:
            log.write("line\n")
    assert read_small(one.remote, f"{KEY}/.meso/removals.jsonl", 100) == b"line\n" * 3


@pytest.mark.parametrize("path", ["reports/other.json", ".meso/what.json", "notes.txt"])
def test_what_is_no_record_is_not_dropped_without_a_word(machine, path):
    store = machine("a")

    def write() -> None:
        with store.recording(KEY) as folder:
            (folder / ".meso/removals.jsonl").write_text("line\n")
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text("mine")

    with pytest.raises(StorageError, match=f"{path}.*would not be uploaded"):
        write()
    assert read_small(store.remote, f"{KEY}/.meso/removals.jsonl", 100) is None, "all or nothing"


def test_a_file_that_goes_while_it_is_read_for_its_hash_is_a_named_error(machine, monkeypatch):
    store = machine("a")
    path = "raw_imaging_data_00/large.tif"
    write_small(store.remote, f"{KEY}/{path}", b"x" * 100)

    def gone(*_: object) -> bytes:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("meso_core.storage.remote.transfers.streaming.read_range", gone)
    with pytest.raises(MissingInputError, match=path):
        store.sha256(KEY, path)


@pytest.mark.parametrize("url", ["openssh"], indirect=True)
def test_a_link_at_the_place_of_a_result_is_not_the_sessions_own(machine, request):
    store = machine("a")
    made = publish(store, {"alf/a": b"1", "alf/b": b"2"})
    server, below = request.getfixturevalue("openssh_server"), store.remote.base
    place = next(
        path for path in server.served.rglob("alf/a") if str(path).endswith(f"{below.split('/')[-1]}/{KEY}/alf/a")
    )
    elsewhere = place.with_name("elsewhere")
    place.rename(elsewhere)
    place.symlink_to(elsewhere.name)
    present = Session(KEY, store.local(KEY), store).present()
    assert present.files["alf/a"].is_link
    assert not present.is_unchanged(made.files[0])
    assert stat(store.remote, f"{KEY}/alf/a").is_link
    with pytest.raises(StorageError, match="somebody else"):
        publish(store, {"alf/a": b"3", "alf/b": b"4"}, run="run-2")
    assert place.is_symlink()
    assert (place.read_bytes(), (place.parent / "b").read_bytes()) == (b"1", b"2")


def test_a_record_whose_writing_failed_is_not_kept(machine):
    store = machine("a")

    def fail() -> None:
        with store.recording(KEY) as folder:
            (folder / ".meso/removals.jsonl").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert read_small(store.remote, f"{KEY}/.meso/removals.jsonl", 100) is None
    time.sleep(0.1)
    assert not (store.local(KEY) / ".meso/removals.jsonl").exists()


def test_two_folders_of_one_session_are_named(machine):
    store = machine("a")
    write_small(store.remote, "SP035/2023-03-03/1/raw_imaging_data_00/a.tif", b"")
    with pytest.raises(InputFileError, match="also"):
        store.local(KEY)
    assert store.sessions() == ()
    assert len(store.survey().passed_over) == 2


def test_sessions_are_found_by_the_rules_of_a_local_root(machine, tmp_path):
    store = machine("a")
    paths = ["lab/Subjects/SP2/2024-01-01/2/x", "SP3/2024-02-30/001/x", "SP4/2024-01-01/raw_imaging_data_00/x.tif"]
    paths += ["@eaDir/2024-01-01/001/x", "SP5/2024-01-01/001/x", "2024-01-01/001/x", "SP6/deep/2024-01-01/001/x"]
    for path in (*paths, f"{KEY}/raw_imaging_data_00/a_00001.tif"):
        write_small(store.remote, path, b"tif")
        (tmp_path / "local" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "local" / path).write_bytes(b"tif")
    local = open_store(tmp_path / "local")
    assert store.survey() == local.survey()
    assert len(store.sessions()) == 3
    for subject, labs in (("SP2", ("lab",)), ("SP5", ()), ("nobody", ())):
        assert store.labs_of(subject) == local.labs_of(subject) == labs
