"""What Alyx says of a subject is an input with a version: kept with the session, asked again by a run, told of."""

import logging
from types import SimpleNamespace

import pytest

from meso_assets.assets.subject import ask_alyx, tau_metadata
from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.standing.standings import look_at
from meso_assets.io.alyx import Alyx
from meso_assets.io.resources import Platform
from meso_assets.runs.settings.settings import load_settings
from meso_core.alyx import SubjectAnswer, ask_subject, connect, keep_answer, kept_answer
from meso_core.errors import AlyxError, InputFileError, MesoWarning
from meso_core.storage import MadeBy
from tests.alyx.standin import Given, Throttle, serving

KEY = "SP035/2023-03-03/001"


@pytest.fixture
def given():
    with serving(throttle=Throttle(None)) as server:
        given = Given(server.url, stand_in=server)
        given.a_lab()
        given.subject("SP035")
        given.genotype("SP035", Camk2a_tTA=1, tetO_G6f=1)
        given.surgery("SP035", "2023-01-01T10:00:00", {"craniotomy_00": {"center": [2.7, -1.3]}})
        yield given
        given.close()


@pytest.fixture
def settings(tmp_path, given, monkeypatch):
    monkeypatch.setenv("ALYX_USER", given.user)
    monkeypatch.setenv("ALYX_PASSWORD", given.password)
    bout = tmp_path / "sessions" / KEY / "raw_imaging_data_00"
    bout.mkdir(parents=True)
    (bout / "x.tif").write_bytes(b"x")
    places = {"root": tmp_path / "sessions", "home": tmp_path / "home"}
    return load_settings({**places, "alyx": "online", "alyx_url": given.url})


def session_of(settings):
    return Platform.open(settings).session(KEY)


def ask(settings):
    context = SimpleNamespace(partition_key=KEY, instance=None, log=logging.getLogger("test"))
    ask_alyx(context, Platform.open(settings), Alyx.open(settings))


def basis(settings, asset):
    return look_at(session_of(settings)).standing(CATALOGUE[asset], settings).basis.settings


def test_the_answer_holds_the_alleles_of_the_detail_and_the_centre_of_the_only_window(given):
    client = connect(given.url, user=given.user, password=given.password)
    assert ask_subject(client, "SP035") == SubjectAnswer("SP035", ("Camk2a-tTA", "tetO-G6f"), (2.7, -1.3))
    two = {"craniotomy_00": {"center": [2.7, -1.3]}, "craniotomy_01": {"center": [0, -3.0]}, "craniotomy_02": "lost"}
    given.surgery("SP035", "2023-02-01T10:00:00", two)
    assert ask_subject(client, "SP035").window_center is None, "nobody knows which of them was imaged"
    with pytest.raises(AlyxError, match="Enter the subject"):
        ask_subject(client, "SP099")


def test_an_allele_that_was_tested_and_is_absent_is_not_one_of_the_subject(given):
    given.genotype("SP035", Camk2a_tTA=1, tetO_G6f=0, Thy1_G6m=2)
    client = connect(given.url, user=given.user, password=given.password)
    assert ask_subject(client, "SP035").alleles == ("Camk2a-tTA", "Thy1-G6m")


def test_an_answer_about_another_subject_does_not_count_and_is_told(settings):
    """The folder of a session was copied, or its subject renamed."""
    session = session_of(settings)
    keep_answer(session.path, SubjectAnswer("SP034", ("tetO-G6f",), (1.0, -2.0)))
    assert basis(settings, "rois")["genotype"] == ""
    assert "what Alyx said of subject SP034 is kept here and does not count" in look_at(session).remarks()
    ask(settings)
    assert basis(settings, "rois")["genotype"] == "Camk2a-tTA;tetO-G6f"
    assert look_at(session).remarks() == ()


def test_an_answer_is_kept_whole_and_a_damaged_one_is_named(tmp_path):
    answer = SubjectAnswer("SP035", ("Thy1-G6s",), (1.0, -2.0))
    assert kept_answer(tmp_path) is None
    assert keep_answer(tmp_path, answer)
    assert not keep_answer(tmp_path, answer), "the same again"
    assert kept_answer(tmp_path) == answer
    keep_answer(tmp_path, SubjectAnswer("SP035"))
    assert kept_answer(tmp_path) == SubjectAnswer("SP035"), "of no allele and no window"
    for text in ('{"alleles": 5}', '{"subject": "a", "alleles": [], "window_center": [1]}', "[]", "{"):
        (tmp_path / ".meso/alyx/subject.json").write_text(text)
        with pytest.raises(InputFileError, match="asks again"):
            kept_answer(tmp_path)


def test_what_alyx_says_is_part_of_what_results_depend_on(settings):
    assert basis(settings, "rois")["genotype"] == ""
    ask(settings)
    assert basis(settings, "rois")["genotype"] == "Camk2a-tTA;tetO-G6f"
    center = basis(settings, "imaging_metadata")
    assert (center["window_center_ml"], center["window_center_ap"]) == (2.7, -1.3)


def test_an_allele_that_is_corrected_in_alyx_makes_the_cells_stale_and_says_why(settings, given):
    ask(settings)
    session, declared = session_of(settings), CATALOGUE["rois"]
    staging = session.stage("rois")
    staging.write("alf/FOV_00/mpci.ROIActivityF.npy", b"x")
    session.publish(staging.seal(), look_at(session).standing(declared, settings).basis, MadeBy("by hand"))
    given.genotype("SP035", Camk2a_tTA=1, tetO_G6s=1)
    assert look_at(session).standing(declared, settings).is_current, "nobody has asked yet"
    ask(settings)
    (why,) = look_at(session).standing(declared, settings).reasons
    assert why == "setting genotype: Camk2a-tTA;tetO-G6f → Camk2a-tTA;tetO-G6s"
    off = settings.model_copy(update={"alyx": "off"})
    assert look_at(session).standing(declared, off).reasons == (why,), "what was said counts without the server too"


def test_settings_win_over_alyx(settings):
    ask(settings)
    given = {"genotype": "Thy1-G6s", "window_center_ml": 1.0, "window_center_ap": 2.0}
    own = look_at(session_of(settings)).own_settings(settings.model_copy(update=given))
    assert (own.genotype, own.window_center_ml, own.window_center_ap) == ("Thy1-G6s", 1.0, 2.0)


def test_the_rigs_own_metadata_win_over_the_centre_in_alyx(settings):
    ask(settings)
    bout = session_of(settings).path / "raw_imaging_data_00"
    (bout / "_ibl_rawImagingData.meta.json").write_text("{}")
    assert look_at(session_of(settings)).own_settings(settings).window_center_ml is None


@pytest.mark.parametrize("mode", ["off", "dry-run"])
def test_alyx_is_asked_online_only(settings, given, mode):
    before = len(given.stand_in.requests)
    ask(settings.model_copy(update={"alyx": mode}))
    assert len(given.stand_in.requests) == before
    assert kept_answer(session_of(settings).path) is None


def test_a_server_that_is_away_holds_nothing_up_and_the_last_answer_counts(settings, given):
    ask(settings)
    given.stand_in.stop()
    with pytest.warns(MesoWarning, match="what it said before counts"):
        ask(settings)
    assert basis(settings, "rois")["genotype"] == "Camk2a-tTA;tetO-G6f"


@pytest.mark.parametrize(
    ("changes", "options", "tau", "told"),
    [
        ({}, {}, 0.7, "genotype in Alyx: Camk2a-tTA;tetO-G6f"),
        ({"genotype": "Thy1-G6m"}, {}, 1.0, "MESO_GENOTYPE: Thy1-G6m"),
        ({"genotype": "Thy1-G6m", "suite2p": {"tau": 0.9}}, {}, 0.9, "MESO_SUITE2P"),
        ({"suite2p": {"tau": 0.9}}, {"tau": 2}, 2.0, "suite2p option of this run"),
    ],
)
def test_it_is_told_which_tau_was_used_and_why(settings, changes, options, tau, told):
    ask(settings)
    chosen = settings.model_copy(update=changes)
    own = look_at(session_of(settings)).own_settings(chosen)
    assert tau_metadata(chosen, own, options) == {"tau_s": tau, "tau_from": told}


def test_without_any_genotype_the_default_is_told(settings):
    own = look_at(session_of(settings)).own_settings(settings)
    assert tau_metadata(settings, own, {}) == {"tau_s": 1.5, "tau_from": "the default, no genotype is known"}
