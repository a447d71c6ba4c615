"""What a server refuses is told with what to do, and never with a secret."""

from __future__ import annotations

import os
import socket
import traceback

import pytest

from meso_assets.runs.settings.settings import load_settings
from meso_core.errors import MesoError, SettingsError, StorageError
from meso_core.storage.remote import children, list_below, open_root, read_small, remove, upload, write_small
from meso_core.storage.urls import may_hold_a_secret, shown
from tests.real_servers import BUCKET, free_ports
from tests.remote_roots import QUICK, fetch, hash_of, new_root, random_file, server_of


def refused(url, match, *, secrets=(), kind=SettingsError):
    """Open a root that cannot be opened; the message helps, and neither it nor its causes hold a secret."""
    with pytest.raises(kind, match=match) as error:
        open_root(url, patience=QUICK)
    told = "".join(traceback.format_exception(error.value))
    for secret in secrets:
        assert secret not in told
    return str(error.value)


def environment(server, monkeypatch, **other):
    for name, value in {**server.environment(), **other}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("ftp://host/path", "the scheme 'ftp'"),
        ("/a/folder", "the scheme"),
        ("s3://", "no bucket or host"),
        ("sftp:///path", "no bucket or host"),
        ("sftp://host:many/path", "a port that is a number"),
    ],
)
def test_a_url_that_names_no_root_is_refused(url, match):
    refused(url, match)


WITH_SECRETS = [
    "sftp://me:hush-hush@host/path",
    "sftp://me:p@hush-hush@host/path",
    "sftp://me:hush-hush%40@host",
    "sftp://me:p/hush-hush@host/path",
    "sftp://me:22/hush-hush@host/path",
    "sftp://hush-hush:@host",
    "s3://KEY:hush-hush@bucket",
    "s3://KEY:sec/hush-hush@bucket/prefix",
    "s3://hush-hush@bucket",
    "ftp://me:hush-hush@host/path",
]


@pytest.mark.parametrize("url", WITH_SECRETS)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url):
    assert "MESO_SFTP_PASSWORD" in refused(url, "without a password", secrets=["hush-hush"])


@pytest.mark.parametrize("url", WITH_SECRETS)
def test_a_secret_in_the_setting_is_not_repeated(url, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MESO_ROOT", url)
    with pytest.raises(SettingsError, match="MESO_SFTP_PASSWORD") as error:
        load_settings()
    assert "hush-hush" not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/a:b@c/Subjects",
        "sftp://me@host:22/a@b/c:d",
        "sftp://host/a:b@c",
        "sftp://me@lab.org@host/path",
        "memory://root/a:b@c",
        "sftp://me@[fe80::1]:22/path",
    ],
)
def test_an_at_sign_of_a_folder_or_a_user_is_no_secret(url):
    assert not may_hold_a_secret(url)
    assert shown(url) == url


@pytest.mark.parametrize(("url", "package", "extra"), [("s3://b/p", "s3fs", "s3"), ("sftp://h/p", "sshfs", "sftp")])
def test_a_package_that_is_not_installed_is_named_with_its_extra(url, package, extra, monkeypatch):
    monkeypatch.setattr("meso_core.storage.remote.servers.filesystem.find_spec", lambda name: None)
    message = refused(url, f"the package {package}")
    assert f"meso[{extra}]" in message


def test_a_bucket_that_is_not_there_is_named(request, monkeypatch):
    environment(server_of("s3", request), monkeypatch)
    assert "Make the bucket" in refused("s3://no-such-bucket/prefix", "a bucket or folder")


def test_wrong_keys_of_s3_are_refused(request, monkeypatch):
    server = server_of("s3", request)
    for other in ({"AWS_SECRET_ACCESS_KEY": "a wrong secret"}, {"AWS_ACCESS_KEY_ID": "a-wrong-key"}):
        environment(server, monkeypatch, **other)
        secrets = [*other.values(), server.secret]
        assert "AWS_*" in refused(f"s3://{BUCKET}/x", "to be let in", secrets=secrets)


def test_no_credentials_of_s3_are_told(request, monkeypatch, tmp_path):
    environment(server_of("s3", request), monkeypatch, HOME=str(tmp_path), AWS_EC2_METADATA_DISABLED="true")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "AWS_ACCESS_KEY_ID" in refused(f"s3://{BUCKET}/x", "expected credentials")


def test_a_user_who_may_only_read_reads_and_is_refused_to_write(request, monkeypatch, tmp_path):
    server = server_of("s3", request)
    root = new_root("s3", request, monkeypatch, patience=QUICK)
    write_small(root, "file", b"content")
    for name, value in server.environment(reader=True).items():
        monkeypatch.setenv(name, value)
    root = open_root(root.url, patience=QUICK)
    assert read_small(root, "file", 10) == b"content"
    assert [file.path for file in list_below(root)] == ["file"]
    small, large = random_file(tmp_path / "small", 10), random_file(tmp_path / "large", 17_654_321)
    for work in (
        lambda: write_small(root, "other", b"x"),
        lambda: upload(root, tmp_path / "small", "other", content=small),
        lambda: upload(root, tmp_path / "large", "other", content=large),
        lambda: remove(root, ["file"]),
    ):
        with pytest.raises(StorageError, match="the right to do so") as error:
            work()
        assert server.reader_secret not in "".join(traceback.format_exception(error.value))
    assert read_small(root, "file", 10) == b"content"


@pytest.mark.parametrize("kind", ["openssh", "rclone"])
def test_a_folder_that_is_not_there_is_named(kind, request, monkeypatch):
    root = new_root(kind, request, monkeypatch)
    assert "Make the bucket or folder" in refused(f"{root.url}/nowhere", "a bucket or folder")


def test_a_wrong_password_is_refused_and_not_repeated(request, monkeypatch, tmp_path):
    server = server_of("rclone", request)
    environment(server, monkeypatch, MESO_SFTP_PASSWORD="a wrong password")
    (server.home() / ".ssh" / "id_ed25519").unlink()
    secrets = ["a wrong password", server.password]
    told = refused(f"sftp://meso@127.0.0.1:{server.port}/", "to be let in", secrets=secrets)
    assert "AWS" not in told, "that is of another kind of server"


def test_the_right_password_lets_in_without_a_key(request, monkeypatch):
    server = server_of("rclone", request)
    environment(server, monkeypatch)
    (server.home() / ".ssh" / "id_ed25519").unlink()
    root = open_root(server.new_root())
    write_small(root, "a folder of the test/file", b"content")
    assert children(root) == (("a folder of the test", True),)


def test_a_server_whose_key_is_not_known_is_not_trusted(request, monkeypatch):
    server = server_of("openssh", request)
    environment(server, monkeypatch)
    (server.home() / ".ssh" / "known_hosts").write_text("")
    told = refused(server.new_root(), "a server whose key is known")
    assert "Connect to it once with `ssh`" in told


def test_what_the_users_own_file_says_of_a_host_counts(request, monkeypatch):
    server = server_of("openssh", request)
    environment(server, monkeypatch)
    home = server.home()
    lines = ["Host lab", "HostName 127.0.0.1", f"Port {server.port}", f"User {server.user}", "HostKeyAlias lab"]
    (home / ".ssh" / "config").write_text("\n".join(lines) + "\n")
    kind, key, _ = (server.folder / "host_key.pub").read_text().split()
    (home / ".ssh" / "known_hosts").write_text(f"lab {kind} {key}\n")
    try:
        root = open_root(f"sftp://lab{server.new_root().partition(str(server.port))[2]}")
        write_small(root, "file", b"x")
        assert read_small(root, "file", 1) == b"x"
    finally:
        (home / ".ssh" / "config").unlink()


def test_a_quick_cipher_is_asked_for_unless_the_users_own_file_names_ciphers(request, monkeypatch):
    server = server_of("openssh", request)
    environment(server, monkeypatch)
    config = server.home() / ".ssh" / "config"

    def cipher() -> str:
        return open_root(server.new_root()).backend.fs.client.get_extra_info("send_cipher")

    assert cipher() == "aes128-gcm@openssh.com"
    config.write_text("Host 127.0.0.1\nCiphers aes256-ctr\n")
    try:
        assert cipher() == "aes256-ctr"
        config.write_text("Host another\nCiphers aes256-ctr\n")
        assert cipher() == "aes128-gcm@openssh.com"
    finally:
        config.unlink()


@pytest.mark.parametrize("scheme", ["s3", "sftp"])
def test_a_server_that_does_not_answer_is_named(scheme, monkeypatch):
    (port,) = free_ports(1)
    names = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "hush"}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    refused(
        f"{scheme}://{'bucket' if scheme == 's3' else f'127.0.0.1:{port}'}/x", "a server that answers", secrets=["hush"]
    )


@pytest.mark.parametrize("scheme", ["s3", "sftp"])
def test_a_server_that_says_nothing_is_not_waited_for_without_end(scheme, monkeypatch):
    monkeypatch.setattr("meso_core.storage.remote.servers.s3._SILENCE_S", 1)
    monkeypatch.setattr("meso_core.storage.remote.servers.sftp._CONNECT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        names = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
        for name, value in names.items():
            monkeypatch.setenv(name, value)
        refused(f"{scheme}://{'bucket' if scheme == 's3' else f'127.0.0.1:{port}'}/x", "a server that answers")


def test_rights_on_an_sftp_server_are_named(request, monkeypatch):
    server = server_of("openssh", request)
    environment(server, monkeypatch)
    root = open_root(f"sftp://{server.user}@127.0.0.1:{server.port}/sys/kernel", patience=QUICK)  # the kernel's own
    with pytest.raises(StorageError, match="the right to do so"):
        write_small(root, "file", b"x")


def test_a_full_disk_here_is_named(request, monkeypatch, tmp_path):
    root = new_root("memory", request, monkeypatch)
    write_small(root, "file", b"content")

    def full(descriptor, data, offset):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(StorageError, match="Free space on this disk"):
        fetch(root, "file", tmp_path / "back", size=7, sha256=hash_of(b"content").sha256)
    assert not (tmp_path / "back").exists()


def test_errors_are_of_the_family_whatever_a_library_raises(request, monkeypatch):
    root = new_root("memory", request, monkeypatch, patience=QUICK)
    monkeypatch.setenv("MESO_SFTP_PASSWORD", "hush-hush")

    def fail(place):
        raise KeyError("it knows that hush-hush is the password")

    monkeypatch.setattr(root.backend, "below", fail, raising=False)
    with pytest.raises(MesoError, match="a server that can list this") as error:
        list_below(root)
    assert "hush-hush" not in "".join(traceback.format_exception(error.value))
