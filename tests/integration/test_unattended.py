"""Nobody there: sessions arrive by slow copies, the service runs, and what is wrong is shown with its reason."""

import json
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from meso_core.simulate import preset, simulate_session
from tests.integration.conftest import run_meso
from tests.integration.lab_disk import Copy, service, wait_until
from tests.notice_servers import mail_server, web_hook

#: Session → its fault.
FAULTS = {"moved": "metadata_mismatch", "copied": "partial_copy"}
#: Folder that breaks a rule → what is said of it.
BROKEN = {
    "rules/2023-02-30": "there is no such date",
    "rules/2023-03-03/1a": "no session number",
    "rules/2023-03-04/1": "means the same session as",
    "rules/2023-03-04/001": "means the same session as",
}


def one_field():
    """Make settings of the tiny session with its first field alone, in two bouts."""
    tiny = preset("tiny")
    return replace(tiny, rois=tiny.rois[:1], frames_per_bout=(60, 40))


@dataclass
class Disk:
    """Sessions of a rig, and what has come of them on a disk that a service watches."""

    folder: object
    settings: object
    copies: list = field(default_factory=list)
    #: Name → what the rig holds.
    made: dict = field(default_factory=dict)

    def make(self, name, faults):
        """Simulate a session on the rig; its subject has its name."""
        config = replace(one_field(), subject=name)
        self.made[name] = simulate_session(self.folder / "rig", config, faults=faults)

    def arrive(self, name, seconds=20.0):
        """Begin to copy it to the disk."""
        made = self.made[name]
        target = self.settings.root / made.session_path.relative_to(self.folder / "rig")
        self.copies.append(Copy(made.session_path, target, seconds, seed=len(self.copies)).start())

    def status(self):
        """What `meso status` says: records of assets by session and asset, and the other lines."""
        ran = run_meso(self.settings, "status", "--json")
        assert ran.returncode == 0, ran.stderr
        records = json.loads(ran.stdout)
        return {(r["session"].split("/")[0], r["asset"]): r for r in records if r["asset"]}, [
            r for r in records if not r["asset"]
        ]


def shown_page(serving, parts):
    """Look at the overview in the interface until it shows all this; returns all that it says."""
    seen = [""]

    def shows():
        seen[0] = words_of(serving.page("/meso/overview"))
        return all(part in seen[0] for part in parts)

    wait_until(shows, 900, lambda: f"{parts} are not all in: {seen[0]}", every=5.0)
    return seen[0]


def words_of(page):
    """All that a page of the overview says."""
    start = page.index(">", page.index('id="values"')) + 1

    def words(value):
        if isinstance(value, dict | list):
            inner = value.values() if isinstance(value, dict) else value
            return [word for one in inner for word in words(one)]
        return [str(value)]

    return "\n".join(words(json.loads(page[start : page.index("</script>", start)])))


@contextmanager
def arriving(folder, make_settings, names):
    """Let a service watch an empty disk, to which these sessions come, beside folders that break rules."""
    settings = make_settings(folder, watch=True, scan_every_s=30, quiet_minutes=0.4, executor="in_process")
    disk = Disk(folder, settings)
    for name in names:
        disk.make(name, (FAULTS[name],))
    for path in BROKEN:
        (settings.root / path / "raw_imaging_data_00").mkdir(parents=True)
    with (
        mail_server() as mail,
        web_hook() as hook,
        service(settings, {"MESO_NOTICES": f"{mail.url} {hook.url}"}) as serving,
    ):
        for name in names:
            disk.arrive(name)
        yield SimpleNamespace(disk=disk, serving=serving, mail=mail, hook=hook)


pytestmark = pytest.mark.timeout(2000)


def test_a_bad_session_shows_its_reason_and_one_that_is_being_copied_waits(tmp_path, make_settings):
    name, asset, error = "moved", "imaging_metadata", "MetadataError"
    with arriving(tmp_path, make_settings, FAULTS) as lab:
        page = shown_page(lab.serving, [f"{error}: ", *BROKEN.values()])
    cells, others = lab.disk.status()
    assert cells[name, asset]["state"] == "failed"
    assert cells[name, asset]["why"] in page
    told = [one["why"] for one in others]
    assert any("not ready: still being copied: " in why for why in told)
    assert all(any(rule in why for why in told) for rule in BROKEN.values())
