"""A cluster played on a simulated clock: a queue of runs, what leads each, a scheduler, nodes with cores and memory.

Runs wait in a queue, so many at once are led. A step whose forerunners are done is handed to the scheduler a moment
later. The scheduler gives nodes in the order of submission; what does not fit keeps its turn, and what comes behind
goes before it only where it ends, by its limit of time, before the first one's turn comes (as SLURM's own backfill).
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
        self._sessions = [{step.key: step for step in steps} for steps in sessions]
        self._waits_for = [{step.key: set(step.after) for step in steps} for steps in sessions]
        self._nodes = [_Node(site.cores, site.memory_gb) for _ in range(site.n_nodes)]
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = count()
        self._now, self._led, self._places = 0.0, 0, 0
        self._queue: list[int] = []
        self._held: list[list[SimStep]] = [[] for _ in sessions]
        self._n_jobs = [0] * len(sessions)
        self._n_left = [len(steps) for steps in sessions]
        self._pending: list[_Job] = []
        self._on_cores: list[_Job] = []
        self._spans: list[Span] = []
        self._ended = [0.0] * len(sessions)
        for session in range(len(sessions)):
            self._at(arrivals[session] if arrivals else 0.0, self._arrive, session)

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
        self._queue.append(session)
        self._lead_more()

    def _lead_more(self) -> None:
        while self._queue and self._led < self._site.max_runs:
            session = self._queue.pop(0)
            self._led += 1
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
            self._at(self._now + self._costs.end, self._session_ends, session)

    def _session_ends(self, session: int) -> None:
        self._ended[session] = self._now
        self._led -= 1
        self._lead_more()
