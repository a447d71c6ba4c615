"""How a run looks in a terminal: one line per step that starts, tells something, or ends.

What belongs here: the logger of the command line. The full log is in the UI.
"""

from __future__ import annotations

import logging
import multiprocessing
import re
import sys
import time
from typing import Any

import dagster as dg

from meso_core.counting import lasting

from ..defs.catalogue import CATALOGUE
from ..defs.dagster_internals import STOPPED, asset_of_step, failure_message, is_told_by_the_leader

_EVENTS = {"STEP_SUCCESS": "done", "STEP_SKIPPED": "skipped"}
#: A step begins: in the process of the run, which tells its own process to start, and then there.
_BEGINS, _STARTED = ("STEP_WORKER_STARTING", "STEP_START"), "started"

#: What Dagster says of a step that cannot begin, with names of steps in brackets.
_NOT_BEGUN = re.compile(r"Dependencies for step \S+ (?:failed|were not executed): .*Not executing\.")
_NAMES = re.compile(r"'([^']+)'")

#: Less time left than that is not told: what is quick has no estimate, and comes beside and after what takes long, s.
_LEAST_LEFT_S = 60.0


def readable_log(n_results: int, seconds: float | None = None) -> dict[str, Any]:
    """Run configuration that chooses this logger and nothing else.

    Parameters
    ----------
    n_results
        Results that the run makes.
    seconds
        What its long steps are estimated to take, s; None where nothing tells.
    """
    expected = {} if seconds is None else {"seconds": float(seconds)}
    return {"loggers": {"readable": {"config": {"n_results": n_results, **expected}}}}


class _Lines(logging.Handler):
    def __init__(self, n_results: int | None, seconds: float | None = None) -> None:
        super().__init__()
        self._n_results = n_results
        self._seconds = seconds
        self._since: float | None = None
        self._started: dict[str, float] = {}
        self._begun: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        meta = getattr(record, "dagster_meta", {})
        step, event = meta.get("step_key") or "", meta.get("dagster_event")
        text = self.event_text(step, event) if event is not None else self._message(record, meta)
        if text:
            show_line(step, text)

    def event_text(self, step: str, event: dg.DagsterEvent) -> str:
        """Words for an event; none for most."""
        kind = event.event_type_value
        if kind in _BEGINS:
            return self._begins(step)
        if kind == "STEP_SUCCESS" and step in self._started:
            return f"done in {time.monotonic() - self._started[step]:.1f} s"
        if kind == "STEP_FAILURE":
            why = failure_message(event)
            return why if why == STOPPED else f"FAILED: {why}"
        return _EVENTS.get(kind, "")

    def _begins(self, step: str) -> str:
        """Tell of a step once, and which of the results it begins: the run's own process alone sees all of them."""
        if self._since is None:
            self._since = time.monotonic()
        is_told = step in self._started or multiprocessing.parent_process() is not None
        self._started[step] = time.monotonic()
        if is_told:
            return ""
        asset = asset_of_step(step)
        if self._n_results is None or asset in self._begun or asset not in CATALOGUE:
            return _STARTED
        self._begun.append(asset)
        return f"{_STARTED}, result {len(self._begun)} of {self._n_results}{self._left(time.monotonic() - self._since)}"

    def _left(self, passed_s: float) -> str:
        """Tell how much time is left by the estimate; nothing where it is used up, or where there is none."""
        left = (self._seconds or 0.0) - passed_s
        return f", about {lasting(left)} left" if left >= _LEAST_LEFT_S else ""

    def _message(self, record: logging.LogRecord, meta: dict[str, Any]) -> str:
        if record.levelno < logging.INFO:
            return ""
        text = str(meta.get("orig_message") or record.getMessage())
        if _NOT_BEGUN.fullmatch(text):
            return f"not reached, for want of {', '.join(dict.fromkeys(_NAMES.findall(text)))}"
        prefix = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return prefix + text.removeprefix(f"{asset_of_step(meta.get('step_key') or '')}: ")  # it stands before the line


class StepsElsewhere:
    """Prints lines of steps that other machines run: they write into the records of the run, and not in this terminal.

    Parameters
    ----------
    run
        The run; one without this logger is seen in the UI alone.
    """

    def __init__(self, run: dg.DagsterRun) -> None:
        config: Any = run.run_config
        self._lines = _Lines(None) if "readable" in ((config or {}).get("loggers") or {}) else None

    def __call__(self, event: dg.DagsterEvent) -> None:
        """Print the line of an event, if it has one."""
        if self._lines is None or is_told_by_the_leader(event):  # which has printed it
            return
        is_of_engine = event.event_type_value == "ENGINE_EVENT" and bool(event.step_key)
        text = event.message if is_of_engine else self._lines.event_text(event.step_key or "", event)
        if text == _STARTED:  # the leader has told that it handed the step over
            text = "at work"
        if text:
            show_line(event.step_key or "", text)


def show_line(step: str, text: str) -> None:
    """Print a line of a step, with the time."""
    print(f"  {time.strftime('%H:%M:%S')}  {step:<42} {text}", file=sys.stdout, flush=True)  # noqa: T201


@dg.logger(
    {"n_results": dg.Field(int, is_required=False), "seconds": dg.Field(float, is_required=False)},
    description="One readable line per step.",
)
def readable_logger(context: dg.InitLoggerContext) -> logging.Logger:
    """Make the logger of a run."""
    logger = logging.Logger(f"meso.{context.run_id}", level=logging.DEBUG)
    logger.addHandler(_Lines(context.logger_config.get("n_results"), context.logger_config.get("seconds")))
    return logger
