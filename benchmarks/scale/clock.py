"""A cluster played on a simulated clock: a queue of runs, what leads each, a scheduler, nodes with cores and memory.

Runs wait in a queue, so many at once are led. Where the sensor asks for them, what is quick of a session has a run of
its own, before those that wait, and the rest is asked for when that has ended. A step whose forerunners are done is
handed to the scheduler a moment later. The scheduler gives nodes in the order of submission; what does not fit keeps
its turn, and what comes behind goes before it only where it ends, by its limit of time, before the first one's turn
comes (as SLURM's own backfill).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from meso_core.imaging.needs import StepNeeds

from .plan import SimStep


@dataclass(frozen=True, slots=True)
class Costs:
    """What orchestration takes, s: measured with a real engine."""

    #: From the order to run a session to its first jobs; and from its last step to the end of what leads it.
    begin: float
    end: float
    #: From the end of a step to the start of the job of one that waited for it, on a cluster with room.
    turn: float
    #: Of a core, for each job, besides what the step computes.
    job: float


@dataclass(frozen=True, slots=True)
class Site:
    """What there is to run sessions."""

    n_nodes: int
    cores: int
    memory_gb: float
    #: Runs that are led at once, and most jobs of one run and places of fields of view over all runs.
    max_runs: int
    most_jobs: int = 64
    #: Cores that what orchestration takes has to share; None where each job has its own.
    shared_cores: int | None = None
    #: Runs of what is quick that are led besides, where the sensor asks for all runs; 0 where each session has one run.
    quick_runs: int = 0
    #: Time between two looks of the sensor, s, and most runs that one asks for.
    look_every: float = 60.0
    most_asked: int = 5

    @property
    def slots(self) -> int:
        """Cores in all."""
        return self.n_nodes * self.cores


@dataclass(frozen=True, slots=True)
class Span:
    """A step that was run."""

    session: int
    key: str
    node: int
    begin: float
    end: float
    needs: StepNeeds
    #: Of it, what was computed.
    seconds: float


@dataclass(frozen=True)
class Played:
    """What came of it."""

    site: Site
    spans: tuple[Span, ...]
    #: When each session was whole, s.
    ended: tuple[float, ...]

    @property
    def makespan(self) -> float:
        """When the last session was whole, s."""
        return max(self.ended)

    def busy(self, share: float = 0.9) -> float:
        """Share of the slots that are taken until a share of the time is over; a node without memory has no free slot.

        Parameters
        ----------
        share
            Of the time until the last session is whole.
        """
        until, taken = share * self.makespan, 0.0
        for node in range(self.site.n_nodes):
            changes = [(min(t, until), sign, one) for one in self.spans if one.node == node
                       for t, sign in ((one.begin, 1), (one.end, -1))]  # fmt: skip
            cores = memory = before = 0.0
            for moment, sign, one in sorted(changes, key=lambda change: change[:2]):
                taken += (moment - before) * max(cores / self.site.cores, memory / self.site.memory_gb)
                before = moment
                cores += sign * one.needs.cores
                memory += sign * one.needs.memory_gb
        return taken / (self.site.n_nodes * until)

    @property
    def ideal(self) -> float:
        """The least time that so much needs, were all cores busy to the end, or all memory taken, s."""
        cores = sum(one.seconds * one.needs.cores for one in self.spans) / self.site.slots
        memory = sum(one.seconds * one.needs.memory_gb for one in self.spans)
        return max(cores, memory / (self.site.n_nodes * self.site.memory_gb))


@dataclass(slots=True)
class _Job:
    session: int
    step: SimStep
    number: int
    node: int = -1
    begin: float = 0.0
    left: float = 0.0


@dataclass
class _Node:
    cores: int
    memory: float
    jobs: list[_Job] = field(default_factory=list)

    def fits(self, needs: StepNeeds) -> bool:
        return needs.cores <= self.cores and needs.memory_gb <= self.memory + 1e-9

    def take(self, needs: StepNeeds, sign: int) -> None:
        self.cores -= sign * needs.cores
        self.memory -= sign * needs.memory_gb


class Clock:
    """Plays sessions on a site.

    Parameters
    ----------
    site, costs
        What there is, and what it takes.
    sessions
        Steps of each session, in the order in which they are asked for.
    arrivals
        When each is asked for, s; by default all at once.
    """

    def __init__(
        self, site: Site, costs: Costs, sessions: Sequence[Sequence[SimStep]], arrivals: Sequence[float] = ()
    ) -> None:
        self._site, self._costs = site, costs
        self._runs = [_runs_of(steps, in_two=site.quick_runs > 0) for steps in sessions]
        self._sessions: list[dict[str, SimStep]] = [{} for _ in sessions]
        self._waits_for: list[dict[str, set[str]]] = [{} for _ in sessions]
        self._nodes = [_Node(site.cores, site.memory_gb) for _ in range(site.n_nodes)]
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = count()
        self._now, self._places = 0.0, 0
        # of quick runs and of long ones: who is to be asked for, who waits in the queue, and how many are led
        self._to_ask: tuple[list[int], list[int]] = [], []
        self._queue: tuple[list[int], list[int]] = [], []
        self._led = [0, 0]
        self._n_asked = 0
        self._held: list[list[SimStep]] = [[] for _ in sessions]
        self._n_jobs = [0] * len(sessions)
        self._n_left = [0] * len(sessions)
        self._pending: list[_Job] = []
        self._on_cores: list[_Job] = []
        self._spans: list[Span] = []
        self._ended = [0.0] * len(sessions)
        for session in range(len(sessions)):
            self._at(arrivals[session] if arrivals else 0.0, self._arrive, session)
        if site.quick_runs:
            self._at(0.0, self._look)

    def play(self) -> Played:
        """Play to the end."""
        while self._events or self._on_cores:
            self._advance()
            while self._events and self._events[0][0] <= self._now + 1e-9:
                _, _, do, what = heapq.heappop(self._events)
                do(*what)
            for job in [one for one in self._on_cores if one.left <= 1e-9]:
                self._on_cores.remove(job)
                self._job_ends(job)
            self._schedule()
        return Played(self._site, tuple(self._spans), tuple(self._ended))

    def _at(self, when: float, do: Callable[..., None], *what: Any) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), do, what))

    def _advance(self) -> None:
        """Go to the next moment in which something happens."""
        rate = 1.0
        if self._site.shared_cores is not None and self._on_cores:
            rate = min(1.0, self._site.shared_cores / len(self._on_cores))
        moments = [self._events[0][0]] if self._events else []
        moments += [self._now + min(one.left for one in self._on_cores) / rate] if self._on_cores else []
        moment = max(self._now, min(moments))
        for job in self._on_cores:
            job.left -= (moment - self._now) * rate
        self._now = moment

    def _arrive(self, session: int) -> None:
        if self._site.quick_runs:
            self._to_ask[self._is_long(session)].append(session)
        else:
            self._queue[True].append(session)
            self._lead_more()

    def _is_long(self, session: int) -> bool:
        return len(self._runs[session]) == 1

    def _look(self) -> None:
        """Ask for runs as the sensor does: quick ones first, and a long one where there is one."""
        (quick, long), most = self._to_ask, self._site.most_asked
        n_quick = min(len(quick), most - 1 if long and most > 1 else most)
        n_long = min(len(long), most - n_quick)
        for kind, n in enumerate((n_quick, n_long)):
            self._queue[kind].extend(self._to_ask[kind][:n])
            del self._to_ask[kind][:n]
        self._n_asked += n_long
        self._lead_more()
        if self._n_asked < len(self._runs):
            self._at(self._now + self._site.look_every, self._look)

    def _lead_more(self) -> None:
        """Lead what waits, quick ones first; there are places that only they may have."""
        for kind, of_kind in enumerate((self._site.max_runs + self._site.quick_runs, self._site.max_runs)):
            while (
                self._queue[kind]
                and self._led[kind] < of_kind
                and sum(self._led) < self._site.max_runs + self._site.quick_runs
            ):
                session = self._queue[kind].pop(0)
                self._led[kind] += 1
                steps = self._runs[session][0]
                self._n_left[session] = len(steps)
                self._sessions[session] = {step.key: step for step in steps}
                self._waits_for[session] = {step.key: {*step.after} & {*self._sessions[session]} for step in steps}
                self._at(self._now + self._costs.begin, self._hand_over, session, [*self._ready(session)])

    def _ready(self, session: int) -> list[SimStep]:
        waits = self._waits_for[session]
        ready = [step for key, step in self._sessions[session].items() if key in waits and not waits[key]]
        for step in ready:
            del waits[step.key]
        return sorted(ready, key=lambda step: not step.is_first)

    def _hand_over(self, session: int, steps: Sequence[SimStep] = ()) -> None:
        """Hand steps to the scheduler, as many as the limits of the run and of the pool let through."""
        self._held[session] += steps
        for step in [*self._held[session]]:
            if self._n_jobs[session] >= self._site.most_jobs:
                return
            if step.has_place and self._places >= self._site.most_jobs:
                continue
            self._held[session].remove(step)
            self._n_jobs[session] += 1
            self._places += step.has_place
            self._pending.append(_Job(session, step, next(self._numbers)))

    def _schedule(self) -> None:
        """Give nodes to jobs, in their order."""
        turn_of_first: float | None = None
        for job in [*self._pending]:
            needs = job.step.needs
            node = next((n for n, one in enumerate(self._nodes) if one.fits(needs)), None)
            if node is not None and (turn_of_first is None or self._now + 60.0 * needs.minutes <= turn_of_first):
                self._pending.remove(job)
                self._start(job, node)
            elif turn_of_first is None:
                turn_of_first = self._turn_of(needs)

    def _turn_of(self, needs: StepNeeds) -> float:
        """Tell when a node has room for sure, by the limits of what works there."""
        moments = []
        for node in self._nodes:
            room = _Node(node.cores, node.memory)
            for job in sorted(node.jobs, key=lambda one: one.begin + 60.0 * one.step.needs.minutes):
                room.take(job.step.needs, -1)
                if room.fits(needs):
                    moments.append(job.begin + 60.0 * job.step.needs.minutes)
                    break
        return min(moments, default=float("inf"))

    def _start(self, job: _Job, node: int) -> None:
        job.node, job.begin, job.left = node, self._now, self._costs.job
        self._nodes[node].take(job.step.needs, 1)
        self._nodes[node].jobs.append(job)
        self._at(self._now + job.step.seconds, self._on_cores.append, job)

    def _job_ends(self, job: _Job) -> None:
        step, session = job.step, job.session
        self._nodes[job.node].take(step.needs, -1)
        self._nodes[job.node].jobs.remove(job)
        self._spans.append(Span(session, step.key, job.node, job.begin, self._now, step.needs, step.seconds))
        self._n_jobs[session] -= 1
        self._places -= step.has_place
        for waits in self._waits_for[session].values():
            waits.discard(step.key)
        self._at(self._now + self._costs.turn, self._hand_over, session, self._ready(session))
        if step.has_place:  # what other runs hold back for want of a place
            for other, held in enumerate(self._held):
                if held and other != session:
                    self._at(self._now + self._costs.turn, self._hand_over, other, [])
        self._n_left[session] -= 1
        if not self._n_left[session]:
            self._at(self._now + self._costs.end, self._run_ends, session)

    def _run_ends(self, session: int) -> None:
        self._led[self._is_long(session)] -= 1
        if self._is_long(session):
            self._ended[session] = self._now
        else:
            del self._runs[session][0]
            self._to_ask[True].append(session)
        self._lead_more()


def _runs_of(steps: Sequence[SimStep], *, in_two: bool) -> list[list[SimStep]]:
    """Divide the steps of a session among its runs, the last of which is the long one."""
    parts = [[step for step in steps if step.is_first is quick] for quick in (True, False)] if in_two else [[*steps]]
    return [part for part in parts if part] or [[]]
