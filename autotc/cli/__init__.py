"""The command line: one file a command, each a call of one function of ``autotc`` and the printing of what it returns.

`program` builds the parser, runs a command and tells errors; `options` has what several commands share; `output` is
what a command prints. Nothing here is heavy to import: ``--help`` does not wait for torch.
"""

from __future__ import annotations

from autotc.cli.program import main

__all__ = ["main"]
