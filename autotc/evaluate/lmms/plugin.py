"""What the entry-point group ``lmms_eval.models`` loads: ``--model autotc``."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """lmms-eval's description of the model, in its simple and its chat form."""
    # lmms_eval.models is half loaded when it calls this: only the registry's own module may be imported.
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(
        model_id="autotc",
        simple_class_path="autotc.evaluate.lmms.model.SimpleModel",
        chat_class_path="autotc.evaluate.lmms.model.ChatModel",
    )
