"""Kills runs at random moments whose session is on a real S3 server, as ``killed_runs`` does on a disk.

``python tests/integration/killed_on_s3.py --times 50`` prints a table; the repository is to be on ``PYTHONPATH``.
Four of five kills are of runs in one process: all they do beside science is to publish, so that the moments fall there.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from killed_runs import CHEAP, KEY, Ground, Tally, campaign, kill

from tests.real_servers import BUCKET, S3Server


@dataclass
class GroundOnS3(Ground):
    """A root on a server with one simulated session."""

    server: S3Server | None = None
    url: str = ""

    @property
    def title(self) -> str:
        return f"{self.executor}, on S3"

    @property
    def environment(self) -> dict[str, str]:
        assert self.server is not None
        return super().environment | self.server.environment() | {"MESO_ROOT": self.url}

    @property
    def _client(self) -> Any:
        assert self.server is not None
        return self.server.client()

    @property
    def _prefix(self) -> str:
        return f"{self.url.removeprefix(f's3://{BUCKET}/')}/{KEY}/"

    def _objects(self) -> dict[str, dict[str, Any]]:
        """Objects of the session, by path."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=self._prefix)
        found = (entry for page in pages for entry in page.get("Contents", ()) if not entry["Key"].endswith("/"))
        return {entry["Key"].removeprefix(self._prefix): entry for entry in found}

    def _content(self, path: str) -> bytes:
        return bytes(self._client.get_object(Bucket=BUCKET, Key=self._prefix + path)["Body"].read())

    def put(self, path: str, content: bytes) -> None:
        """Put an object into the session, past the platform."""
        self._client.put_object(Bucket=BUCKET, Key=self._prefix + path, Body=content)

    def renew(self) -> None:
        """Begin anew with the raw session; what this machine knows of it stays."""
        client, raw = self._client, self.folder / "raw"
        for path in self._objects():
            client.delete_object(Bucket=BUCKET, Key=self._prefix + path)
        for file in sorted(raw.rglob("*")):
            if file.is_file():
                self.put(file.relative_to(raw).as_posix(), file.read_bytes())

    def files(self, session: Path | None = None) -> dict[str, str]:
        """Hash of each file of the session that is no record of the platform."""
        assert session is None
        paths = [path for path in self._objects() if not path.startswith(".meso/")]
        return {path: hashlib.sha256(self._content(path)).hexdigest() for path in paths}

    def touched(self) -> dict[str, tuple[int, int]]:
        return {
            path: (entry["Size"], int(entry["LastModified"].timestamp() * 1e6))
            for path, entry in self._objects().items()
        }

    def left(self) -> list[str]:
        """What killed runs have left though the next one has ended, and records that do not match their files."""
        paths, there = list(self.touched()), self.files()
        wrong = super().left()
        if found := [path for path in paths if path.startswith((".meso/uploading/", ".meso/locks/"))]:
            wrong.append(f"uploads or claims stay: {found}")
        known = set[str]()
        for path in paths:
            if not path.startswith(".meso/manifests/") or path.count("/") != 2:
                continue
            for record in json.loads(self._content(path))["files"]:
                known.add(record["path"])
                if there.get(record["path"]) != record["sha256"]:
                    wrong.append(f"{path} does not match {record['path']}")
        raw = {file.relative_to(self.folder / "raw").as_posix() for file in (self.folder / "raw").rglob("*")}
        if orphans := sorted(set(there) - known - raw):
            wrong.append(f"files of no record: {orphans}")
        return wrong


@contextlib.contextmanager
def ground_on_s3(server: S3Server, executor: str, assets: tuple[str, ...]) -> Iterator[GroundOnS3]:
    with tempfile.TemporaryDirectory(prefix="meso-kills-", ignore_cleanup_errors=True) as folder:
        made = GroundOnS3(Path(folder), executor, assets, server=server, url=server.new_root())
        try:
            made.prepare()
            yield made
        finally:
            kill(made.processes())
            if made.warm is not None:
                made.warm.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=7000.0)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--record", type=Path, help="file to which each life of a session is added as it ends")
    chosen = parser.parse_args()
    tally = Tally(chosen.record)
    with tempfile.TemporaryDirectory(prefix="meso-s3-", ignore_cleanup_errors=True) as folder:
        server = S3Server(Path(folder))
        server.start()
        try:
            until = time.monotonic() + chosen.seconds
            with ground_on_s3(server, "in_process", CHEAP) as here:
                campaign(here, ("group", "head"), tally, seconds=chosen.seconds, kills=chosen.times * 4 // 5)
            with ground_on_s3(server, "multiprocess", CHEAP) as here:
                left = until - time.monotonic()
                campaign(here, ("group", "head", "step"), tally, seconds=left, kills=chosen.times)
        finally:
            server.kill()
    print(tally.table())


if __name__ == "__main__":
    main()
