"""Each place where meso leans on Dagster beyond its stable API still does what it is there for."""

from types import SimpleNamespace

import dagster as dg
import pytest

from meso_assets.defs import dagster_internals as internals
from meso_assets.defs.partitions import session_partitions
from meso_assets.defs.standing.raw_seen import observe, unseen

KEY = "SP035/2023-03-03/001"


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        made.add_dynamic_partitions("session", [KEY])
        yield made


@dg.op(out=dg.Out(io_manager_key="mem"))
def seven():
    return internals.versioned_output(7, "v7", {"rate": 5.5})


@dg.graph_asset(partitions_def=session_partitions)
def counted():
    return seven()


@dg.asset(partitions_def=session_partitions)
def broken():
    try:
        int("the true reason")
    except ValueError as error:
        raise dg.Failure("MesoError: what a person reads") from error


@dg.asset(partitions_def=session_partitions)
def faulty():
    raise ValueError("a fault of the code")


@dg.asset(partitions_def=session_partitions)
def stopped():
    raise dg.DagsterExecutionInterruptedError  # what Ctrl-C becomes in a step


def run(instance, *assets):
    return dg.materialize(
        list(assets),
        partition_key=KEY,
        instance=instance,
        resources={"mem": dg.mem_io_manager},
        raise_on_error=False,
    )


def test_a_steps_output_gives_its_asset_the_content_version(instance):
    assert run(instance, counted).success
    made = instance.get_latest_materialization_event(dg.AssetKey("counted")).asset_materialization
    assert made.tags["dagster/data_version"] == "v7"
    assert made.metadata["rate"].value == 5.5


def test_a_check_is_evaluated_per_session(instance):
    spec = internals.partitioned_check_spec("is_odd", "numbered", "Is it odd?")

    @dg.asset(partitions_def=session_partitions, check_specs=[spec])
    def numbered():
        yield dg.MaterializeResult(check_results=[dg.AssetCheckResult(check_name="is_odd", passed=True)])

    result = run(instance, numbered)
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.passed
    assert evaluation.partition == KEY


def test_raw_files_are_reported_once_per_version_and_session(instance):
    instance.add_dynamic_partitions("session", ["other"])
    assert internals.last_seen(instance, "raw_daq", KEY) is None
    assert observe(instance, KEY, {"raw_daq": "v1", "raw_frames": "f1"})
    assert not observe(instance, KEY, {"raw_daq": "v1", "raw_frames": "f1"})
    assert internals.last_seen(instance, "raw_daq", KEY) == "v1"
    assert internals.last_seen(instance, "raw_daq", "other") is None
    due = unseen(instance, KEY, {"raw_daq": "v2", "raw_frames": "f1"}, {"raw_daq": {"files": 3}})
    assert [(event.asset_key.to_user_string(), event.partition) for event in due] == [("raw_daq", KEY)]
    assert due[0].metadata["files"].value == 3, "what a person reads of them"
    assert observe(instance, KEY, {"raw_daq": "v2"})
    assert internals.last_seen(instance, "raw_daq", KEY) == "v2"


def test_a_step_that_somebody_stopped_says_so(instance):
    result = run(instance, stopped)
    (event,) = [e for e in internals.end_of_steps(instance, result.run_id) if e.is_step_failure]
    assert internals.failure_message(event) == internals.STOPPED


def test_the_reason_of_a_failure_is_what_was_said_and_not_dagsters_frame(instance):
    told = {}
    for asset in (broken, faulty):
        result = run(instance, asset)
        (event,) = [e for e in internals.end_of_steps(instance, result.run_id) if e.is_step_failure]
        told[event.step_key] = internals.failure_message(event)
    assert told["broken"] == "MesoError: what a person reads"
    assert "a fault of the code" in told["faulty"]


def test_steps_are_summed_up_with_times_and_failures(instance):
    good, bad = (internals.times_of_steps(instance, run(instance, asset).run_id) for asset in (counted, broken))
    ((one,), (two,)) = good, bad
    assert (one.step, one.failed) == ("counted", False) or one.step.endswith("seven")
    assert one.start <= one.end
    assert (two.step, two.failed) == ("broken", True)


def test_the_size_of_a_pool_is_kept(instance, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with dg.DagsterInstance.from_config(str(home)) as kept:
        internals.set_pool_size(kept, "suite2p", 3)
        assert kept.event_log_storage.get_concurrency_info("suite2p").slot_count == 3


def test_records_in_a_database_server_may_be_those_of_other_machines_too(instance, tmp_path):
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with dg.DagsterInstance.from_config(str(tmp_path)) as kept:
        assert internals.records_are_of_this_machine(kept)
    assert internals.records_are_of_this_machine(instance)
    of_a_package = type("PostgresRunStorage", (), {"__module__": "dagster_postgres.run_storage.run_storage"})
    on_server = SimpleNamespace(run_storage=of_a_package())
    assert not internals.records_are_of_this_machine(on_server)


def test_what_ends_the_steps_with_the_run_is_imported_before_dagster():
    names = internals.preloaded_first("ours")
    executor = dg.multiprocess_executor.executor_creation_fn(
        SimpleNamespace(executor_config={"retries": {"enabled": {}}})
    )
    assert names == ["ours", type(executor).__module__]


def tell(instance, version, **metadata):
    tags = {"dagster/data_version": version}
    instance.report_runless_asset_event(dg.AssetMaterialization("told", partition=KEY, tags=tags, metadata=metadata))


def test_all_materialisations_are_told_newest_first_and_the_last_version_in_one_query(instance, monkeypatch):
    monkeypatch.setattr(internals, "_PAGE", 2)
    for i in range(5):
        tell(instance, f"v{i}", manifest_sha256=f"d{i}")
    tell(instance, "v5")
    found = internals.materializations(instance, "told", KEY)
    assert [(version, digest) for _, _, version, digest in found] == [
        ("v5", ""),
        *((f"v{i}", f"d{i}") for i in (4, 3, 2, 1, 0)),
    ]
    assert [at for _, at, _, _ in found] == sorted((at for _, at, _, _ in found), reverse=True)
    assert internals.materializations(instance, "told", "SP036/2023-03-03/001") == ()
    assert internals.latest_versions(instance, "told", [KEY, "SP036/2023-03-03/001"]) == {KEY: "v5"}


def test_the_answer_of_a_check_can_be_reported_again_and_again_by_runs_that_do_not_make_its_asset(instance):
    @dg.op
    def ask(context):
        for session in (KEY, "SP036/2023-03-03/001"):
            answer = dg.AssetCheckResult(asset_key="told", check_name="is_odd", passed=False, description="it is even")
            internals.report_check(context, answer, session)

    @dg.job
    def asking():
        ask()

    for _ in range(2):
        done = asking.execute_in_process(instance=instance)
        records = instance.get_records_for_run(done.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
        told = [record.event_log_entry.dagster_event.event_specific_data for record in records]
        assert [(one.check_name, one.passed, one.partition) for one in told] == [
            ("is_odd", False, KEY),
            ("is_odd", False, "SP036/2023-03-03/001"),
        ]


def test_all_run_keys_that_were_used_are_told_at_once(instance):
    assert internals.used_run_keys(instance) == set()
    for number in range(3):
        instance.create_run_for_job(_empty_job(), tags={"dagster/run_key": f"key {number // 2}", "other": "tag"})
    assert internals.used_run_keys(instance) == {"key 0", "key 1"}


def test_what_a_step_told_last_of_its_share_is_found_and_of_no_other_step(instance):
    @dg.op
    def counts(context):
        for percent in (10, 20):
            context.log.info(f"pages: {percent} of 100 ({percent}%)")
        context.log.info("without a share")

    @dg.job
    def counting():
        counts.alias("one")()
        counts.alias("two")()

    done = counting.execute_in_process(instance=instance)
    assert internals.last_messages(instance, done.run_id, {"one"}) == {"one": "pages: 20 of 100 (20%)"}


def _empty_job():
    @dg.op
    def nothing(): ...

    @dg.job
    def empty():
        nothing()

    return empty
