"""What results depend on, as one record: whoever keeps results keeps their stamp, and compares it before using them."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, ConfigDict

from autotc.errors import DataError, quote

_NAMES = {
    "architecture": "the model's class",
    "fingerprint": "the model's configuration",
    "weights": "the model's weights",
    "dtype": "the dtype of the weights",
    "attention": "the attention implementation",
    "processor": "the processor's settings",
    "evaluator": "the evaluator",
    "metric": "the metric",
    "samples": "the questions and answers",
    "media": "the pictures, videos or clips",
    "split": "the split and its seed",
    "version": "the version of autotc",
}
"""Field -> what it is called in a sentence."""


class Stamp(BaseModel):
    """What results depend on. Equal stamps: equal results, for the same policy, up to the device's arithmetic.

    Every field is text that is compared and shown, never parsed. None stands for what does not apply or is not known,
    and differs from everything else. `autotc.models.identity.model_stamp` fills in the fields of a model; an evaluator
    adds those of its data with ``stamp.model_copy(update={...})``.

    Attributes:
        architecture: class of the model in transformers.
        fingerprint: hash of the structural fields of its configuration, as in policies.
        weights: hash of its weights: another checkpoint of the same architecture has another.
        dtype: of its weights.
        attention: implementation, as transformers names it.
        processor: hash of the processor's settings, chat template included.
        evaluator: its name.
        metric: how answers are scored; of a function of the user's, its place and a hash of its source.
        samples: hash of ids, prompts and answers.
        media: hash of the files that the samples name.
        split: its name and seed.
        version: of autotc.

    Example:
        >>> stored = Stamp(architecture="LlavaForConditionalGeneration", weights="sha256:ab", dtype="float32")
        >>> stored.differences(stored.model_copy(update={"dtype": "bfloat16"}))
        ['the dtype of the weights (float32 there, bfloat16 here)']
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: str | None = None
    fingerprint: str | None = None
    weights: str | None = None
    dtype: str | None = None
    attention: str | None = None
    processor: str | None = None
    evaluator: str | None = None
    metric: str | None = None
    samples: str | None = None
    media: str | None = None
    split: str | None = None
    version: str | None = None

    def digest(self) -> str:
        """16 hexadecimal digits over all fields: a name for a folder, or a key, that no other stamp has."""
        text = json.dumps(self.model_dump(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def differences(self, other: Stamp) -> list[str]:
        """What differs from another stamp, named with both values: this one's is "there", the other's is "here"."""
        return [
            f"{name} ({_shown(there)} there, {_shown(here)} here)"
            for field, name in _NAMES.items()
            if (there := getattr(self, field)) != (here := getattr(other, field))
        ]

    def require(self, other: Stamp, subject: str, remedy: str) -> None:
        """See that results with this stamp may stand beside results with another.

        Args:
            other: of what runs now.
            subject: what holds results with this stamp, e.g. a file or a study.
            remedy: what the user can do about a difference.

        Raises:
            DataError: the stamps differ; the message names all that does.
        """
        differing = self.differences(other)
        if differing:
            raise DataError(f"{subject}: made with something else: {'; '.join(differing)}; {remedy}")


def _shown(value: str | None) -> str:
    return "not known" if value is None else quote(value, 24).strip("'\"")
