"""What waits for what between layers: moments, and the jobs and grants that hang on them (rules L7, L8).

A moment is a cycle that becomes known: a release of a step, or the end of a job. A job begins when all moments that it
waits for have passed, and makes a moment of its end. In a run of one layer nothing waits, and all of this is empty.
"""

from typing import NamedTuple

import numpy as np

from .alarms import NEVER
from .compiler import inner_kernel

UNKNOWN = NEVER  # a cycle that is not known yet
NONE = -1


class Jobs(NamedTuple):
    """Jobs, moments and what hangs on them; the last five are modified in place.

    Moments number the releases first, then the ends of the jobs, in the order of the jobs.
    """

    length: np.ndarray  # int64[jobs]
    unit: np.ndarray  # int32[jobs]: the unit that does one job after the other, NONE where there is no such
    hanging: np.ndarray  # int32[hanging, 2]: (job, its delay behind the moment), or (NONE - gate, 0)
    start: np.ndarray  # int64[moments + 1]: moment m has hanging[start[m] : start[m + 1]]
    gated: np.ndarray  # int32[gates, 2]: first step and end of the steps that a gate holds back
    waiting: np.ndarray  # int32[jobs]: moments that it still waits for
    due: np.ndarray  # int64[jobs]: latest of those that have passed, with their delays
    free: np.ndarray  # int64[units]: end of its last job
    known: np.ndarray  # int64[moments]: cycles, UNKNOWN before
    stack: np.ndarray  # int32[moments]: scratch


class Grants(NamedTuple):
    """When steps are granted (C6, L8); modified in place."""

    need: np.ndarray  # int32[steps]: consumers and gates that still have to let the step in
    latest: np.ndarray  # int64[steps]: latest of those that have
    granted: np.ndarray  # int64[steps]: cycle of the grant, UNKNOWN before
    news: np.ndarray  # int64[1]: grants and moments that have become known


def new_grants(need):
    """Steps that need nothing are granted at cycle 0. need: int32[steps]."""
    granted = np.where(need == 0, np.int64(0), np.int64(UNKNOWN))
    return Grants(need.copy(), np.zeros(need.size, np.int64), granted, np.ones(1, np.int64))


def no_jobs():
    """Of a run in which no layer waits for another."""
    none = np.zeros(0, np.int64)
    few = np.zeros(0, np.int32)
    pairs = np.zeros((0, 2), np.int32)
    return Jobs(none, few, pairs, none, pairs, few.copy(), none.copy(), none.copy(), none.copy(), few.copy())


@inner_kernel
def let_in(grants, step, cycle):
    """One consumer or gate lets a step in at `cycle`; returns whether it is granted by that."""
    grants.latest[step] = max(grants.latest[step], cycle)
    grants.need[step] -= 1
    if grants.need[step] > 0:
        return False
    grants.granted[step] = grants.latest[step]
    grants.news[0] += 1
    return True


@inner_kernel
def pass_moment(jobs, grants, moment, cycle):
    """A moment has become known: begin the jobs, and open the gates, that only waited for it; and so on from there."""
    jobs.known[moment] = cycle
    jobs.stack[0] = moment
    depth = 1
    releases = jobs.known.size - jobs.length.size
    while depth > 0:
        depth -= 1
        passed = jobs.stack[depth]
        grants.news[0] += 1
        for at in range(jobs.start[passed], jobs.start[passed + 1]):
            job = jobs.hanging[at, 0]
            if job < 0:
                open_gate(jobs, grants, NONE - job, jobs.known[passed])
                continue
            jobs.due[job] = max(jobs.due[job], jobs.known[passed] + jobs.hanging[at, 1])
            jobs.waiting[job] -= 1
            if jobs.waiting[job] == 0:
                jobs.known[releases + job] = finish_job(jobs, job)
                jobs.stack[depth] = releases + job
                depth += 1


@inner_kernel
def begin(jobs, grants, cycle):
    """The first job is the beginning itself, which all that waits for nothing else waits for."""
    pass_moment(jobs, grants, jobs.known.size - jobs.length.size, cycle)


@inner_kernel
def finish_job(jobs, job):
    """The end of a job that waits for nothing any more (L7)."""
    unit = jobs.unit[job]
    begin = jobs.due[job]
    if unit != NONE:
        begin = max(begin, jobs.free[unit])
        jobs.free[unit] = begin + jobs.length[job]
    return begin + jobs.length[job]


@inner_kernel
def open_gate(jobs, grants, gate, cycle):
    """Room for an image of a layer: all its steps may come one cycle later (L8)."""
    for step in range(jobs.gated[gate, 0], jobs.gated[gate, 1]):
        let_in(grants, step, cycle + 1)
