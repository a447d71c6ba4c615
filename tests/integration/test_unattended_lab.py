"""A lab's disk that nobody looks at: what goes wrong on a rig arrives by slow copies, and the service is left alone.

Every fault of the simulator has its session, and so have a copy that was aborted and resumed, a bout that came late, a
session that was copied twice, and a dark field. Each session comes to the end that is written beside it here, before it
runs: whole, whole with a verdict, or without what cannot be made, with the reason in the overview.
"""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import tifffile

from meso_core.simulate import FAULTS, preset, simulate_session
from tests.integration.conftest import run_meso
from tests.integration.lab_disk import Copy, service, wait_until
from tests.integration.test_unattended import one_field, words_of
from tests.notice_servers import mail_server, parts_of, web_hook

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(7200)]


@dataclass(frozen=True)
class End:
    """A session, and what must come of it."""

    #: Faults of the simulator.
    faults: tuple[str, ...] = ()
    #: Assets that cannot be made, and the error that each names.
    fails: tuple[tuple[str, str], ...] = ()
    #: Checks that do not pass.
    look: tuple[str, ...] = ()
    #: Changes of the settings.
    changes: tuple[tuple[str, object], ...] = ()


METADATA, MOVIES = "imaging_metadata", "motion_registered_frames"
#: Subject → its session.
LAB = {
    "resumed": End(),
    "late": End(),
    "twice": End(),
    "dark": End(look=("cells_found",)),
    "hidden": End(faults=("missing_metadata", "counter_wrap", "hidden_files", "thumbs_db", "ea_dir")),
    "foreign": End(faults=("foreign_fov",)),
    "number": End(faults=("session_number_1",)),
    "cut": End(faults=("truncated_tif",), look=("frames_are_whole",)),
    "empty": End(faults=("empty_tif", "wrong_length_qc"), look=("frames_are_whole", "frames_were_rated")),
    "lost": End(faults=("missing_frames",), look=("frames_are_whole",)),
    "doubled": End(faults=("doubled_page",), look=("frames_are_whole",)),
    "swapped": End(faults=("swapped_frames",), look=("frames_are_whole",)),
    "surplus": End(faults=("surplus_pulses",), look=("frames_match_pulses",)),
    # the frames of the second bout alone are enough for suite2p
    "folder": End(("missing_folder",), look=("bouts_have_folders",), changes=(("frames_per_bout", (40, 60)),)),
    "channel": End(faults=("channel_alone",), look=("frames_are_whole",), changes=(("channels", (2, 4)),)),
    "perchannel": End(faults=("tif_per_channel",), changes=(("channels", (2, 4)),)),
    "alien": End(("foreign_tif",), fails=((METADATA, "InputFileError"), ("imaging_frames_archive", "InputFileError"))),
    "moved": End(faults=("metadata_mismatch",), fails=((METADATA, "MetadataError"),)),
    # frames that no pulse belongs to are refused before the expensive work begins
    "pulses": End(faults=("dropped_pulses",), fails=(("frame_times", "TimingError"), (MOVIES, "TimingError"))),
    "silent": End(faults=("missing_bout",), fails=(("frame_times", "TimingError"), (MOVIES, "TimingError"))),
}
#: The copy of a tif that never ends: the session waits, and is said to.
WAITS = "copied"
#: What is done in every session that comes to its end without a failure; the rest waits for Alyx or has nothing to do.
RESULTS = (
    "imaging_metadata", "imaging_frames_archive", "frame_qc", "frame_times", "motion_registered_frames", "rois",
    "mean_image_mlapdv", "roi_brain_locations", "session_qc", "session_report",
)  # fmt: skip
GOOD = [name for name, end in LAB.items() if not end.fails]
BAD = [name for name, end in LAB.items() if end.fails]


def test_every_fault_of_the_simulator_has_its_session():
    assert {fault for end in LAB.values() for fault in end.faults} | {"partial_copy"} == set(FAULTS)


def make(rig, name, end):
    """Simulate a session on the rig; its subject has its name."""
    config = replace(one_field(), subject=name, seed=sorted(LAB).index(name), **dict(end.changes))
    if name == "dark":
        config = replace(config, rois=preset("tiny").rois[:2])
    made = simulate_session(rig, config, faults=end.faults)
    if name == "dark":
        darken(made)
    return made


def darken(made):
    """Take the light from the second field of view: what is left is the noise of the amplifier."""
    metadata = json.loads(next(made.session_path.glob("raw_imaging_data_00/*meta.json")).read_text())
    lines = np.ravel(metadata["FOV"][1]["lineIdx"]).astype(int) - 1
    noise = np.random.default_rng(0)
    for tif in sorted(made.session_path.rglob("*.tif")):
        if tif.parent.name == "reference" or not tif.parent.name.startswith("raw_imaging_data"):
            continue
        with tifffile.TiffFile(tif) as file:
            places = [(page.dataoffsets[0], page.shape, page.dtype.newbyteorder(file.byteorder)) for page in file.pages]
        with tif.open("r+b") as out:
            for offset, (ny, nx), dtype in places:
                out.seek(offset)
                page = np.frombuffer(out.read(ny * nx * dtype.itemsize), dtype).reshape(ny, nx).copy()
                page[lines] = noise.normal(120, 18, (len(lines), nx))
                out.seek(offset)
                out.write(page.tobytes())


class Lab:
    """Sessions of a rig, and what has come of them on the disk."""

    def __init__(self, folder, settings):
        self.settings, self.rig = settings, folder / "rig"
        self.made = {name: make(self.rig, name, end) for name, end in LAB.items()}
        config = replace(one_field(), subject=WAITS)
        self.made[WAITS] = simulate_session(self.rig, config, faults=("partial_copy",))

    def copy(self, name, seed, **how):
        made = self.made[name]
        return Copy(made.session_path, self.settings.root / made.session_path.relative_to(self.rig), 30.0, seed, **how)

    def records(self, name):
        """What `meso status` says of a session."""
        ran = run_meso(self.settings, "status", "--json")
        assert ran.returncode == 0, ran.stderr
        return [one for one in json.loads(ran.stdout) if one["session"].split("/")[0] == name]

    def states(self, name):
        """State of each asset of a session."""
        return {one["asset"]: one["state"] for one in self.records(name) if one["asset"]}

    def is_done(self, name):
        """Whether a session is whole."""
        states = self.states(name)
        return {states.get(asset) for asset in RESULTS} == {"done"} and "running" not in states.values()

    def has_failed(self, name):
        """Whether a session came to its end without what cannot be made."""
        states = self.states(name)
        failed = {states.get(asset) for asset, _ in LAB[name].fails} == {"failed"}
        return failed and not {"running", "stale"} & {*states.values()}


@pytest.fixture(scope="module")
def lab(tmp_path_factory, make_settings):
    """The lab after all has arrived and the service came to rest; with what was told meanwhile."""
    folder = tmp_path_factory.mktemp("lab")
    settings = make_settings(folder, watch=True, scan_every_s=30, quiet_minutes=0.4, executor="in_process")
    settings.root.mkdir()
    made = Lab(folder, settings)
    with (
        mail_server() as mail,
        web_hook() as hook,
        service(settings, {"MESO_NOTICES": f"{mail.url} {hook.url}"}) as serving,
    ):
        made.serving, made.mail, made.hook = serving, mail, hook
        arrive(made)
        for name, end in LAB.items():
            ended = made.has_failed if end.fails else made.is_done
            patiently(lambda name=name, ended=ended: ended(name), lambda name=name: made.records(name))
        made.page = words_of(serving.page("/meso/overview"))
        yield made


def patiently(true, tell):
    wait_until(true, 5400, lambda: str(tell()), every=20.0)


def arrive(lab):
    """Copy all in a mixed order, some side by side; abort one and resume it, bring a bout late and a session twice."""
    aborted, late = lab.copy("resumed", 0).start(0.6), lab.copy("late", 1, without=("raw_imaging_data_01",)).start()
    copies = [lab.copy(name, seed) for seed, name in enumerate([*LAB, WAITS], 2) if name not in ("resumed", "late")]
    order = np.random.default_rng(1).permutation(len(copies))
    for first in range(0, len(copies), 4):
        some = [copies[i].start() for i in order[first : first + 4]]
        wait_until(lambda some=some: all(copy.ended() for copy in some), 600, lambda: "copies do not end", every=1.0)
    assert aborted.ended()
    assert late.ended()
    done = {asset for asset, state in lab.states("resumed").items() if state == "done"}
    # quick runs wait for no long one: that of half a copy has found that there is no snapshot to tell Alyx of
    assert done <= {"alyx_snapshots"}, "half a copy is no session yet"
    resumed = lab.copy("resumed", 0).start()
    for name in ("twice", "late"):
        patiently(lambda name=name: lab.is_done(name), lambda name=name: lab.records(name))
    lab.first_times = {name: published(lab.records(name)) for name in ("twice", "late")}
    again, bout = lab.copy("twice", 100).start(), lab.copy("late", 101).start()
    wait_until(lambda: resumed.ended() and again.ended() and bout.ended(), 600, lambda: "copies do not end", every=1.0)
    for name in ("twice", "late"):  # it is seen by itself that they are out of date
        patiently(lambda name=name: not lab.is_done(name) or published(lab.records(name)) != lab.first_times[name],
                  lambda name=name: lab.records(name))  # fmt: skip


def published(records):
    """When each asset of a session was published."""
    return {one["asset"]: one["published_at"] for one in records if one["asset"] in RESULTS}


@pytest.mark.parametrize("name", GOOD)
def test_a_session_with_all_that_it_needs_ends_whole(lab, name):
    states = lab.states(name)
    assert {asset: states[asset] for asset in RESULTS} == dict.fromkeys(RESULTS, "done")
    assert not {"failed", "interrupted", "partial", "stale", "missing", "unreadable"} & {*states.values()}


@pytest.mark.parametrize("name", [name for name, end in LAB.items() if end.look])
def test_what_was_tolerated_has_a_verdict(lab, name):
    ran = run_meso(lab.settings, "qc", lab.records(name)[0]["session"], "--json")
    fired = {one["check"] for one in json.loads(ran.stdout)["results"] if one["verdict"] not in ("PASS", "NOT_SET")}
    assert {*LAB[name].look} <= fired


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_made_shows_its_reason_and_spares_the_rest(lab, name):
    found = {one["asset"]: one for one in lab.records(name) if one["asset"]}
    for asset, error in LAB[name].fails:
        assert found[asset]["state"] == "failed"
        assert f"{error}: " in found[asset]["why"]
        assert found[asset]["why"] in lab.page
    if METADATA not in {asset for asset, _ in LAB[name].fails}:  # nothing goes without the metadata
        spared = ("imaging_frames_archive", "frame_qc", "mean_image_mlapdv", "session_qc", "session_report")
        assert {asset: found[asset]["state"] for asset in spared} == dict.fromkeys(spared, "done")


def test_a_session_that_is_still_being_copied_waits_and_is_said_to(lab):
    assert any("not ready: still being copied: " in one["why"] for one in lab.records(WAITS))
    assert "done" not in lab.states(WAITS).values()


def test_a_bout_that_came_late_is_in_the_results(lab):
    made = lab.made["late"]
    times = lab.settings.root / made.session_path.relative_to(lab.rig) / "alf" / "FOV_00" / "mpci.times.npy"
    assert len(np.load(times)) == sum(one_field().frames_per_bout)


def test_no_good_session_has_a_finding_in_the_quick_audit(lab):
    """But for what another program has left, which is named."""
    ours = [lab.records(name)[0]["session"] for name in GOOD if name != "foreign"]
    ran = run_meso(lab.settings, "audit", *ours)
    assert ran.returncode == 0, ran.stdout
    left = run_meso(lab.settings, "audit", lab.records("foreign")[0]["session"])
    assert left.returncode == 1
    assert "2 orphaned (" in left.stdout


def test_the_digest_tells_what_is_done_and_what_failed(lab):
    told = run_meso(lab.settings, "notices", "--digest").stdout
    for name in (*GOOD, *BAD, WAITS):
        assert f"- {lab.records(name)[0]['session']}" in told
    for name in BAD:
        assert all(f", {asset}: {error}: " in told for asset, error in LAB[name].fails)
    assert f"{len(LAB) + 1} sessions, {len(GOOD)} of them whole and current." in told


def test_each_failure_was_told_once_by_mail_and_by_web_hook(lab):
    mails = "\n".join(parts_of(mail)["text/plain"] for mail in lab.mail.mails)
    posts = json.dumps(lab.hook.posts)
    for name in BAD:
        for asset, error in LAB[name].fails:
            session = lab.records(name)[0]["session"]
            assert session in mails
            assert session in posts
            assert f"{error}: " in mails, asset
