"""Notices: each failure and recovery is told once, a server that is down loses none, and no secret is told."""

import os
import signal
import subprocess
import sys

import dagster as dg
import pytest
from click.testing import CliRunner

from meso_assets.cli.notices import command
from meso_assets.definitions import build_defs
from meso_assets.defs.notices import sending as going_out
from meso_assets.defs.notices.addresses import addresses, send
from meso_assets.defs.notices.digest import Digest, _tell_done, iso
from meso_assets.defs.notices.ledger import Ledger, open_ledger
from meso_assets.defs.notices.pages import Page
from meso_assets.defs.notices.sending import send_digest, tell
from meso_assets.io.resources import Platform
from meso_assets.runs.instance import open_instance
from meso_assets.runs.settings.settings import load_settings
from meso_core.errors import MesoWarning, SettingsError, TimingError
from meso_core.simulate import simulate_session
from tests.notice_servers import PASSWORD, free_port, mail_server, parts_of, web_hook
from tests.short_session import short

KEY, OTHER = "SP035/2023-03-03/001", "SP035/2023-03-04/001"
PAGE = Page("t", "<p>t</p>")


@pytest.fixture
def mail():
    with mail_server() as server:
        yield server


@pytest.fixture
def hook():
    with web_hook() as server:
        yield server


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def settings(tmp_path):
    return load_settings({"root": tmp_path / "sessions", "home": tmp_path / "home"})


@pytest.fixture
def named(monkeypatch, settings, instance):
    """Function that names addresses, and has a first look: what was before is history."""

    def name(*urls):
        monkeypatch.setenv("MESO_NOTICES", " ".join(urls))
        look(instance, settings)

    return name


def look(instance, settings):
    """What a tick of the sensor does; returns its warnings."""
    warnings = []
    tell(instance, settings, warnings.append)
    return warnings


def run(instance, key=KEY, why="", assets=("frame_times", "rois"), without="", **tags):
    """Run two assets of a session, of which ``frame_times`` fails for a reason, and ``rois`` lacks a field for one."""
    check = dg.AssetCheckSpec("all_fields_published", asset="rois")

    @dg.asset(name="frame_times")
    def times():
        if why:
            raise dg.Failure(f"TimingError: {why}")

    @dg.asset(name="rois", check_specs=[check])
    def cells():
        told = dg.AssetCheckResult(check_name=check.name, passed=not without, description=without)
        return dg.MaterializeResult(check_results=[told])

    job = dg.Definitions(assets=[times, cells], jobs=[dg.define_asset_job("process_session")]).resolve_job_def(
        "process_session"
    )
    return job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in assets],
        tags={"dagster/partition": key, **tags},
        raise_on_error=False,
    )


def test_a_failure_is_told_once_with_its_reason_by_mail_and_web_hook_also_after_a_restart(
    instance, settings, named, mail, hook
):
    named(mail.url, hook.url)
    failed = run(instance, why="expected pulses, found <none> & more")
    for _ in range(3):  # nothing is kept between ticks but the ledger: each is as the first after a restart
        assert look(instance, settings) == []
    (letter,), (post,) = mail.mails, hook.posts
    assert letter["Subject"] == post["title"] == f"meso: {KEY} failed: frame_times"
    assert letter["To"] == "lab@example.org"
    parts = parts_of(letter)
    assert "found &lt;none&gt; &amp; more" in parts["text/html"], "what comes from files is escaped"
    for text in (parts["text/plain"], post["message"]):
        assert f"{KEY}, frame_times: TimingError: expected pulses, found <none> & more" in " ".join(text.split())
        assert failed.run_id.split("-")[0] in text


def test_what_was_before_notices_were_switched_on_is_history(instance, settings, named, mail):
    run(instance, why="long ago")
    named(mail.url)
    look(instance, settings)
    assert mail.mails == []


def test_a_recovery_is_told_when_all_that_failed_is_made_and_only_then(instance, settings, named, mail):
    named(mail.url)
    run(instance)
    look(instance, settings)
    assert mail.mails == [], "success is no news"
    run(instance, why="no pulses")
    look(instance, settings)
    run(instance, assets=("rois",))
    look(instance, settings)
    assert len(mail.mails) == 1, "frame_times still fails"
    run(instance)
    look(instance, settings)
    run(instance)
    look(instance, settings)
    assert [m["Subject"] for m in mail.mails[1:]] == [f"meso: {KEY} has recovered"]


def test_what_happens_at_once_is_one_message_and_the_same_failure_again_is_none(instance, settings, named, mail):
    named(mail.url)
    for key in (KEY, OTHER):
        run(instance, key, why="no pulses")
    look(instance, settings)
    run(instance, why="no pulses")
    look(instance, settings)
    assert [m["Subject"] for m in mail.mails] == ["meso: 2 failed"]
    run(instance, why="another reason")
    look(instance, settings)
    assert len(mail.mails) == 2


def test_a_result_without_some_fields_of_view_is_told_once_and_so_is_that_they_came(
    instance, settings, named, mail, hook
):
    named(mail.url, hook.url)
    why = "FOV_02 is missing: found 0 of 60 frames"
    for _ in range(2):
        run(instance, without=why)
        look(instance, settings)
    (letter,) = mail.mails
    assert letter["Subject"] == f"meso: {KEY} without some fields of view: rois"
    for text in (parts_of(letter)["text/plain"], hook.posts[0]["message"]):
        assert f"Published without some fields of view - {KEY}, rois: {why}" in " ".join(text.split())
    run(instance, assets=("frame_times",))
    look(instance, settings)
    assert len(mail.mails) == 1, "the field is still missing"
    run(instance)
    look(instance, settings)
    assert [m["Subject"] for m in mail.mails[1:]] == [f"meso: {KEY} has recovered"]


def test_a_run_that_fails_and_leaves_fields_of_view_out_tells_both(instance, settings, named, mail):
    named(mail.url)
    run(instance, why="no pulses", without="FOV_02 is missing")
    look(instance, settings)
    text = " ".join(parts_of(mail.mails[0])["text/plain"].split())
    assert "rois: FOV_02 is missing" in text
    assert "frame_times: TimingError: no pulses" in text
    run(instance, without="FOV_02 is missing")
    look(instance, settings)
    assert len(mail.mails) == 1, "nothing is new, and not all is made"


def test_an_interrupted_run_that_is_run_again_is_no_news(instance, settings, named, mail):
    named(mail.url)
    run(instance, why="interrupted", **{"dagster/will_retry": "true"})
    look(instance, settings)
    assert mail.mails == []


def test_a_server_that_is_down_is_a_warning_and_gets_the_message_when_it_is_back(instance, settings, named, hook):
    port = free_port()
    named(f"mailto://127.0.0.1:{port}?from=meso@example.org&to=lab@example.org", hook.url)
    run(instance, why="no pulses")
    (warning,) = look(instance, settings)
    assert "not taken by address 1 (E-Mail), and is sent again" in warning
    assert len(hook.posts) == 1
    assert len(look(instance, settings)) == 1
    with mail_server(port) as server:
        assert look(instance, settings) == []
        assert look(instance, settings) == []
        assert len(server.mails) == 1
    assert len(hook.posts) == 1, "who has taken it is not asked again"


def test_a_kill_between_sending_and_recording_sends_one_message_twice_at_most_and_loses_none(
    instance, settings, named, mail, monkeypatch, tried
):
    named(mail.url)
    saves, save = [], Ledger.save

    def killed_at(number):
        def save_or_die(ledger):
            saves.append(1)
            if len(saves) == number:
                raise KeyboardInterrupt
            save(ledger)

        return save_or_die

    for number in (1, 2, 3):
        before = len(mail.mails)
        run(instance, why=f"reason {number}")
        saves.clear()
        with monkeypatch.context() as dying:
            dying.setattr(Ledger, "save", killed_at(number))
            with pytest.raises(KeyboardInterrupt):
                look(instance, settings)
        look(instance, settings)
        look(instance, settings)
        got = [m for m in mail.mails[before:] if f"reason {number}" in str(parts_of(m)["text/plain"])]
        assert 1 <= len(got) <= 2
        tried("kills: between sending and recording a notice")


#: A tick in a process of its own, which is killed as it saves the ledger for the n-th time.
KILLED = """
import os, signal, sys
from meso_assets.defs.notices.sending import tell
from meso_assets.defs.notices.ledger import Ledger
from meso_assets.runs.instance import open_instance
from meso_assets.runs.instance import open_instance
from meso_assets.runs.settings.settings import load_settings

saves, save = [], Ledger.save
def save_or_die(ledger):
    saves.append(1)
    if len(saves) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    save(ledger)
Ledger.save = save_or_die
settings = load_settings()
with open_instance(settings) as instance:
    tell(instance, settings, print)
"""


def test_a_process_that_is_killed_leaves_a_ledger_that_the_next_one_goes_on_with(settings, mail, monkeypatch, tried):
    monkeypatch.setenv("MESO_NOTICES", mail.url)
    environment = {**os.environ, **settings.as_environment()}
    with open_instance(settings) as instance:
        look(instance, settings)
        for number in (1, 2):
            before = len(mail.mails)
            run(instance, why=f"reason {number}")
            command = [sys.executable, "-W", "ignore", "-c", KILLED, str(number)]
            died = subprocess.run(command, env=environment, check=False, timeout=200)
            assert died.returncode == -signal.SIGKILL
            look(instance, settings)
            look(instance, settings)
            assert len(mail.mails) - before == number, "the second kill is after the sending: that one comes twice"
            tried("kills: between sending and recording a notice")


def test_a_message_that_nobody_takes_is_given_up_after_a_week_with_a_warning(instance, settings, named, monkeypatch):
    named(f"mailto://127.0.0.1:{free_port()}?from=meso@example.org&to=lab@example.org")
    run(instance, why="no pulses")
    look(instance, settings)
    monkeypatch.setattr(going_out, "_GIVEN_UP_S", -1.0)
    told = look(instance, settings)
    assert any("it is given up: meso: SP035" in warning for warning in told)
    assert look(instance, settings) == []


@pytest.mark.parametrize(
    "url", ["json://meso:{}@127.0.0.1:1/{}", "mailto://u:{}@127.0.0.1:1/{}@example.org?from=a@b.org"]
)
def test_no_part_of_an_address_is_told(url, instance, settings, monkeypatch, caplog, capfd):
    url = url.format(PASSWORD, PASSWORD)
    monkeypatch.setenv("MESO_NOTICES", url)
    (address,) = addresses(settings)
    warnings = look(instance, settings)
    run(instance, why="no pulses")
    warnings += look(instance, settings)
    assert warnings
    told = [*warnings, repr(address), str(address), send(address, "s", PAGE), caplog.text, *capfd.readouterr()]
    told += [path.read_text() for path in settings.home.rglob("*") if path.is_file()]
    told += [settings.model_dump_json(), repr(Platform.open(settings).values), str(settings.as_environment())]
    assert not [text for text in told if PASSWORD in text]


@pytest.mark.parametrize("url", [f"mailt://u:{PASSWORD}@x", PASSWORD, f"json://:{PASSWORD}@"])
def test_an_address_that_does_not_hold_is_named_by_its_number_alone(url, settings, monkeypatch, hook):
    monkeypatch.setenv("MESO_NOTICES", f"{hook.url} {url}")
    with pytest.raises(SettingsError, match="field 'address 2': expected an address as") as told:
        addresses(settings)
    assert PASSWORD not in str(told.value)


def test_a_file_of_addresses_that_all_may_read_is_refused_and_the_remedy_mends_it(tmp_path, settings, hook):
    file = tmp_path / "addresses"
    file.write_text(f"# of the lab\n{hook.url}\n")
    file.chmod(0o644)
    own = settings.model_copy(update={"notices_file": file})
    with pytest.raises(SettingsError, match=f"found rights 644.*chmod 600 {file}"):
        addresses(own)
    file.chmod(0o600)
    (address,) = addresses(own)
    assert send(address, "s", PAGE) == ""
    gone = settings.model_copy(update={"notices_file": tmp_path / "gone"})
    with pytest.raises(SettingsError, match="one address a line"):
        addresses(gone)


def test_notices_are_off_unless_an_address_is_named(settings, monkeypatch):
    def states(**environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        found = build_defs(settings).get_repository_def()
        sensor, schedule = found.get_sensor_def("notices_go_out"), found.get_schedule_def("digest_every_morning")
        return {sensor.default_status.value, schedule.default_status.value}

    monkeypatch.delenv("MESO_NOTICES", raising=False)
    assert states() == {"STOPPED"}
    assert states(MESO_NOTICES="json://127.0.0.1/x") == {"RUNNING"}


def test_an_address_that_does_not_hold_fails_no_tick(settings, instance, monkeypatch):
    monkeypatch.setenv("MESO_NOTICES", "nonsense")
    sensor = going_out.notices_go_out(settings)
    context = dg.build_sensor_context(instance, resources={"platform": Platform.open(settings)})
    assert "field 'address 1'" in sensor(context).skip_message


def test_a_tick_does_not_wait_for_another_process_that_hands_out(settings, instance, monkeypatch, hook):
    monkeypatch.setenv("MESO_NOTICES", hook.url)
    sensor = going_out.notices_go_out(settings)
    with open_ledger(settings.home):
        skipped = sensor(dg.build_sensor_context(instance, resources={"platform": Platform.open(settings)}))
    assert "a minute later again" in skipped.skip_message


def test_a_damaged_ledger_is_set_aside_with_a_warning(settings):
    with open_ledger(settings.home) as ledger:
        ledger.save()
    ledger.file.write_bytes(b"{")
    with pytest.warns(MesoWarning, match="notices begin anew"), open_ledger(settings.home) as again:
        assert again.told == {}
    assert ledger.file.with_name("ledger.json.damaged").read_bytes() == b"{"


def test_the_digest_goes_out_once_a_day_and_tells_of_each_session(
    settings, instance, monkeypatch, mail, materialise_quick
):
    monkeypatch.setenv("MESO_NOTICES", mail.url)
    settings = settings.model_copy(update={"quiet_minutes": 0.0, "atlas": "phantom", "atlas_resolution_um": 50})
    first = simulate_session(settings.root, short()).key
    platform, warnings = Platform.open(settings), []
    assert send_digest(platform, instance, warnings.append).subject == "meso: nothing new"
    late = simulate_session(settings.root, short(number="002"), faults=["dropped_pulses"]).key
    assert not materialise_quick(instance, settings, late).success
    assert materialise_quick(instance, settings, first).success
    look(instance, settings)
    (raw,) = platform.session(str(first)).path.glob("raw_sync_data/*.raw.npy")
    raw.touch()
    same_day = send_digest(platform, instance, warnings.append)
    assert len([m for m in mail.mails if "nothing new" in m["Subject"]]) == 1, "one a day, whoever asks"
    assert same_day.arrived == [str(late)]
    (failed,) = (line for line in same_day.failed if "frame_times" in line)
    assert failed.startswith(f"{late}, frame_times: TimingError: ")
    assert any(line.startswith(f"{first}: frame_times: raw_daq has changed") for line in same_day.stale)
    with open_ledger(settings.home) as ledger:
        ledger.digest_at = "2000-01-01T00:00:00+00:00"
        ledger.known = [str(first)]
        ledger.save()
    send_digest(platform, instance, warnings.append)
    assert warnings == []
    text = " ".join(str(parts_of(mail.mails[-1])["text/plain"]).split())
    assert f"Arrived {late}" in text.replace("- ", "").replace("* ", "").replace("· ", "")
    assert "TimingError: " in text


@pytest.mark.parametrize("ahead_s", [0, 240, -240])
@pytest.mark.parametrize("done_s", [-60, 60], ids=["before the digest", "after it"])
def test_a_session_that_is_done_about_the_time_of_a_digest_is_told_once_whatever_its_clock(
    ahead_s, done_s, tmp_path, monkeypatch
):
    today, day_s = 1_700_000_000, 86_400
    ledger, told = Ledger(tmp_path / "ledger", 0.0, digest_at=iso(today - day_s)), []
    for at in (today, today + day_s, today + 2 * day_s):
        monkeypatch.setattr("time.time", lambda at=at: at)
        found = Digest()
        if today + done_s < at:
            _tell_done(KEY, "name", iso(today + done_s + ahead_s), found, ledger)
        ledger.digest_at, ledger.done = iso(at), found.recent
        told.append(found.done)
    assert told == ([["name"], [], []] if done_s < 0 else [[], ["name"], []])


@pytest.fixture
def materialise_quick():
    from meso_assets.runs.run import register_sessions

    def make(instance, settings, key):
        defs = build_defs(settings.model_copy(update={"executor": "in_process"}))
        register_sessions(instance, Platform.open(settings), [key])
        names = ("imaging_metadata", "frame_times")
        return defs.resolve_job_def("process_session").execute_in_process(
            instance=instance,
            partition_key=str(key),
            asset_selection=[dg.AssetKey(name) for name in names],
            run_config={"loggers": {"readable": {}}},
            raise_on_error=False,
        )

    return make


def test_the_job_of_the_digest_does_not_fail_by_a_server_that_is_down(settings, instance, monkeypatch):
    settings.root.mkdir()
    job = build_defs(settings).resolve_job_def("daily_digest")
    monkeypatch.delenv("MESO_NOTICES", raising=False)
    assert job.execute_in_process(instance=instance).success, "off"
    assert not (settings.home / "notices").exists()
    monkeypatch.setenv("MESO_NOTICES", f"json://127.0.0.1:{free_port()}/")
    assert job.execute_in_process(instance=instance).success
    with open_ledger(settings.home) as ledger:
        assert [message.subject for message in ledger.outbox] == ["meso: nothing new"]


def test_a_session_that_cannot_be_read_keeps_no_other_from_the_digest(settings, instance, monkeypatch, mail):
    monkeypatch.setenv("MESO_NOTICES", mail.url)
    for number in ("001", "002"):
        simulate_session(settings.root, short(number=number))

    def look_at(session):
        if session.key.number == "001":
            raise TimingError("bad")
        return found(session)

    found = going_out.gather.__globals__["look_at"]
    monkeypatch.setattr("meso_assets.defs.notices.digest.look_at", look_at)
    (settings.root / "SP035" / "2023-13-03" / "001" / "raw_imaging_data_00").mkdir(parents=True)
    told = send_digest(Platform.open(settings), instance, lambda _: None)
    assert [line.partition(": ")[0] for line in told.passed_over] == ["SP035/2023-13-03"]
    assert [line.partition(":")[0] for line in told.unreadable] == [KEY]
    assert told.n_sessions == 2


def test_the_command_tries_each_address_and_ends_with_one_where_one_fails(settings, monkeypatch, mail):
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MESO_NOTICES", raising=False)
    assert "notices are off" in CliRunner().invoke(command, []).output
    monkeypatch.setenv("MESO_NOTICES", mail.url)
    good = CliRunner().invoke(command, ["--test"])
    assert (good.exit_code, good.output) == (0, "address 1 (E-Mail): taken\n")
    assert mail.mails[0]["Subject"] == "meso: a trial"
    monkeypatch.setenv("MESO_NOTICES", f"{mail.url} json://127.0.0.1:{free_port()}/")
    bad = CliRunner().invoke(command, ["--test"])
    assert bad.exit_code == 1
    assert "address 2 (JSON): " in bad.output
    assert CliRunner().invoke(command, []).output == "address 1 (E-Mail)\naddress 2 (JSON)\n"
    settings.root.mkdir()
    assert "meso: nothing new\n\n0 sessions" in CliRunner().invoke(command, ["--digest"]).output
