"""Attacks meso in all ways that the tests know, for as long as that takes, and prints the table of ``docs/attacks.md``.

``make attacks`` does all of it, in some hours. ``python -m tests.attacks --folder F kills`` does one part; what is in F
adds up, and ``python -m tests.attacks --folder F --print`` prints the table of it. Parts that try each case once
begin anew; those that kill at random moments go on, so that the table counts all their kills.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "attacks.md"
sys.path.insert(0, str(Path(__file__).resolve().parent))
from attack_records import INTO, read, table  # noqa: E402
from ordinary_user import prefix  # noqa: E402

_ALL = ("-m", "nightly or not nightly", "--timeout=7200", "-q", "-p", "no:cacheprovider")


@dataclass(frozen=True)
class Part:
    """Something that attacks."""

    does: str
    #: Tests that attack, or else a script that does so at random moments.
    tests: tuple[str, ...] = ()
    script: tuple[str, ...] = ()

    def run(self, name: str, folder: Path, options: list[str], start: list[str]) -> int:
        """Attack; what comes of it is in the folder."""
        file = folder.resolve() / f"{name}.jsonl"
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        if self.script:
            program, *chosen = self.script
            command = [str(REPOSITORY / "tests/integration" / program), *chosen, "--record", str(file), *options]
        else:
            file.unlink(missing_ok=True)
            environment[INTO] = str(file)
            command = ["-m", "pytest", *_ALL, *self.tests, *options]
        return subprocess.run(
            [*start, sys.executable, *command], cwd=REPOSITORY, env=environment, check=False
        ).returncode


PARTS = {
    "cluster": Part(
        "jobs, nodes and controller of a SLURM cluster; workers, broker and database of Celery; pods of a stand-in for "
        "Kubernetes; machines that are not fit, or whose clocks differ",
        tests=(
            "tests/deploy/test_slurm.py",
            "tests/deploy/test_celery.py",
            "tests/deploy/test_kubernetes.py",
            "tests/deploy/test_clocks.py",
            "tests/runs/test_compatibility.py",
            "tests/runs/test_server_users.py",
        ),
    ),
    "kills": Part("kills of short runs", script=("killed_runs.py", "--times", "500", "--seconds", "14400")),
    "kills-in-one-process": Part(
        "the same, all steps in one process",
        script=("killed_runs.py", "--executor", "in_process", "--times", "100", "--seconds", "7200"),
    ),
    "kills-of-more": Part(
        "kills of runs of all assets that take no suite2p",
        script=("killed_runs.py", "--assets", "cheap", "--times", "100", "--seconds", "7200"),
    ),
    "kills-in-suite2p": Part(
        "kills of runs that register movies",
        script=("killed_runs.py", "--assets", "suite2p", "--times", "60", "--seconds", "7200"),
    ),
    "kills-on-s3": Part("kills of runs whose session is on S3", script=("killed_on_s3.py", "--times", "200")),
    "daemon": Part("kills under the daemon", script=("killed_daemon.py", "--kills", "60")),
    "pairs": Part("two runs at once", script=("killed_runs.py", "--pairs", "--times", "30", "--seconds", "7200")),
    "pairs-in-suite2p": Part(
        "two runs that register movies at once",
        script=("killed_runs.py", "--pairs", "--assets", "suite2p", "--times", "3", "--seconds", "7200"),
    ),
    "publication": Part(
        "kills, losses of power and full disks while files are published",
        tests=(
            "tests/storage/test_publish.py",
            "tests/storage/test_publication_kills.py",
            "tests/storage/test_power_loss.py",
            "tests/storage/test_no_room.py",
        ),
    ),
    "versions": Part("kills and losses of power while versions are kept", tests=("tests/storage/test_versions.py",)),
    "servers": Part(
        "kills, cut connections and races on shared and remote roots",
        tests=("tests/storage/remote", "tests/storage/conformance", "tests/storage/test_locks.py"),
    ),
    "removal": Part(
        "kills and losses of power while tifs go and come",
        tests=("tests/archive/test_archive_kills.py", "tests/archive/test_gate_kills_on_server.py"),
    ),
    "gate": Part(
        "attacks on the removal of tifs",
        tests=("tests/archive/test_archive_attacks.py", "tests/archive/test_gate_attacks_on_server.py"),
    ),
    "records": Part(
        "kills of, full disks under, races for the records of the platform",
        tests=(
            "tests/runs/test_instance.py",
            "tests/runs/test_instance_attacks.py",
            "tests/runs/test_claims.py",
            "tests/runs/test_postgres.py",
            "tests/runs/test_renaming.py",
            "tests/defs/test_notices.py",
        ),
    ),
    "inputs": Part("each raw file, bent in each way", tests=("tests/integration/test_bent_files.py",)),
    "alyx": Part(
        "faults of Alyx at each request", tests=("tests/alyx/test_alyx_faults.py", "tests/alyx/test_alyx_requests.py")
    ),
    "rights": Part("what is closed to the user who runs meso", tests=("tests/integration/test_without_rights.py",)),
    "web": Part(
        "names and records that would have a page of the interface do more", tests=("tests/web/test_lineage_page.py",)
    ),
}


def told(folder: Path) -> str:
    """Draw the table of what is in the folder, and say which parts are not."""
    missing = [f"`{name}`" for name in PARTS if not (folder / f"{name}.jsonl").exists()]
    lacks = f"Not run for this table: {', '.join(missing)}." if missing else "All parts are in this table."
    return f"{table(list(read(folder)))}\n\n{lacks}"


def put_into_page(text: str) -> None:
    """Replace the table of the page by this one."""
    before, begin, rest = PAGE.read_text().partition("<!-- table")
    head, _, rest = rest.partition("-->\n")
    _, end, after = rest.partition("<!-- end of the table -->")
    PAGE.write_text(f"{before}{begin}{head}-->\n\n{text}\n\n{end}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog="; ".join(f"{n}: {p.does}" for n, p in PARTS.items()))
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "attack-data")
    parser.add_argument("--print", action="store_true", dest="only_print", help="attack nothing, print what is there")
    parser.add_argument("--ordinary-user", action="store_true", help="where root runs it: without root's rights")
    parser.add_argument("--page", action="store_true", help="put the table into docs/attacks.md")
    chosen, options = parser.parse_known_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    chosen.folder.mkdir(parents=True, exist_ok=True)
    start, codes = prefix() if chosen.ordinary_user else [], {}
    for name in () if chosen.only_print else chosen.parts or PARTS:
        codes[name] = PARTS[name].run(name, chosen.folder, options, start)
    print(told(chosen.folder))
    if chosen.page:
        put_into_page(told(chosen.folder))
    failed = [name for name, code in codes.items() if code]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    sys.exit(1 if failed or any(record.lost for record in read(chosen.folder)) else 0)


if __name__ == "__main__":
    main()
