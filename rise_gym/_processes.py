"""Work for several processes: what to build in each, and jobs whose results come back in order."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from rise_gym.errors import RiseGymError


@dataclass(frozen=True, kw_only=True)
class Factory:
    """How to build something in another process: what to call, as `"module:attribute"`, and its plain arguments.

    Arguments that are factories themselves are built first.
    """

    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> Any:
        """Import and call.

        Raises:
            ImportError, AttributeError: if `target` names nothing.
        """
        module, _, attribute = self.target.partition(":")
        call = getattr(importlib.import_module(module), attribute)
        return call(
            **{name: value.build() if isinstance(value, Factory) else value for name, value in self.arguments.items()}
        )


Job = TypeVar("Job")
Result = TypeVar("Result")


def in_order(
    prepare: Callable[[], Callable[[Job], Result]], jobs: Iterable[Job], *, processes: int
) -> Generator[Result, None, None]:
    """Results of all jobs in the jobs' order, whatever the number of processes.

    Args:
        prepare: called once in every process (so it has to be picklable), returns what is called with each job. If
            that has a `close`, it is called at the end, in this process; other processes just end.
        jobs: plain data.
        processes: 1 works in this process and keeps its thread settings; more are spawned, with one thread each.

    Raises:
        RiseGymError: if a process ended in the middle of its work. What `prepare` and jobs raise is raised here.
    """
    if processes <= 1:
        work = prepare()
        try:
            yield from map(work, jobs)
        finally:
            getattr(work, "close", lambda: None)()
        return
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(pickle.dumps(prepare),)
    )
    coming = iter(jobs)
    waiting: deque[Future[Result]] = deque(pool.submit(_do, job) for job in islice(coming, 2 * processes))
    try:
        while waiting:
            yield _result(waiting.popleft())
            waiting.extend(pool.submit(_do, job) for job in islice(coming, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _result(job: Future[Result]) -> Result:
    try:
        return job.result()
    except BrokenProcessPool as error:
        raise RiseGymError(
            "one of the processes ended in the middle of its work, killed perhaps for want of memory; what is finished "
            "is kept: start the same command again, with fewer `--processes`"
        ) from error


_work: Callable[[Any], Any] | None = None  # of a worker process, whose jobs can reach it in no other way


def _begin(prepare: bytes) -> None:
    global _work
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then stops its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    try:
        _work = pickle.loads(prepare)()
    except Exception as error:  # here it would break the pool, which does not say why: the first job raises it
        _work = partial(_raise, error)


def _raise(error: Exception, _: Any) -> Any:
    raise error


def _end_with_parent() -> None:
    """A killed parent can't stop its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(job: Any) -> Any:
    assert _work is not None
    return _work(job)
