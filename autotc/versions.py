"""Versions of the packages that autotc stands on: which are installed, and what older ones lack."""

from __future__ import annotations

import platform
from importlib import metadata
from importlib.util import find_spec

from autotc.errors import MissingDependencyError, UnsupportedModelError, missing_dependency

OMNI_SINCE = "5.23"
"""First transformers whose Omni thinkers hold towers and language model side by side, as adapter and weights do."""
TRIED_SINCE = "5.24"
"""First transformers that the families added last were tried on."""


WATCHED = ("autotc", "torch", "transformers", "tokenizers", "numpy", "pillow", "torchvision")
"""Packages whose versions can move an answer."""


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages that can move an answer, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in WATCHED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def missing_media() -> MissingDependencyError | None:
    """What to say where a package is not installed that processors of pictures and videos stand on."""
    for module in ("PIL", "torchvision"):
        if find_spec(module) is None:
            return missing_dependency(ModuleNotFoundError(name=module))
    return None


def check_transformers(what: str, since: str) -> None:
    """See that the installed transformers is new enough for something that needs a newer one than autotc does.

    Args:
        what: needs it, as users know it.
        since: first version that will do, such as ``5.23``.

    Raises:
        UnsupportedModelError: an older one is installed.
    """
    installed = metadata.version("transformers")
    if _numbers(installed) < _numbers(since):
        raise UnsupportedModelError(f"{what}: transformers {installed} is installed; {since} or newer is right")


def _numbers(version: str) -> tuple[int, ...]:
    """Major and minor number."""
    return tuple(int(part) for part in version.split(".")[:2])
