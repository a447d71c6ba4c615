"""Whatever goes wrong between us and the server: run again, and it holds each record exactly once.

A registration is disturbed at one of its requests, each in turn, and run again as a person or the sensor does. What the
server holds in the end is worked out from the session alone.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from meso_core.alyx import Ended, Kind, State, carry_out, connect, registered
from meso_core.errors import AlyxError, AlyxUnavailableError, StalePlanError
from tests.alyx.ours import Ours, expected, held
from tests.alyx.standin import Given, Throttle, faults, serving

#: Longest time that an impatient client waits for an answer, and how late a late one is, s.
PATIENCE, LATE = 0.7, 1.0

#: Name → makes the fault at a server; ``down`` takes it down before or after it does what it was asked.
FAULTS = {
    "dropped": lambda server: faults.drop,
    "answer lost": lambda server: faults.lose_answer,
    "500": lambda server: faults.broken(500),
    "503": lambda server: faults.broken(503),
    "429": lambda server: faults.too_many(3),
    "page of a proxy": lambda server: faults.proxy_page(200),
    "page of a gateway": lambda server: faults.proxy_page(502),
    "token expired": lambda server: faults.meanwhile(server.expire_tokens),
    "down before": lambda server: faults.Fault(meanwhile=server.stop, drop=True),
    "down after": lambda server: faults.meanwhile(server.stop),
}
#: Those after which the same run goes on.
PASSING = ("429", "token expired")
#: Those that wait in real time.
LATE_FAULTS = {"carried out at once, answered late": faults.answer_late(LATE), "carried out late": faults.hang(LATE)}


@pytest.fixture
def stand_in():
    with serving(throttle=Throttle(None)) as server:
        yield server


@pytest.fixture
def at_stand_in(stand_in):
    site = Given(stand_in.url, stand_in=stand_in)
    site.a_lab()
    yield site
    site.close()


def connected(server, site, **more):
    how = {"wait": lambda _: None, "tries": 2}
    return connect(server.url, user=site.user, password=site.password, **{**how, **more})


def run_until_done(server, site, ours, wait=lambda _: None, runs=3, **more):
    """Run again, as often as a person would at most, the server up again each time; what the broken runs said."""
    said = []
    for _ in range(runs):
        server.start()
        try:
            ours.register(connected(server, site, wait=wait, **more), wait=wait)
        except AlyxError as error:
            said.append(error)
        else:
            return said
    raise said[-1]


def once(server, site, ours, said):
    """The server holds each record once, and nobody was told a secret."""
    server.faults.clear()
    server.start()
    assert held(site, ours) == expected(ours)
    assert [error for error in said if site.password in str(error) or "Token " in str(error)] == []


def requests_of_a_registration(server, site, root, n_fovs):
    ours = Ours.entered(site, root, n_fovs=n_fovs, n=999)
    server.requests.clear()
    assert run_until_done(server, site, ours) == []
    return list(server.requests)


def sweep(server, site, root, fault, chosen, n_fovs):
    """Disturb a registration at each of the chosen requests in turn; how often the run that was disturbed broke off."""
    n_broken = 0
    for k in chosen:
        ours = Ours.entered(site, root, n=k, n_fovs=n_fovs)
        server.faults.next("*", "/", fault, after=k)
        said = run_until_done(server, site, ours)
        once(server, site, ours, said)
        n_broken += len(said)
    assert server.faults.struck == len(chosen)
    return n_broken


def test_an_undisturbed_registration_holds_what_the_session_says_and_the_second_plans_nothing(site, ours, client):
    summaries = {
        "fovs": "would create 2 imaging stacks, 4 fields of view, 4 locations",
        "craniotomy": "would change 1 craniotomy",
        "datasets": "would create 16 datasets",
        "snapshots": "would create 3 notes",
    }
    before = ours.plans(client())
    assert {name: plan.summary for name, plan in before.items()} == {name: summaries[name] for name in before}
    ours.register(client())
    assert held(site, ours) == expected(ours)
    assert [name for name, plan in ours.plans(client()).items() if not plan.is_empty] == []


@pytest.mark.parametrize(
    "every", [pytest.param(3, marks=pytest.mark.sample), pytest.param(1, marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_at_any_write_does_not_double_a_record(name, every, stand_in, at_stand_in, tmp_path, tried):
    """Each fault at every third write, beginning with another one, so that each write has three faults and more."""
    requests = requests_of_a_registration(stand_in, at_stand_in, tmp_path, n_fovs=2)
    writes = [k for k, (method, _) in enumerate(requests) if method != "GET"]
    writes = writes[[*FAULTS].index(name) % every :: every]
    n_broken = sweep(stand_in, at_stand_in, tmp_path, FAULTS[name](stand_in), writes, n_fovs=2)
    assert n_broken == 0 or name not in PASSING
    tried(f"faults of Alyx: {name}", len(writes))


@pytest.mark.nightly
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_at_any_request_does_not_double_a_record(name, stand_in, at_stand_in, tmp_path, tried):
    requests = requests_of_a_registration(stand_in, at_stand_in, tmp_path, n_fovs=4)
    sweep(stand_in, at_stand_in, tmp_path, FAULTS[name](stand_in), range(len(requests)), n_fovs=4)
    tried(f"faults of Alyx: {name}", len(requests))


#: Write → the fault of each run of the tests; the other one comes in the night.
SLOW_WRITES = {
    ("fovs", "/imaging-stack"): "carried out late",
    ("fovs", "/fields-of-view"): "carried out at once, answered late",
    ("fovs", "/fov-location"): "carried out late",
    ("craniotomy", "/subjects"): "carried out at once, answered late",
    ("datasets", "/register-file"): "carried out late",
    ("snapshots", "/notes"): "carried out at once, answered late",
}


@pytest.mark.parametrize(
    ("part", "path", "name"),
    [
        pytest.param(*write, name, marks=[] if name == usual else [pytest.mark.nightly])
        for write, usual in SLOW_WRITES.items()
        for name in LATE_FAULTS
    ],
)
def test_a_time_out_at_a_write_does_not_double_a_record(name, part, path, stand_in, at_stand_in, tmp_path, tried):
    ours = Ours.entered(at_stand_in, tmp_path, n_fovs=2)
    stand_in.faults.next("PATCH" if part == "craniotomy" else "POST", path, LATE_FAULTS[name])
    patience = {"wait": lambda _: time.sleep(LATE), "timeout_s": PATIENCE, "runs": 6}
    said = run_until_done(stand_in, at_stand_in, ours, **patience)
    assert stand_in.faults.struck == 1
    once(stand_in, at_stand_in, ours, said)
    tried(f"faults of Alyx: {name}")


def as_the_platform_does(ours, connection, earlier=None):
    """Tell Alyx of all parts; how that ended, and the same as the record tells it that stays with the session."""
    makers = [lambda _, make=make: make() for make in ours.parts(connection).values()]
    done = registered(makers, connection, ours.folder, earlier=earlier, wait=lambda _: None)
    return done, Ended(done.state, done.reason, done.since, done.unanswered, done.unanswered_since)


@pytest.mark.parametrize("path", ["/imaging-stack", "/fields-of-view", "/fov-location", "/register-file", "/notes"])
def test_what_the_server_carries_out_long_after_the_time_out_is_waited_for_and_not_sent_again(
    path, real_or_stand_in, site, ours, client
):
    server, go_on = real_or_stand_in, threading.Event()
    server.faults.next("POST", path, faults.meanwhile(lambda: go_on.wait(30)))
    try:
        first, record = as_the_platform_does(ours, client(timeout_s=PATIENCE))
        assert first.state is State.PENDING
        assert first.unanswered
        again, record = as_the_platform_does(ours, client(), record)
        assert (again.state, again.unanswered) == (State.PENDING, first.unanswered)
        assert (again.since, again.unanswered_since) == (first.since, first.unanswered_since)
        assert server.requests.count(("POST", path.strip("/"))) == 1
    finally:
        go_on.set()
    for _ in range(100):  # the server ends what it was asked
        last, record = as_the_platform_does(ours, client(), record)
        if last.state is State.REGISTERED:
            break
        time.sleep(0.05)
    assert held(site, ours) == expected(ours)


def test_what_was_never_answered_nor_found_is_sent_again_when_the_server_has_had_its_time(
    real_or_stand_in, site, ours, client
):
    real_or_stand_in.faults.next("POST", "/notes", faults.drop)
    first, record = as_the_platform_does(ours, client())
    assert [ref.kind for ref in first.unanswered] == [Kind.NOTE]
    later = replace(record, unanswered_since="2024-05-01T10:00:00Z")
    real_or_stand_in.faults.next("POST", "/notes", faults.drop)
    again, record = as_the_platform_does(ours, client(), later)
    assert (again.state, again.unanswered) == (State.PENDING, first.unanswered)
    assert again.unanswered_since > later.unanswered_since, (
        "it was sent once more, so the server has its time once more"
    )
    later = replace(record, unanswered_since="2024-05-01T10:00:00Z")
    last, _ = as_the_platform_does(ours, client(), later)
    assert (last.state, last.unanswered) == (State.REGISTERED, ())
    assert held(site, ours) == expected(ours)


@pytest.mark.parametrize("files", range(5))
def test_a_batch_that_broke_off_after_some_files_is_finished(files, real_or_stand_in, site, ours, client):
    real_or_stand_in.faults.next("POST", "/register-file", faults.midway(files))
    with pytest.raises(AlyxError, match="500"):
        ours.register(client(), "datasets")
    assert len(held(site, ours)["datasets"]) == files
    ours.register(client())
    assert held(site, ours) == expected(ours)


@pytest.mark.parametrize("part", ["fovs", "craniotomy", "datasets", "snapshots"])
def test_what_somebody_else_registered_between_plan_and_act_makes_the_plan_stale(part, site, ours, client):
    if part == "craniotomy" and not ours.has_surgery:
        pytest.skip("a real server takes surgeries from its admin site only")
    made = ours.parts(client())[part]
    plan = made()
    ours.register(client(), part)
    with pytest.raises(StalePlanError, match="Make the plan again"):
        carry_out(plan, client(), ours.folder)
    ours.register(client())
    assert held(site, ours) == expected(ours)


@pytest.mark.parametrize("path", ["/fields-of-view", "/fov-location", "/register-file"])
def test_somebody_who_is_quicker_by_a_moment_does_not_double_a_record(path, real_or_stand_in, site, ours, client):
    """The same request arrives just before ours: the server itself knows these records by more than their id."""
    real_or_stand_in.faults.next("POST", path, faults.somebody_else_first, after=1)
    ours.register(client())
    assert real_or_stand_in.faults.struck == 1
    assert held(site, ours) == expected(ours)


def test_a_server_that_is_down_is_named_and_nothing_waits_for_it_long(real_or_stand_in, ours, client):
    real_or_stand_in.stop()
    down = client(tries=5)
    with pytest.raises(AlyxUnavailableError, match="no connection") as caught:
        ours.register(down)
    assert "MESO_ALYX_URL" in str(caught.value)
    assert down.n_requests == 5
    assert down.waits == sorted(down.waits), "each wait is longer than the one before"
    assert 1 < sum(down.waits) < 60


def test_the_server_s_word_on_when_to_come_again_is_kept(real_or_stand_in, site, ours, client):
    real_or_stand_in.faults.next("GET", "/sessions", faults.too_many(17), times=2)
    patient = client()
    ours.register(patient)
    assert patient.waits[:2] == [pytest.approx(17, abs=2)] * 2
    assert held(site, ours) == expected(ours)


def test_a_token_that_is_not_valid_any_more_is_named_and_a_new_one_finishes(real_or_stand_in, site, ours, client):
    login = client()
    ours.plans(login)
    token = login._transport._token
    by_token = client(password=None, token=token)
    real_or_stand_in.faults.next("POST", "/fields-of-view", faults.meanwhile(real_or_stand_in.expire_tokens), after=1)
    with pytest.raises(AlyxError, match="ALYX_TOKEN") as caught:
        ours.register(by_token)
    assert token not in str(caught.value) + repr(by_token)
    ours.register(client())
    assert held(site, ours) == expected(ours)


def test_a_page_of_a_proxy_is_named_as_such(real_or_stand_in, ours, client):
    real_or_stand_in.faults.next("*", "/", faults.proxy_page(200), times=None)
    with pytest.raises(AlyxUnavailableError, match="HTML"):
        ours.register(client())
