"""The program ``autotc``: it runs a command, prints what it found and tells errors.

stdout holds the result alone (with ``--json`` one JSON document, also of an error), stderr progress and errors.
Exit code 0: done; 1: a check failed; 2: the user's input is wrong, told in one line; 70: autotc is at fault;
130: interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence

from autotc.cli.completion import completion_script
from autotc.cli.failures import DEBUG, HINT_LENGTH, INTERRUPTED, WRONG_INPUT, explain, show_traceback
from autotc.cli.output import Output, to_json
from autotc.cli.parser import COMMANDS, ShellParser, UsageError
from autotc.errors import MESSAGE_LENGTH, AutotcError, AutotcWarning, one_line


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        The exit code.
    """
    # Torch's workers otherwise spin while they wait, which on busy cores costs a factor of ten.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = sys.argv[1:] if argv is None else list(argv)
    parser = ShellParser()
    try:
        args = parser.parse(words)
    except UsageError as error:
        return _tell(str(error), str(error), WRONG_INPUT, as_json="--json" in words)
    except SystemExit as leaving:  # argparse leaves after --help
        return leaving.code if isinstance(leaving.code, int) else 0
    if args.version:
        from importlib.metadata import version

        print(f"autotc {version('autotc')}")
        return 0
    if args.print_completion is not None:
        return _print_completion(args.print_completion)
    if args.command is None:
        parser.print_help()
        return 0
    _quiet()
    code = _run(args)
    if argv is None and code == INTERRUPTED:
        # The process is ending: what a second Ctrl-C would break off now is libraries putting their things away.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


def _print_completion(shell: str) -> int:
    """Print the script that completes command lines in a shell."""
    try:
        return _print(completion_script(shell))
    except AutotcError as error:
        return _tell(f"autotc: --print-completion: {error}", "", WRONG_INPUT, as_json=False)


def _run(args: argparse.Namespace) -> int:
    """Run a command; print what it found on stdout, and everything else on stderr."""
    try:
        with _stdout_left_alone():
            output: Output = COMMANDS[args.command].run(args)
    # Whatever a command raises is told in one line; a library or a metric of the user's may call exit().
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        if args.debug or os.environ.get(DEBUG, "0") not in ("", "0"):
            show_traceback(error)
        failure = explain(error)
        prefix = "autotc: " if isinstance(error, KeyboardInterrupt) else f"autotc {args.command}: "
        return _tell(prefix + failure.message, failure.message, failure.code, as_json=args.json)
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    text = to_json(output.document, ascii_only=encoding != "utf8") if args.json else output.shown(_width())
    return _print(text) or output.code


def _width() -> int | None:
    """Characters of a line of the terminal that takes the result; None where a file or a pipe takes it."""
    try:
        return max(40, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None
    except (AttributeError, ValueError):  # it is closed or no file
        return None


def _print(text: str) -> int:
    """Print a result on stdout; returns the exit code of printing it."""
    if not text:
        return 0
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files that are no text in the terminal's encoding
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader left: `autotc front | head`
        _discard_stdout()
    except OSError as error:
        _discard_stdout()
        return _tell(f"autotc: stdout cannot be written ({error.strerror})", "", WRONG_INPUT, as_json=False)
    return 0


def _discard_stdout() -> None:
    """Write what is left in its buffer nowhere; the interpreter otherwise complains once more as it exits."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(line: str, message: str, code: int, *, as_json: bool) -> int:
    """Tell an error: a line on stderr and with ``--json`` a document on stdout; returns the exit code."""
    if as_json:
        _print(to_json({"error": message}, ascii_only=True))
    with contextlib.suppress(OSError, ValueError):
        limit = HINT_LENGTH if code == INTERRUPTED else MESSAGE_LENGTH
        print(one_line(line, limit), file=sys.stderr, flush=True)
    return code


@contextlib.contextmanager
def _stdout_left_alone() -> Iterator[None]:
    """Have everything that prints on stdout print on stderr: Python, C libraries and programs that are called."""
    with contextlib.redirect_stdout(sys.stderr):
        try:
            out, err = sys.__stdout__.fileno(), sys.__stderr__.fileno()  # type: ignore[union-attr]
            kept = os.dup(out)
        except (AttributeError, OSError, ValueError):  # one of them is closed or no file
            yield
            return
        try:
            os.dup2(err, out)
            yield
        finally:
            os.dup2(kept, out)
            os.close(kept)


def _quiet() -> None:
    """Keep what libraries remark off stderr, where progress and errors stand."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    for name in ("alembic", "huggingface_hub", "mlflow", "optuna", "torch", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("default", category=AutotcWarning)
        warnings.showwarning = _show_warning


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one line on stderr."""
    print(f"warning: {one_line(message)}", file=sys.stderr)
