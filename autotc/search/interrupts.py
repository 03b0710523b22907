"""Signals of a search: a termination is an interruption, and a trial may be given a time limit."""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM): what Ctrl-C does is done."""


class TrialTimeout(BaseException):
    """A trial took longer than it may. No ``Exception``, so that a mechanism that catches those does not swallow it."""


_ASKED: list[type[KeyboardInterrupt]] = []
"""Interruptions since `termination_interrupts` was entered."""


@contextmanager
def termination_interrupts() -> Iterator[None]:
    """Have SIGTERM raise `Terminated`, and remember Ctrl-C; in the main thread and where nobody else handles them."""
    kinds = {
        signal.SIGTERM: (signal.SIG_DFL, Terminated),
        signal.SIGINT: (signal.default_int_handler, KeyboardInterrupt),
    }
    handled = {}
    for number, (usual, kind) in kinds.items() if _in_main_thread() else ():
        if signal.getsignal(number) is usual:
            handled[number] = signal.signal(number, _raising(kind))
    try:
        yield
    finally:
        for number, before in handled.items():
            signal.signal(number, before)
        _ASKED.clear()


def _raising(kind: type[KeyboardInterrupt]) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, frame: FrameType | None) -> None:
        _ASKED.append(kind)
        raise kind

    return handle


def check_interrupts() -> None:
    """Raise an interruption that was lost: what is raised in a finalizer or a callback of native code, Python drops.

    Raises:
        KeyboardInterrupt: one was asked for.
    """
    if _ASKED:
        raise _ASKED[-1]


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise `TrialTimeout` in the block when it takes longer.

    In the main thread by an alarm, elsewhere (and where there are none) from another thread. Python gets to raise it
    between two operations: one operation of native code that never returns is not ended by it. Such a process has to be
    killed; the next call knows what was running.

    Args:
        seconds: limit; None sets none.
    """
    if seconds is None:
        yield
        return
    if _in_main_thread() and hasattr(signal, "setitimer"):
        with _alarm(seconds):
            yield
        return
    with _watchdog(seconds):
        yield


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise TrialTimeout(f"took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _watchdog(seconds: float) -> Iterator[None]:
    thread = ctypes.c_ulong(threading.get_ident())

    def ring() -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(TrialTimeout))

    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
