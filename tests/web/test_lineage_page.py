"""Over the web: the lineage of a session, which some of its assets were made of; nothing of its records runs there."""

import asyncio
import json
import os
import re
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import unquote, urljoin, urlsplit

import dagster as dg
import pytest
from click.testing import CliRunner
from short_session import short
from starlette.applications import Starlette

from meso_assets.cli import group
from meso_assets.definitions import build_defs
from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.lineage.audits import audited
from meso_assets.io.resources import Platform
from meso_assets.io.session_names import add_sessions
from meso_assets.runs.settings.settings import load_settings
from meso_assets.web.guard import OwnPagesOnly
from meso_assets.web.lineage import lineage_page, lineage_routes
from meso_core.lineage import LAST_VERDICT, keep_verdict
from meso_core.simulate import simulate_session
from meso_core.storage import Manifest, hash_file
from meso_core.storage.remote import open_root, upload
from tests.report.page_reader import Reader, text_of

#: Assets that take no time; all others are missing.
MADE = ("imaging_metadata", "frame_qc")
NASTY = "<script>document.title=1</script>\"'& `<script>`"
HOST = "127.0.0.1:3000"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Root with a session of a lab, some of whose assets are made, and Dagster's records of that."""
    folder = tmp_path_factory.mktemp("lineage")
    settings = load_settings({"root": folder / "root", "home": folder / "home", "executor": "in_process"})
    made = simulate_session(settings.root, replace(short(frames_per_bout=(24, 12)), lab="lab", subject="SP036"))
    with dg.DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        (name,) = add_sessions(instance, [made.key], {"SP036": {"lab", "other"}}).values()
        done = (
            build_defs(settings)
            .resolve_job_def("process_session")
            .execute_in_process(
                instance=instance,
                partition_key=name,
                asset_selection=[dg.AssetKey(asset) for asset in MADE],
                run_config={"loggers": {"readable": {}}},
            )
        )
        session = Platform.open(settings).at(made.key)
        yield SimpleNamespace(settings=settings, instance=instance, session=session, name=name, run=done.run_id)


@pytest.fixture
def ask(lab):
    """Ask for a path as the server does, with the guard before it; what comes back."""
    app = OwnPagesOnly(Starlette(routes=lineage_routes(lab.settings, lab.instance)))

    def asking(path, method="GET", **headers):
        given = {"host": HOST, **headers}
        raw = [(name.encode(), value.encode()) for name, value in given.items()]
        scope = {"type": "http", "method": method, "path": unquote(path), "raw_path": path.encode(), "headers": raw}
        messages = []

        async def send(message):
            messages.append(message)

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        scope |= {"query_string": b"", "http_version": "1.1", "root_path": ""}
        asyncio.run(app(scope, receive, send))
        headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        content = b"".join(message.get("body", b"") for message in messages[1:]).decode()
        return SimpleNamespace(status_code=messages[0]["status"], headers=headers, content=content)

    return asking


@pytest.fixture
def page(ask, lab):
    def asking():
        answer = ask(f"/meso/lineage/{lab.name}")
        assert answer.status_code == 200, answer.content
        return answer.content

    return asking


@pytest.fixture
def edit(lab):
    """Rewrite the record of an asset, with all its own hashes; it is put back after the test."""
    kept = {}

    def rewrite(asset, change):
        file = lab.session.path / ".meso" / "manifests" / f"{asset}.json"
        kept.setdefault(file, file.read_bytes())
        file.write_text(change(Manifest.from_json(file.read_text(), "here")).to_json())

    yield rewrite
    for file, content in kept.items():
        file.write_bytes(content)


@pytest.fixture
def audit(lab):
    """Audit the session, and keep the verdict for the test."""
    yield lambda deep=False: keep_verdict(lab.session.path, audited(lab.session, lab.settings, lab.instance, deep=deep))
    for name in ("last.json", "history.jsonl"):
        (lab.session.path / LAST_VERDICT).with_name(name).unlink(missing_ok=True)


def part(page, asset):
    return page[page.index(f'<section class="result" id="{asset}"') :].partition("</section>")[0]


def test_each_result_is_told_with_its_run_and_what_it_was_made_of_and_the_others_as_missing(lab, page):
    content, made = page(), lab.session.manifests()
    assert f"<h1>Lineage of {lab.name}</h1>" in content
    for name in CATALOGUE:
        told = text_of(part(content, name))
        assert (name in MADE) == ("✓ done" in told), told
        if name not in MADE:
            assert f"meso run {lab.name} --assets {name}" in told or "There is nothing" in told
            continue
        manifest = made[name]
        for text in (lab.run[:8], manifest.data_version, manifest.digest, manifest.made_by.host):
            assert text in told
        assert f"{len(manifest.files)}, " in told
        for one, version in manifest.basis.inputs.items():
            assert f"{one} {version[:12]} ✓ the same" in told
    n_wanted = len(CATALOGUE) - content.count(">There is nothing that it could be made of.<")
    assert f"2 of {n_wanted} results made and current, {n_wanted - 2} not made" in text_of(content)


def test_the_page_is_well_formed_and_all_its_links_lead_somewhere_within_the_interface(lab, page):
    content, at = page(), f"http://{HOST}/prefix/meso/lineage/{lab.name}"
    read = Reader(content)
    assert read.open == []
    assert len(read.ids) == len(set(read.ids))
    inside = {link[1:] for link in read.links if link.startswith("#")}
    assert inside <= set(read.ids)
    others = {urlsplit(urljoin(at, link)).path for link in read.links if not link.startswith("#")}
    assert others == {
        "/prefix/meso/overview",
        "/prefix/runs",
        f"/prefix/runs/{lab.run}",
        "/prefix/assets/lineage_audit",
        *(f"/prefix/assets/{name}" for name in CATALOGUE),
    }, "relative, so that a proxy may put a prefix before all; a report that was not made has no link"
    assert "<script" not in content


@pytest.mark.parametrize("form", ["{name}", "lab/Subjects/{short}", "{name}/", "lab%2FSubjects/{short}"])
def test_links_lead_out_of_whatever_form_of_the_name_was_asked_for(lab, ask, form):
    path = f"/meso/lineage/{form.format(name=lab.name, short=lab.session.key.name)}"
    answer = ask(path)
    if form.endswith("/"):
        assert answer.status_code == 404, "the other pages of a session take no slash either"
        return
    (link,) = {link for link in Reader(answer.content).links if link.endswith(lab.run)}
    assert urlsplit(urljoin(f"http://{HOST}{path}", link)).path == f"/runs/{lab.run}"


def test_a_run_that_the_records_do_not_hold_is_told_without_a_link(page, edit):
    edit("frame_qc", lambda made: replace(made, made_by=replace(made.made_by, run_id="0b1c2d3e-elsewhere")))
    content = page()
    assert "run 0b1c2d3e-elsewhere its log was cleared" in text_of(part(content, "frame_qc"))
    assert not [link for link in Reader(content).links if "elsewhere" in link]


def test_what_is_stale_says_why_and_which_input_is_another_one(page, edit):
    inputs = {"imaging_metadata": "f" * 64}
    edit("frame_qc", lambda made: replace(made, basis=replace(made.basis, inputs={**made.basis.inputs, **inputs})))
    told = text_of(part(page(), "frame_qc"))
    assert "↻ stale" in told
    assert "imaging_metadata has changed (ffffffff →" in told
    assert "imaging_metadata ffffffffffff ↻" in told


def test_settings_options_and_packages_that_are_others_are_told(page, edit):
    def otherwise(made):
        basis = replace(made.basis, settings={**made.basis.settings, "qc_limits": {"interval_jitter": 1}})
        packages, options = {**made.made_by.packages, "numpy": "0.9", "gone": "1"}, {"suite2p": {"tau": 1}}
        return replace(made, basis=basis, made_by=replace(made.made_by, packages=packages, options=options))

    edit("frame_qc", otherwise)
    told = text_of(part(page(), "frame_qc"))
    assert 'qc_limits = {"interval_jitter":1}' in told.replace("&#34;", '"').replace(": 1", ":1")
    assert "numpy 0.9 →" in told
    assert "gone 1 → not installed" in told
    assert "suite2p = " in told


def test_what_records_hold_is_shown_as_text_and_nothing_of_it_runs(page, edit, audit, lab, tried):
    def nasty(made):
        by = replace(made.made_by, run_id=NASTY, host=NASTY, packages={NASTY: NASTY}, options={NASTY: NASTY})
        basis = replace(made.basis, inputs={NASTY: NASTY}, settings={NASTY: NASTY}, packages={NASTY: NASTY})
        return replace(made, made_by=by, basis=replace(basis, code_version=NASTY), published_at=NASTY)

    edit("frame_qc", nasty)
    audit()
    file = lab.session.path / LAST_VERDICT
    verdict = json.loads(file.read_text())
    finding = dict.fromkeys(("session", "asset", "path", "expected", "found", "remedy", "accepted"), NASTY)
    verdict |= {"findings": [{"kind": "changed", **finding}], "session": NASTY, "audited_at": NASTY}
    file.write_text(json.dumps(verdict))
    content = page()
    assert "<script" not in content
    assert Reader(content).open == []
    assert text_of(content).count("&lt;script&gt;") > 10
    assert not [link for link in Reader(content).links if "script" in unquote(link)]
    tried("web attacks: records that hold markup", content.count("&lt;script"))


def test_a_session_that_was_never_audited_says_so_and_how_it_is_done(page, lab):
    told = text_of(page())
    assert "Never audited" in told
    assert f"meso audit {lab.name}" in told


def test_the_last_audit_is_told_with_its_day_and_findings(page, audit, lab):
    audit()
    assert "all as recorded" in text_of(page())
    (lab.session.path / "alf" / "FOV_00" / "odd.npy").write_bytes(b"odd")
    file = next(f for f in lab.session.manifest("frame_qc").files if f.path.endswith(".npy")).path
    there = lab.session.path / file
    content = there.read_bytes()
    there.unlink()
    try:
        audit()
    finally:
        there.write_bytes(content)
        (lab.session.path / "alf" / "FOV_00" / "odd.npy").unlink()
    told = text_of(page())
    assert re.search(r"✕ Audit of \d{4}-\d\d-\d\d: \d finding", told)
    assert f"missing frame_qc {file}" in told
    assert "sizes and times of files" in told
    assert "The last 2 audits" in told


def test_a_result_that_was_published_after_the_last_audit_is_named(page, audit, edit):
    audit()
    edit("frame_qc", lambda made: replace(made, published_at="2999-01-01T00:00:00+00:00"))
    assert "Published since, and not audited: frame_qc." in text_of(page())


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"findings": 3}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_verdict_and_record_are_told_and_the_rest_is_shown(page, audit, lab, content, edit):
    audit()
    (lab.session.path / LAST_VERDICT).write_bytes(content)
    edit("frame_qc", lambda made: made)
    (lab.session.path / ".meso" / "manifests" / "frame_qc.json").write_bytes(content)
    told = text_of(page())
    assert "A record cannot be read." in told
    assert ("The last audit cannot be read" in told) == bool(content), "of an empty file the power is to blame"
    assert "✓ done" in text_of(part(page(), "imaging_metadata"))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "nobody/2023-03-03/001",
        "../../../etc/passwd",
        "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "SP036/2023-03-03/001@../lab",
        "SP036/2023-03-03/001@..",
        "lab/Subjects/../Subjects/SP036/2023-03-03/001",
        "/etc/passwd",
        "SP036/2023-13-03/001",
        "SP036/2023-03-03/001@lab/reports/session_report.html",
        "SP036/2023-03-03/001%00",
        "x" * 5000,
        "%3Cscript%3E/2023-03-03/001",
    ],
)
def test_what_is_no_session_is_refused(ask, path, tried):
    answer = ask(f"/meso/lineage/{path}")
    assert answer.status_code == 404
    assert not answer.headers["content-type"].startswith("text/html")
    tried("web attacks: names that are no session")


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"host": "rebound.example"}),
        ("GET", {"origin": "http://page.example"}),
        ("POST", {}),
        ("DELETE", {"content-type": "application/json", "sec-fetch-site": "cross-site"}),
    ],
)
def test_other_pages_are_refused(ask, lab, method, headers):
    assert ask(f"/meso/lineage/{lab.name}", method, **headers).status_code == 403


def test_it_may_ask_nobody_run_nothing_and_is_kept_by_no_browser(ask, lab):
    answer = ask(f"/meso/lineage/{lab.name}")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "script-src" not in policy
    assert ask(f"/meso/lineage/{lab.name}", "POST", **{"content-type": "application/json"}).status_code == 405


def on_server(lab, number):
    """Put the session with all its records onto a server; settings of that root."""
    root = open_root(f"memory://lineage-{number}/Subjects")
    for file in sorted(lab.session.path.rglob("*")):
        if file.is_file():
            path = f"{lab.session.key}/{file.relative_to(lab.session.path).as_posix()}"
            upload(root, file, path, content=hash_file(file))
    return lab.settings.model_copy(update={"root": f"memory://lineage-{number}/Subjects"})


def test_of_a_session_on_a_server_the_same_is_told_from_its_records(lab, audit):
    audit()
    settings = on_server(lab, os.getpid())
    told = text_of(lineage_page(settings, lab.instance, lab.name, "").decode())
    for name in MADE:
        assert f"{lab.session.manifest(name).data_version}" in told
    assert f"run {lab.run[:8]}" in told
    assert "Audit of 20" in told
    assert "all as recorded" in told


def test_the_terminal_tells_the_same(lab, audit, monkeypatch):
    audit()
    monkeypatch.setattr("meso_assets.cli.lineage.load_settings", lambda: lab.settings)
    told = CliRunner().invoke(group, ["lineage", lab.name])
    assert told.exit_code == 0, told.output
    for name in MADE:
        assert f"\n{name}: done\n" in told.output
        assert lab.session.manifest(name).data_version[:12] in told.output
    assert f"run {lab.run}, host " in told.output
    assert "\nrois: missing\n" in told.output
    assert "all as recorded (2 assets" in told.output
    assert "anew: meso audit SP036/2023-03-03/001" in told.output
    found = json.loads(CliRunner().invoke(group, ["lineage", lab.name, "--json"]).output)
    states = {one["asset"]: one["state"] for one in found["results"]}
    assert {name for name, state in states.items() if state == "done"} == {*MADE}
    assert found["audit"]["findings"] == []
    assert CliRunner().invoke(group, ["lineage", lab.name, "--graph", "x.svg"]).exit_code == 2
