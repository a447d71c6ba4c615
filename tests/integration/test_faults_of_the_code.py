"""A fault of meso's own, which no error of the project names, is told with the session and the asset."""

import dagster as dg
import pytest

from meso_core.simulate import preset, simulate_session


@pytest.mark.parametrize(
    ("asset", "step", "function"),
    [
        ("frame_times", "frame_times", "meso_core.timing.find_frame_times"),
        (
            "motion_registered_frames",
            "motion_registered_frames.split_pages",
            "meso_core.imaging.SessionImaging.split",
        ),
    ],
)
def test_an_exception_that_nobody_foresaw_is_told_with_session_and_asset(
    asset, step, function, tmp_path, make_settings, materialise, monkeypatch, capfd
):
    settings = make_settings(tmp_path)
    key = simulate_session(settings.root, preset("tiny")).key

    def broken(*arguments, **options):
        raise ZeroDivisionError("a fault of the code")

    monkeypatch.setattr(function, broken)
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialise(instance, settings, key, ("imaging_metadata", "frame_qc", asset))
        failed = [e.step_key for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
        logged = [entry.user_message for entry in instance.all_logs(result.run_id) if entry.level >= 40]
    assert failed == [step]
    assert [text for text in logged if text.startswith(f"{key}, {step}: unexpected ZeroDivisionError.")]
