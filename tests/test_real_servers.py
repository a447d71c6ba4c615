"""The servers that other tests rely on do what these tests believe."""

from __future__ import annotations

import subprocess
import threading
import time
from itertools import count

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.real_servers import BUCKET, program

CUT = (BotoCoreError, ClientError)


def sftp(server, port: int, batch: str) -> subprocess.CompletedProcess[str]:
    """Run commands of OpenSSH's own client."""
    ssh = server.home(port) / ".ssh"
    options = [f"IdentityFile={ssh / 'id_ed25519'}", f"UserKnownHostsFile={ssh / 'known_hosts'}", "BatchMode=yes"]
    options += ["ConnectTimeout=5", "StrictHostKeyChecking=yes", f"User={server.user}", f"Port={port}"]
    given = [part for option in options for part in ("-o", option)]
    command = [program("sftp", "openssh-client"), "-F", "/dev/null", *given, "-b", "-", "127.0.0.1"]
    return subprocess.run(command, input=batch, text=True, capture_output=True, timeout=30)


def test_an_object_survives_the_death_of_its_server(s3_server):
    client = s3_server.client()
    client.put_object(Bucket=BUCKET, Key="a name/µ", Body=b"content")
    s3_server.kill()
    with pytest.raises(CUT):
        client.get_object(Bucket=BUCKET, Key="a name/µ")
    s3_server.start()
    assert client.get_object(Bucket=BUCKET, Key="a name/µ")["Body"].read() == b"content"


def test_of_several_writers_that_ask_for_no_object_of_the_name_one_wins(s3_server):
    for attempt in range(5):
        outcomes: dict[int, str] = {}

        def write(n: int, attempt=attempt, outcomes=outcomes) -> None:
            try:
                s3_server.client().put_object(Bucket=BUCKET, Key=f"claim {attempt}", Body=b"%d" % n, IfNoneMatch="*")
                outcomes[n] = "won"
            except ClientError as error:
                outcomes[n] = error.response["Error"]["Code"]

        writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        winner = int(s3_server.client().get_object(Bucket=BUCKET, Key=f"claim {attempt}")["Body"].read())
        assert outcomes == {n: "won" if n == winner else "PreconditionFailed" for n in range(4)}


def test_the_reader_of_the_bucket_may_not_write(s3_server, monkeypatch):
    import boto3

    for name, value in s3_server.environment(reader=True).items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.list_objects_v2(Bucket=BUCKET)
    with pytest.raises(ClientError, match="AccessDenied"):
        client.put_object(Bucket=BUCKET, Key="not allowed", Body=b"")


def test_a_lost_answer_is_that_of_something_that_was_done(s3_server, bad_network):
    proxy = bad_network(s3_server)
    client = s3_server.client(proxy.port)
    client.list_objects_v2(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key="to be removed", Body=b"")
    proxy.cut_after(received=0)
    with pytest.raises(CUT):
        client.delete_object(Bucket=BUCKET, Key="to be removed")
    assert "Contents" not in s3_server.client().list_objects_v2(Bucket=BUCKET, Prefix="to be removed")
    proxy.cut_after(received=len(b"HTTP/1.1 100 Continue\r\n\r\n"))  # boto asks first whether it may send a body
    with pytest.raises(CUT):
        client.put_object(Bucket=BUCKET, Key="answer lost", Body=b"done")
    assert s3_server.client().get_object(Bucket=BUCKET, Key="answer lost")["Body"].read() == b"done"
    client.put_object(Bucket=BUCKET, Key="and on", Body=b"")  # one cut was asked for


def test_a_cut_in_the_middle_lets_no_object_appear(s3_server, bad_network):
    proxy = bad_network(s3_server)
    proxy.cut_after(sent=300_000)
    with pytest.raises(CUT):
        s3_server.client(proxy.port).put_object(Bucket=BUCKET, Key="half", Body=bytes(1_000_000))
    assert proxy.cuts == 1
    assert "Contents" not in s3_server.client().list_objects_v2(Bucket=BUCKET, Prefix="half")


def test_a_slow_way_takes_its_time_and_a_stalled_one_ends_in_a_time_out(s3_server, bad_network):
    proxy = bad_network(s3_server)
    proxy.bytes_per_s = 1_000_000
    started = time.monotonic()
    s3_server.client(proxy.port).put_object(Bucket=BUCKET, Key="slow", Body=bytes(500_000))
    assert time.monotonic() - started > 0.5
    proxy.stalled = True
    with pytest.raises(CUT):
        s3_server.client(proxy.port, wait_s=1).list_objects_v2(Bucket=BUCKET)


@pytest.mark.parametrize("name", ["openssh_server", "rclone_server"])
def test_a_key_opens_the_sftp_server_and_its_files_survive_its_death(name, request, tmp_path, bad_network):
    server = request.getfixturevalue(name)
    root = server.new_root().partition(f":{server.port}")[2]
    (tmp_path / "a file µ").write_bytes(b"content")
    put = f'put "{tmp_path}/a file µ" "{root}/a file µ"\nrename "{root}/a file µ" "{root}/b"\n'
    assert sftp(server, server.port, put).returncode == 0
    server.kill()
    assert sftp(server, server.port, put).returncode != 0
    server.start()
    assert sftp(server, server.port, f'get "{root}/b" "{tmp_path}/b"\n').returncode == 0
    assert (tmp_path / "b").read_bytes() == b"content"

    proxy = bad_network(server)
    assert sftp(server, proxy.port, f'ls "{root}"\n').returncode == 0
    proxy.cut_after(received=3000)
    (server.served / root.rpartition("/")[2] / "big").write_bytes(bytes(200_000))
    assert sftp(server, proxy.port, f'get "{root}/big" "{tmp_path}/big"\n').returncode != 0
    assert proxy.cuts == 1


def test_the_sftp_server_kills_a_transfer_that_is_under_way(openssh_server, tmp_path, bad_network):
    """Its process for a connection is another one than that which listens; both must die."""
    root = openssh_server.new_root().partition(f":{openssh_server.port}")[2]
    proxy, (small, big) = bad_network(openssh_server), (tmp_path / "small", tmp_path / "big")
    small.write_bytes(b"")
    big.write_bytes(bytes(20_000_000))
    proxy.bytes_per_s = 2_000_000
    results = []
    transfer = threading.Thread(
        target=lambda: results.append(sftp(openssh_server, proxy.port, f'put {big} "{root}/b"\n'))
    )
    transfer.start()
    for _ in count():
        if proxy.sent > 1_000_000:
            break
        time.sleep(0.01)
    openssh_server.kill()
    transfer.join()
    assert results[0].returncode != 0
    assert 0 < (openssh_server.served / root.rpartition("/")[2] / "b").stat().st_size < 20_000_000
