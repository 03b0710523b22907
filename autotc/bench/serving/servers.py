"""Servers of vLLM that are started for a measurement and ended behind it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from autotc.errors import DataError, one_line

STARTING = 1800.0
"""Seconds that a server may take to start: weights are read, graphs are captured."""
ENDING = 30.0
_OURS = re.compile(r"autotc: .+")
_RAISED = re.compile(r"\b[A-Z]\w*(Error|Exception): .+")


@contextmanager
def running(model: str, arguments: Mapping[str, object], policy_file: Path | None) -> Iterator[str]:
    """URL of a server that runs until the block ends.

    Args:
        model: folder or hub name.
        arguments: of ``vllm serve``, by the names that ``vllm.LLM`` has.
        policy_file: that it serves; None for the uncompressed model.

    Raises:
        DataError: it does not start.
    """
    settings = dict(arguments)
    if policy_file is not None:
        others = settings.get("additional_config")
        settings["additional_config"] = {**(others if isinstance(others, dict) else {}), "autotc": _named(policy_file)}
    port = _free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", model, "--port", str(port), *flags(settings)]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        url = f"http://127.0.0.1:{port}"
        try:
            _wait(process, url, log)
            yield url
        finally:
            _end(process)


def _named(policy_file: Path) -> dict[str, str]:
    return {"policy": str(policy_file)}


def flags(arguments: Mapping[str, object]) -> list[str]:
    """Arguments as they stand on a command line."""
    out: list[str] = []
    for name, value in arguments.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            out.append(f"--{option}" if value else f"--no-{option}")
        else:
            out += [f"--{option}", json.dumps(value) if isinstance(value, dict | list) else str(value)]
    return out


def healthy(url: str) -> bool:
    """Whether a server answers."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + STARTING
    while not healthy(url):
        if process.poll() is not None:
            raise DataError(f"--engine vllm: the server ended before it was ready: {_last_words(log)}")
        if time.monotonic() > end:
            raise DataError(f"--engine vllm: the server was not ready within {STARTING:.0f} s: {_last_words(log)}")
        time.sleep(0.5)


def _last_words(log: Path) -> str:
    """The line of a log that says most: what autotc said, else the last error, else the last line."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    for said in (_OURS, _RAISED):
        for line in reversed(lines):
            found = said.search(line)
            if found and "See root cause above" not in line:
                return one_line(found[0], 300)
    return one_line(lines[-1], 300) if lines else "it said nothing"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and all that it started."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()
