"""What autotc raises when it was asked for something it cannot do."""

from __future__ import annotations

MESSAGE_LENGTH = 300
"""Characters of an error as a person sees it."""

EXTRAS = {
    "lmms_eval": "lmms",
    **dict.fromkeys(("psycopg", "grpc", "boto3", "ray"), "distributed"),
    **dict.fromkeys(
        (
            "optuna",
            "mlflow",
            "moocore",
            "jinja2",
            "markupsafe",
            "matplotlib",
            "rich",
            "pandas",
            "pyarrow",
            "shtab",
            "sklearn",
            "scipy",
        ),
        "search",
    ),
    **dict.fromkeys(("av", "soundfile", "PIL", "psutil", "torchvision", "rapidfuzz", "jiwer"), "search"),
}
"""Package -> the extra that brings it."""
_DISTRIBUTIONS = {
    "PIL": "pillow",
    "grpc": "grpcio",
    "google": "protobuf",
    "lmms_eval": "lmms-eval",
    "sklearn": "scikit-learn",
}
"""Package -> what pip knows it by, where that is another name."""


def one_line(text: object, limit: int = MESSAGE_LENGTH) -> str:
    """A text as one printable line: white space folded, control characters escaped, a long one cut in its middle."""
    folded = " ".join(str(text).split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in folded)
    if len(shown) <= limit:
        return shown
    head = (limit - 5) * 2 // 3
    return f"{shown[:head]} ... {shown[len(shown) - (limit - 5 - head) :]}"


def quote(value: object, limit: int = 60) -> str:
    """A value of the user's as it stands in an error: ``repr``, cut to a length, nothing nested written out in full."""
    if isinstance(value, str | bytes):
        return one_line(repr(value[: 4 * limit]), limit)
    if isinstance(value, dict | list | tuple | set):
        return f"a {type(value).__name__} of {len(value)}" if len(value) > 3 else one_line(_shallow(value), limit)
    if isinstance(value, int) and value.bit_length() > 4 * limit:
        return f"a whole number of {value.bit_length()} bits"
    return one_line(repr(value), limit)


def _shallow(value: dict[object, object] | list[object] | tuple[object, ...] | set[object]) -> str:
    """``repr`` of a small container whose own containers are named only, however large they are."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quote(key, 30)}: {_named(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(_named(item) for item in value) + "]"


def _named(value: object) -> str:
    return f"<{type(value).__name__}>" if isinstance(value, dict | list | tuple | set) else quote(value, 30)


class AutotcWarning(UserWarning):
    """Something that goes on, but not as a user would think; shown once in one line."""


class AutotcError(Exception):
    """A user's mistake or an unmet requirement, told in one line: what, where, what would be right."""


class PolicyError(AutotcError):
    """A policy is malformed, or does not fit the model it is applied to."""


class ConflictError(PolicyError):
    """Stages of a policy conflict by rule.

    Args:
        rule: name of the rule that refuses the policy.
        reason: what conflicts and what would be right.
    """

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(f"{rule}: {reason}")
        self.rule = rule


class UnsupportedModelError(AutotcError):
    """No adapter knows the model, or the adapter does not offer what was asked for."""


class InputsError(AutotcError):
    """A request's inputs do not fit the policy (not prepared, spans that do not match, ...)."""


class DataError(AutotcError):
    """A data file, a sample or a results file is missing or malformed."""


class MechanismError(AutotcError):
    """A mechanism raised or returned something that breaks its contract."""


class NotFiniteError(MechanismError):
    """A policy makes the model's logits infinite or no numbers, where the uncompressed model's are finite."""


class MissingDependencyError(AutotcError):
    """An optional dependency is not installed; the message says which extra brings it."""


def missing_dependency(error: ImportError) -> MissingDependencyError:
    """What to say of an import that failed: which package, and which extra brings it.

    Args:
        error: of the import of an optional dependency.
    """
    package = (error.name or "").partition(".")[0]
    name = _DISTRIBUTIONS.get(package, package)
    if not name:
        return MissingDependencyError(one_line(error))
    extra = EXTRAS.get(package)
    how = f"pip install {name}" if extra is None else f"pip install 'autotc[{extra}]'"
    return MissingDependencyError(f"{name} is not installed; {how}")
