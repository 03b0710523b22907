"""The command line: one file a command, each a call of one function of ``autotc`` and the printing of what it returns.

`parser` knows all commands, `program` runs one and tells errors, `failures` says how; `options` has what several
commands share, `output` is what they print. Nothing here is heavy to import: ``--help`` does not wait for torch.
"""

from __future__ import annotations

from autotc.cli.program import main

__all__ = ["main"]
