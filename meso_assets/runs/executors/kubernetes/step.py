"""What starts in a pod: one step of a run.

What belongs here: that the pod is fit, and the way to the step. Why a pod would not begin is told to Kubernetes with
the end of its process, and from there to the run.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from typing import Any

from meso_core.errors import MesoError
from meso_core.processes import tell_children

from ..ending import end_at_once
from ..job_scratch import own_scratch

#: What the engine tells the pod: the command of the step, and what the machine that leads the run has, as JSON.
ORDER = "_MESO_POD_ORDER"


def main() -> int:
    """Run the step of this pod; return the exit code of its process."""
    order = json.loads(os.environ.pop(ORDER))
    os.environ.pop("_MESO_STARTED_BY", None)
    tell_children()
    with ExitStack() as until_end:
        end_at_once()
        try:
            until_end.enter_context(own_scratch(f"pod-{os.getpid()}"))
            _refuse_another(order["leader"])
        except MesoError as error:
            sys.stderr.write(f"{error}\n")  # the last lines of a pod that failed are its message
            return 1
        from ....defs.dagster_internals.delegating import execute_step_here

        execute_step_here(order["command"])
    return 0


def _refuse_another(leader: dict[str, Any]) -> None:
    from ...settings.settings import load_settings
    from ..compatibility import Sameness

    Sameness(**leader).refuse(Sameness.of_this_machine(load_settings()))


if __name__ == "__main__":
    sys.exit(main())
