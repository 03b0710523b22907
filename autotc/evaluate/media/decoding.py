"""Decoders, whatever they raise and however long they take."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from autotc.errors import AutotcError, DataError, one_line

SECONDS = 300.0
"""After which a decoder is given up."""

Decoded = TypeVar("Decoded")


def decoded(name: str, wanted: str, decode: Callable[[], Decoded]) -> Decoded:
    """What a decoder makes of a medium.

    It runs in a thread of its own, which is left behind when its time is over: damaged files can keep a decoder busy
    for good.

    Args:
        name: of the medium, for errors.
        wanted: what it should be, for errors.
        decode: reads it.

    Raises:
        DataError: whatever the decoder raised, or that it took longer than `SECONDS`.
    """
    values: list[Decoded] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            values.append(decode())
        except BaseException as error:  # handed to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True, name="autotc-decoder")
    thread.start()
    thread.join(SECONDS)
    if values:
        return values[0]
    if not errors:
        raise DataError(f"{name}: was not read within {SECONDS:g} s; {wanted} is expected")
    (error,) = errors
    if isinstance(error, AutotcError):
        raise error
    if isinstance(error, MemoryError):
        raise DataError(f"{name}: takes more memory than there is; {wanted} is expected") from error
    # What the system says of a file names it again.
    reason = one_line(getattr(error, "strerror", None) or error, 120) or type(error).__name__
    raise DataError(f"{name}: cannot be decoded ({reason}); {wanted} is expected") from error
