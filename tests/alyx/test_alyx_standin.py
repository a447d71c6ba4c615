"""The stand-in does what a real server did: the probe compares it, and what the probe does not ask is asked here."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import requests

from tests.alyx.standin import Given, Throttle, door_to, faults, serving
from tests.conftest import REPOSITORY, unavailable

FILE = "alf/FOV_00/mpci.times.npy"
#: Checks of the probe that a real server has passed: fewer would mean that some were not asked.
N_CHECKS = 264


@pytest.fixture
def probe():
    script = Path(os.environ.get("MESO_ALYX_PROBE", REPOSITORY.parent / "shared" / "alyx" / "probe.py"))
    if not script.is_file():
        unavailable("the probe of an Alyx server", "set MESO_ALYX_PROBE")
    return script


@pytest.fixture
def server():
    with serving(throttle=Throttle(None)) as server:
        yield server


@pytest.fixture
def given(server):
    given = Given(server.url, stand_in=server)
    given.a_lab()
    given.subject("SP035")
    yield given
    given.close()


def test_the_stand_in_passes_every_check_of_the_probe(server, given, probe, tmp_path):
    """With the checks of concurrency, of genotype and surgery, and of server bugs: none differs, none is left out."""
    given.genotype("SP035", Thy1_G6s=1)
    given.surgery("SP035", "2024-01-01T10:00:00", {"craniotomy_00": {"center": [9, 9]}})
    given.surgery("SP035", "2024-01-02T10:00:00", {"craniotomy_00": {"center": [1.2, -3.4]}})
    outcome = tmp_path / "outcome.json"
    own = {"ALYX_URL": server.url, "ALYX_USER": given.user, "ALYX_PASSWORD": given.password, "ALYX_PROBE_RACE": "1"}
    own |= {"ALYX_SEEDED_SUBJECT": "SP035", "ALYX_PROBE_JSON": str(outcome), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, probe], env={**os.environ, **own}, check=False, capture_output=True, timeout=120)
    checks = json.loads(outcome.read_text())["results"]
    assert [c for c in checks if c["state"] != "ok"] == []
    assert len(checks) == N_CHECKS
    assert given.rows("sessions") == [], "the probe has taken its sessions away"


def registered(given, **more):
    sent = {"path": "SP035/2024-03-01/001", "name": given.repository, "filenames": [FILE], "hashes": ["a" * 32]}
    return given.call("POST", "/register-file", json={**sent, **more})


def test_a_later_page_goes_on_where_the_first_ended(given):
    for number in range(1, 8):
        given.session("SP035", "2024-03-01", number)
    first = given.call("GET", "/sessions?limit=3")
    assert first["count"] == 7
    assert [row["number"] for row in first["results"]] == [7, 6, 5]
    second = requests.get(first["next"], headers=given._http.headers, timeout=10).json()
    assert [row["number"] for row in second["results"]] == [4, 3, 2]
    assert first["previous"] is None
    assert second["previous"] is not None


@pytest.mark.parametrize(
    ("lookup", "numbers"),
    [
        ("number,2", [2]),
        ("number__in,[1,3]", [3, 1]),
        ("~number,2", [3, 1]),
        ("subject__nickname__istartswith,sp,number,1", [1]),
        ("start_time__date,2024-03-02", []),
        ("subject__lab__name,nowhere", []),
    ],
)
def test_the_django_filter_finds_what_it_says(given, lookup, numbers):
    for number in (1, 2, 3):
        given.session("SP035", "2024-03-01", number)
    assert [row["number"] for row in given.rows(f"sessions?django={lookup}")] == numbers


def test_numbers_are_found_as_numbers(given):
    eid = given.session("SP035", "2024-03-01", 1)
    assert [row["id"] for row in given.rows("sessions?number=001")] == [eid]


def test_an_unknown_lookup_is_an_error_of_the_server(given):
    given.session("SP035", "2024-03-01")
    with pytest.raises(AssertionError, match=r"500.*Cannot resolve keyword 'colour'"):
        given.rows("sessions?django=colour,red")


def test_datasets_show_who_protects_them(given):
    given.session("SP035", "2024-03-01")
    key = registered(given)[0]["id"]
    given.call("POST", "/tags", json={"name": "paper", "protected": True})
    assert given.call("GET", f"/datasets/{key}")["protected"] is False
    given.call("PATCH", f"/datasets/{key}", json={"tags": ["paper"]})
    assert given.rows("datasets?protected=True")[0]["protected"] is True


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("_suite2p_ROIData.raw.zip", "ROIData.raw"),
        ("mpciROIs.brainLocationIds_ccf_2017_estimate.npy", "mpciROIs.brainLocationIds"),
        ("rawImagingData.times_scanImage.npy", "rawImagingData.times"),
    ],
)
def test_a_type_is_found_by_object_and_attribute(given, name, kind):
    given.session("SP035", "2024-03-01")
    assert registered(given, filenames=[f"alf/FOV_00/{name}"])[0]["dataset_type"] == kind


def test_a_folder_with_an_odd_name_is_cut_off(given):
    given.session("SP035", "2024-03-01")
    assert registered(given, filenames=["alf/my folder/mpci.times.npy"])[0]["collection"] == "alf"


def test_a_server_that_is_down_refuses_and_comes_back_with_all_it_held(server, given):
    given.session("SP035", "2024-03-01")
    server.stop()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{server.url}/sessions", timeout=5)
    server.start()
    assert len(given.rows("sessions")) == 1


def test_a_lost_answer_is_that_of_a_request_which_was_carried_out(server, given):
    server.faults.next("POST", "/sessions", faults.lose_answer)
    with pytest.raises(requests.ConnectionError):
        given.session("SP035", "2024-03-01")
    assert len(given.rows("sessions")) == 1
    assert server.faults.struck == 1


def test_a_dropped_request_was_not_carried_out(server, given):
    server.faults.next("POST", "/sessions", faults.drop)
    with pytest.raises(requests.ConnectionError):
        given.session("SP035", "2024-03-01")
    assert given.rows("sessions") == []


def test_a_late_answer_is_that_of_a_request_which_was_carried_out(server, given):
    server.faults.next("POST", "/sessions", faults.answer_late(0.5))
    described = {"subject": "SP035", "start_time": "2024-03-01T10:00:00", "number": 1}
    with pytest.raises(requests.ReadTimeout):
        given._http.post(f"{server.url}/sessions", json=described, timeout=0.1)
    assert len(given.rows("sessions")) == 1


def test_a_batch_that_fails_midway_keeps_its_first_files(server, given):
    given.session("SP035", "2024-03-01")
    server.faults.next("POST", "/register-file", faults.midway(1))
    names = [FILE, "alf/FOV_01/mpci.times.npy"]
    with pytest.raises(AssertionError, match="500"):
        registered(given, filenames=names, hashes=["a" * 32] * 2)
    assert [row["collection"] for row in given.rows("datasets")] == ["alf/FOV_00"]
    assert len(registered(given, filenames=names, hashes=["a" * 32] * 2)) == 2


def test_tokens_that_expired_are_invalid_until_the_next_login(server, given):
    server.expire_tokens()
    answer = requests.get(f"{server.url}/sessions", headers=given._http.headers, timeout=5)
    assert (answer.status_code, answer.json()["detail"]) == (403, "Invalid token.")
    given.log_in()
    assert given.rows("sessions") == []


def test_a_user_of_the_public_may_read_and_not_write(server, given):
    server.add_user("guest", "guest", public=True)
    guest = Given(server.url, "guest", "guest")
    assert guest.rows("sessions") == []
    with pytest.raises(AssertionError, match=r"403.*permission"):
        guest.session("SP035", "2024-03-01")
    guest.close()


def test_one_request_too_many_is_told_to_wait_and_then_let_in():
    with serving(throttle=Throttle(5, seconds=1)) as server:
        given = Given(server.url, stand_in=server)
        statuses = [given._http.get(f"{server.url}/labs", timeout=5).status_code for _ in range(7)]
        assert statuses == [200] * 5 + [429] * 2
        assert (server.throttle.refused, server.throttle.impatient) == (2, 1), "the second came before its time"
        answer = given._http.get(f"{server.url}/labs", timeout=5)
        time.sleep(float(answer.headers["Retry-After"]))
        assert given.rows("labs")
        given.close()


def test_identical_requests_in_parallel_poison_a_file(server, given):
    """Two requests look a dataset up before either has made it, as workers of a real server may."""
    given.session("SP035", "2024-03-01")
    both = threading.Barrier(2, timeout=10)
    server.behaviour.in_parallel = both.wait
    threads = [threading.Thread(target=registered, args=[given]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.behaviour.in_parallel = None
    assert Counter(row["name"] for row in given.rows("datasets")) == {"mpci.times.npy": 2}
    with pytest.raises(AssertionError, match=r"500.*returned more than one Dataset"):
        registered(given)


def test_through_a_door_all_is_as_without_it_and_faults_strike(server, given):
    with door_to(server.url) as door:
        visitor = Given(door.url, stand_in=server, tag=given.tag)
        eid = visitor.session("SP035", "2024-03-01")
        names = [FILE, "alf/FOV_01/mpci.times.npy"]
        door.faults.next("POST", "/register-file", faults.midway(1))
        with pytest.raises(AssertionError, match="500"):
            registered(visitor, filenames=names, hashes=["a" * 32] * 2)
        (row,) = visitor.rows(f"datasets?session={eid}")
        assert row["collection"] == "alf/FOV_00"
        assert row["url"].startswith(door.url)
        door.expire_tokens()
        answer = requests.get(f"{door.url}/sessions", headers=visitor._http.headers, timeout=5)
        assert (answer.status_code, answer.json()["detail"]) == (403, "Invalid token.")
        visitor.log_in()
        assert visitor.rows("sessions")[0]["id"] == eid
        door.stop()
        with pytest.raises(requests.ConnectionError):
            visitor.rows("sessions")
        visitor.close()
