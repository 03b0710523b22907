"""Options as they were given, to be typed again in a command that is shown."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable
from urllib.parse import urlsplit

from autotc.cli.options import LOADING

EVALUATOR = ("model", *LOADING, "data", "metric", "task_folder", "tasks", "batch_size", "tower_cache")
"""What decides which samples a model answers, and how; and where what its towers make of them is kept."""
WORKING = (*EVALUATOR, "limit", "split_seed", "trial_timeout", "log_json", "runs")
"""What another worker of a search is started with; the storage it is told by the environment."""
HOME = ("runs", "storage")
"""Where studies live."""
RESUMING = (*WORKING, "storage", "latency", "tracking_uri", "force", "workers", "ray", "gpus_per_worker", "out_dir")
"""What a search is resumed with; the study keeps the rest."""
_USUAL = {"runs": "runs", "out_dir": "policies", "split_seed": "0", "workers": "1"}
_SECRET = {"tracking_uri": "MLFLOW_TRACKING_URI", "storage": "AUTOTC_STORAGE"}
"""Options that may hold a password -> environment variable that may hold it in their place."""


def options_again(args: argparse.Namespace, keys: Iterable[str]) -> str:
    """Those of some options that were given and are not as usual, quoted for a shell, each after a blank.

    Args:
        args: of a command.
        keys: names of options with underscores.
    """
    words: list[str] = []
    for key in keys:
        value = getattr(args, key, None)
        if value is None or value is False or str(value) == _USUAL.get(key):
            continue
        words.append(f"--{key.replace('_', '-')}")
        if key in _SECRET and _has_password(str(value)):
            words.append(f'"${_SECRET[key]}"')
        elif value is not True:
            words.append(shlex.quote(",".join(value) if isinstance(value, list) else str(value)))
    return "".join(f" {word}" for word in words)


def _has_password(uri: str) -> bool:
    try:
        return urlsplit(uri).password is not None
    except ValueError:
        return True
