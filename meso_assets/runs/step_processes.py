"""Steps end with the run: the kernel kills the processes of a run whose own process was killed.

They hear nothing of a terminal: Ctrl-C reaches the process of the run alone, which tells its steps to end. Else what a
step has started, as what hands its output on, would end first, with a traceback.

What belongs here: what the fork server of a run does when it starts; the executor names this module among those that
it preloads. The fork server is started by the process of the run and ends with it; the steps are its forks and end with
it; what a step starts (a suite2p worker) ends with the step. Nothing writes on after a killed run.
"""

import os
from contextlib import suppress

from meso_core.processes import end_with_parent, told_parent


class _Forks:
    """Remembers who forks, so that the child knows whether its parent has ended meanwhile."""

    parent = os.getpid()

    @classmethod
    def before(cls) -> None:
        cls.parent = os.getpid()

    @classmethod
    def in_child(cls) -> None:
        end_with_parent(cls.parent)


with suppress(OSError):  # it leads a session already
    os.setpgid(0, 0)
end_with_parent(told_parent())  # the run may have been killed while Python loaded this
os.register_at_fork(before=_Forks.before, after_in_child=_Forks.in_child)
