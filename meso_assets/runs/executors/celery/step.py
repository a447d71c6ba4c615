"""What a worker starts: the process of one step, which ends with the worker.

What belongs here: the way from the worker to the step, nothing of the step.
"""

from __future__ import annotations

import os
import sys

from meso_core.processes import end_with_parent, tell_children, told_parent


def main() -> None:
    """Run the step whose command stands on the standard input."""
    end_with_parent(told_parent())
    tell_children()
    command = sys.stdin.read()
    from ..job_scratch import own_scratch

    with own_scratch(f"celery-{os.getpid()}"):
        from ....defs.dagster_internals.delegating import execute_step_here

        execute_step_here(command)


if __name__ == "__main__":
    main()
