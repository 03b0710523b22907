"""Processors of checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotc.errors import DataError
from autotc.models.checkpoint_files import check_template
from autotc.models.load_errors import described, explained, hub_error
from autotc.models.settings import Loading
from autotc.versions import missing_media


def load_processor(name: str, loading: Loading) -> Any:
    """A checkpoint's processor, padding on the left as generation needs it.

    Raises:
        DataError: its files are missing or cannot be read, or there is no chat template.
        MissingDependencyError: it takes pictures or videos, and what it does so with is not installed.
    """
    import transformers

    lacking = "model: {} has no {}; processor, tokenizer and chat template are expected beside the weights"
    try:
        processor = transformers.AutoProcessor.from_pretrained(
            name, revision=loading.revision or "main", trust_remote_code=loading.trust_remote_code
        )
    except Exception as error:  # transformers raises whatever a malformed file makes it stumble over
        absent = missing_media()
        if absent is not None:
            raise absent from error
        if hub_error(error) is None and Path(name).is_dir():
            raise DataError(lacking.format(name, "processor that can be read") + f" ({described(error)})") from error
        raise explained(name, error, loading) from error
    # Where its own files are missing, transformers hands out the tokenizer alone, or the image processor.
    if not hasattr(processor, "tokenizer"):
        raise DataError(lacking.format(name, "processor_config.json, preprocessor_config.json or tokenizer"))
    if getattr(processor, "chat_template", None) is None:
        raise DataError(lacking.format(name, "chat template (chat_template.jinja)"))
    check_template(processor.chat_template, f"{name}: chat template")
    processor.tokenizer.padding_side = "left"
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor
