"""Names of sessions: no two ever share one, whatever arrives in whatever order, and each leads back to its session."""

from __future__ import annotations

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meso_assets.io.resources import Platform
from meso_assets.io.session_names import (
    NAME_OWNERS,
    SESSION_PARTITION,
    Registered,
    add_sessions,
    key_of_partition,
    known_sessions,
    labs_by_subject,
    name_sessions,
)
from meso_assets.runs.settings.settings import load_settings
from meso_core.errors import MissingInputError, SettingsError
from meso_core.session import SessionKey, find_sessions

MANY = settings(max_examples=300, deadline=None)
#: Few values, so that labs often hold the same subjects, on the same days.
KEYS = st.builds(
    SessionKey,
    subject=st.sampled_from(["SP036", "SP037", "labA"]),
    date=st.sampled_from(["2023-03-01", "2023-03-02"]),
    number=st.sampled_from(["001", "002"]),
    lab=st.sampled_from([None, "labA", "labB", "SP036"]),
)
#: Looks at a root, one after the other: which sessions are there. They come and go.
LOOKS = st.lists(st.sets(KEYS, min_size=1), min_size=1, max_size=5)


class Partitions:
    """The partitions of Dagster's records, without the rest of them."""

    def __init__(self):
        self._lists = {}

    def get_dynamic_partitions(self, of):
        return list(self._lists.get(of, ()))

    def has_dynamic_partition(self, of, name):
        return name in self._lists.get(of, ())

    def add_dynamic_partitions(self, of, names):
        self._lists.setdefault(of, {}).update(dict.fromkeys(names))


def take_over(instance, name):
    """Add a partition as earlier versions did."""
    instance.add_dynamic_partitions(SESSION_PARTITION, [name])


@MANY
@given(LOOKS)
def test_names_and_sessions_are_one_to_one_and_no_name_ever_means_another_session(looks):
    meant = {}
    instance = Partitions()
    for there in looks:
        names = add_sessions(instance, there)
        assert set(names) == there
        for key, name in names.items():
            assert meant.setdefault(name, key) == key
        registered = Registered.of(instance)
        assert known_sessions(instance) == meant.keys()
        for name, key in meant.items():
            assert key_of_partition(instance, name) == registered.key(name) == key
            assert registered.find(key) == name


@MANY
@given(LOOKS, st.sets(KEYS))
def test_partitions_of_earlier_versions_keep_their_meaning(looks, earlier):
    meant = {str(key): key for key in earlier}
    instance = Partitions()
    for name in meant:
        take_over(instance, name)
    for there in looks:
        for key, name in add_sessions(instance, there).items():
            assert meant.setdefault(name, key) == key
        for name, key in meant.items():
            assert key_of_partition(instance, name) == key


@MANY
@given(st.sets(KEYS, min_size=1))
def test_the_lab_is_in_a_name_where_two_labs_hold_the_subject_and_nowhere_else(there):
    labs = labs_by_subject(there)
    instance = Partitions()
    for key, name in add_sessions(instance, there).items():
        shared = len(labs[key.subject]) > 1
        assert name == (key.name_with_lab if shared and key.lab else key.name)


@MANY
@given(st.lists(KEYS, min_size=2, max_size=6, unique=True))
def test_a_name_once_given_stays_whatever_comes_later(keys):
    instance = Partitions()
    given_first = {}
    for key in keys:
        given_first |= {key: add_sessions(instance, [key])[key]}
        assert add_sessions(instance, given_first, labs_by_subject(keys)) == given_first


def test_dagster_keeps_partitions_in_the_order_in_which_they_were_added():
    """Of two owners of a name the first counts."""
    added = ["SP036@labB", "SP036@labA", "SP035@labC", "SP036@labD"]
    with dg.DagsterInstance.ephemeral() as instance:
        for name in added:
            instance.add_dynamic_partitions(NAME_OWNERS, [name])
        assert instance.get_dynamic_partitions(NAME_OWNERS) == added


@pytest.mark.parametrize("first", ["labA", "labB"])
def test_of_two_processes_that_name_subjects_of_two_labs_at_once_one_has_the_name_without(monkeypatch, first):
    """Each sees one lab alone, and writes down its claim before it sees that of the other."""
    keys = [SessionKey("SP036", "2023-03-01", "001", lab) for lab in ("labA", "labB")]
    with dg.DagsterInstance.ephemeral() as instance:
        looked, names = Registered.of, []
        nothing_yet = looked(instance)
        instance.add_dynamic_partitions(NAME_OWNERS, [f"SP036@{first}"])
        for key in keys:
            looks = iter([nothing_yet])
            monkeypatch.setattr(Registered, "of", lambda _, looks=looks: next(looks, None) or looked(instance))
            names.append(name_sessions(instance, [key], {"SP036": {key.lab}})[key])
    assert len({*names}) == 2
    assert [key.name if key.lab == first else key.name_with_lab for key in keys] == names


def platform_of(folder, *paths):
    for path in paths:
        (folder / "root" / path).mkdir(parents=True)
    return Platform.open(load_settings({"root": folder / "root", "home": folder / "home"}))


A, B = "labA/Subjects/SP036/2023-03-01/001", "labB/Subjects/SP036/2023-03-02/001"
ONLY_A = "labA/Subjects/SP037/2023-03-01/002"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("SP037/2023-03-01/002", ONLY_A),
        ("SP037/2023-03-01/2/", ONLY_A),
        ("SP037/2023-03-01/002@labA", ONLY_A),
        (ONLY_A, ONLY_A),
        ("SP036/2023-03-01/001@labA", A),
        ("SP036/2023-03-02/001@labB", B),
        (B, B),
        ("SP038/2023-03-01/001", "SP038/2023-03-01/001"),
        ("SP038/2023-03-01/001@", "SP038/2023-03-01/001"),
    ],
)
def test_a_person_names_a_session_in_any_form(tmp_path, text, path):
    platform = platform_of(tmp_path, A, B, ONLY_A, "SP038/2023-03-01/001")
    assert str(platform.find(text).key) == path
    assert str(platform.find(f"{tmp_path}/root/{path}").key) == path


@pytest.mark.parametrize("text", ["SP036/2023-03-01/001", "SP036/2023-03-02/001", "SP036/2024-01-01/001"])
def test_a_name_without_its_lab_is_refused_where_two_labs_hold_the_subject(tmp_path, text):
    """Also where only one of them has this date: who means the other one must not get this one."""
    with pytest.raises(SettingsError, match=rf"{text}@labA or {text}@labB"):
        platform_of(tmp_path, A, B).find(text)


def test_what_the_partition_of_one_lab_meant_is_never_answered_with_the_session_of_another(tmp_path):
    """The disk of the one is gone, and the other has a session of the same subject, day and number."""
    platform = platform_of(tmp_path, A)
    with dg.DagsterInstance.ephemeral() as instance:
        (name,) = add_sessions(instance, find_sessions(tmp_path / "root")).values()
        assert name == "SP036/2023-03-01/001"
        (tmp_path / "root" / "labA").rename(tmp_path / "root" / "labB")
        with pytest.raises(MissingInputError, match="labA/Subjects/SP036"):
            platform.session(name, instance)
        (other,) = add_sessions(instance, find_sessions(tmp_path / "root")).values()
        assert other == "SP036/2023-03-01/001@labB"
        assert platform.session(other, instance).path == tmp_path / "root" / "labB/Subjects/SP036/2023-03-01/001"


def test_fields_left_out_by_the_name_of_a_session_are_left_out_of_that_one(tmp_path):
    platform = platform_of(tmp_path, A, B, ONLY_A)
    left_out = {"SP037/2023-03-01/002": ["FOV_00"], "SP036/2023-03-01/001@labA": ["FOV_01"]}
    own = load_settings({"root": tmp_path / "root", "home": tmp_path / "home", "left_out_fovs": left_out})
    for path, names in ((ONLY_A, ("FOV_00",)), (A, ("FOV_01",)), (B, ())):
        key = platform.named(path)
        assert own.left_out_of(key) == own.of_session(key).left_out_of(key) == names


def test_fields_are_not_left_out_of_whichever_of_two_labs_a_name_may_mean(tmp_path):
    platform = platform_of(tmp_path, A, B)
    left_out = {"SP036/2023-03-01/001": ["FOV_01"]}
    own = load_settings({"root": tmp_path / "root", "home": tmp_path / "home", "left_out_fovs": left_out})
    with pytest.raises(SettingsError, match="@labA"):
        own.left_out_of(platform.named(A))
