"""The real user interface in a real Chromium: open an asset, materialise a session by clicking, see it succeed."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.browsers import opened_browser
from tests.integration.conftest import run_meso

SESSION = "SP035/2023-03-03/001"


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """Folder for screenshots: ``MESO_TEST_ARTIFACTS``, or a temporary one."""
    named = os.environ.get("MESO_TEST_ARTIFACTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory, make_settings):
    return make_settings(tmp_path_factory.mktemp("interface"))


@pytest.fixture(scope="module")
def interface(settings):
    """``meso dev`` on a simulated session; its address."""
    from meso_core.simulate import preset, simulate_session

    simulate_session(settings.root, preset("tiny"))
    with serving(settings) as address:
        yield address


@contextmanager
def serving(settings):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, **settings.as_environment()}
    environment.pop("DAGSTER_HOME", None)
    log = settings.home.parent / "interface.log"
    command = [sys.executable, "-c", "from meso_assets.cli import main; main()", "dev", "--port", str(port)]
    with log.open("w") as out:
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        try:
            wait_until(lambda: answers(port), 120, lambda: log.read_text()[-3000:])
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(timeout=60)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=2) as response:
            return "dagster_version" in json.load(response)
    except OSError:
        return False


def wait_until(true, seconds, tell):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, tell()
        time.sleep(0.5)


def test_what_it_writes_into_a_file_has_no_colours(interface, settings):
    log = settings.home.parent / "interface.log"
    wait_until(lambda: "Serving dagster-webserver" in log.read_text(), 60, log.read_text)
    wait_until(lambda: "Instance is configured" in log.read_text(), 60, log.read_text)
    assert "\x1b" not in log.read_text(), "of web server, daemon and code server"


def test_other_pages_of_the_browser_can_have_the_server_do_nothing(interface):
    query = b'{"query": "mutation { setSensorCursor(sensorSelector: {}) { __typename } }"}'

    def status(path="/graphql", data=query, **headers):
        request = urllib.request.Request(
            interface + path, data=data, headers={"Content-Type": "application/json", **headers}
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status
        except urllib.error.HTTPError as error:
            return error.code

    assert status() != 403, "a program may ask"
    assert status(Origin=interface) != 403, "and so may the interface"
    assert status(data=None, path="/graphql?query=%7Bversion%7D") == 403
    assert status(Origin="http://page.example") == 403
    assert status(Host="page.example") == 403
    assert status(**{"Content-Type": "text/plain"}) == 403
    assert status(data=None, path="/runs", Host="page.example") == 403


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with opened_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def materialise_by_clicking(page, interface, asset, n_runs, picture):
    """Materialise an asset for all partitions and wait until all runs so far succeeded; keep a screenshot of them."""
    from playwright.sync_api import expect

    page.goto(f"{interface}/assets/{asset}")
    page.get_by_role("button", name=re.compile("Materialize")).first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="All", exact=True).click()
    page.get_by_role("button", name=re.compile("^Launch")).click()
    expect(page.get_by_text("Launched run")).to_be_visible()
    page.goto(f"{interface}/runs")
    try:
        expect(page.get_by_text("Success", exact=True)).to_have_count(n_runs, timeout=150_000)
    finally:
        page.screenshot(path=picture)


def tags_of_runs(interface):
    """Ask the interface for the tags of all runs, as its page of runs does."""
    runs = asked(interface, "{ runsOrError { ... on Runs { results { tags { key value } } } } }")["runsOrError"][
        "results"
    ]
    return [{tag["key"]: tag["value"] for tag in run["tags"]} for run in runs]


def test_assets_are_materialised_by_clicking_and_shown_with_words_and_picture(interface, browser, artifacts):
    from playwright.sync_api import expect

    page = browser.new_page()
    page.goto(f"{interface}/assets/imaging_metadata")
    expect(page.get_by_text("Geometry and rates of the recording")).to_be_visible()
    materialise_by_clicking(page, interface, "imaging_metadata", 1, artifacts / "runs.png")
    (tags,) = tags_of_runs(interface)
    assert (tags["meso/session"], tags["meso/subject"], tags["meso/date"]) == (SESSION, "SP035", "2023-03-03")
    page.goto(f"{interface}/assets/imaging_metadata")
    expect(page.get_by_text("rows × columns").first).to_be_visible()
    expect(page.get_by_text(SESSION).first).to_be_visible()
    page.screenshot(path=artifacts / "imaging_metadata.png")
    page.goto(f"{interface}/asset-groups/")
    expect(page.get_by_text("suite2p").first).to_be_visible()
    page.screenshot(path=artifacts / "graph.png")

    materialise_by_clicking(page, interface, "frame_times", 2, artifacts / "runs_of_two.png")
    page.goto(f"{interface}/assets/frame_times")
    expect(page.get_by_text(SESSION).first).to_be_visible()
    page.get_by_role("row").filter(has_text="picture").get_by_text("Show Markdown").click()
    image = page.get_by_role("dialog").locator("img[src^='data:image/']")
    expect(image).to_be_visible()
    try:
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    finally:
        page.screenshot(path=artifacts / "frame_times.png")


def test_the_overview_is_opened_from_an_asset_and_leads_to_runs_and_figures(interface, browser, artifacts):
    from playwright.sync_api import expect

    page = browser.new_page()
    page.goto(f"{interface}/assets/raw_frames")
    with browser.expect_page() as opening:
        page.locator("a[href='meso/overview']").first.click()
    overview = opening.value
    overview.get_by_role("button", name=re.compile("^frame_times: done")).click()
    shown = overview.get_by_role("complementary")
    expect(shown.get_by_text("published")).to_be_visible()
    figure = shown.locator("img").first
    try:
        assert figure.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    finally:
        overview.screenshot(path=artifacts / "overview.png")
    shown.get_by_role("link", name=re.compile("^run ")).first.click()
    expect(overview).to_have_url(re.compile("/runs/[0-9a-f-]{36}"))
    expect(overview.get_by_text("Success").first).to_be_visible()
    page.goto(f"{interface}/overview")
    expect(page).to_have_url(re.compile("/overview/activity"))  # Dagster's own page of this name is still there


def test_a_run_of_the_command_line_is_in_the_history_of_its_job_and_in_the_timeline(interface, settings):
    ran = run_meso(settings, "run", SESSION, "--assets", "imaging_metadata")
    assert ran.returncode == 0, ran.stderr
    jobs = asked(
        interface,
        '{repositoryOrError(repositorySelector: {repositoryName: "__repository__", '
        'repositoryLocationName: "meso_assets.definitions"}) '
        "{... on Repository {pipelines {name runs(limit: 1) {tags {key value}}}}}}",
    )["repositoryOrError"]["pipelines"]
    (last,) = next(job["runs"] for job in jobs if job["name"] == "process_session")
    tags = {tag["key"]: tag["value"] for tag in last["tags"]}
    assert (tags["dagster/partition"], tags["dagster/max_retries"]) == (SESSION, "0"), "which no other door gives"
    # the timeline puts a run in the row of its job by these
    runs = asked(
        interface,
        "{runsOrError {... on Runs {results {pipelineName startTime tags {key value} "
        "repositoryOrigin {id repositoryName repositoryLocationName}}}}}",
    )["runsOrError"]["results"]
    own = [run for run in runs if {"key": "dagster/max_retries", "value": "0"} in run["tags"]]
    assert own
    for run in own:
        assert (run["pipelineName"], run["startTime"] is not None) == ("process_session", True)
        origin = run["repositoryOrigin"]
        assert (origin["repositoryName"], origin["repositoryLocationName"]) == (
            "__repository__",
            "meso_assets.definitions",
        )


def asked(interface, query):
    """Ask the interface as its pages do."""
    request = urllib.request.Request(
        f"{interface}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["data"]
