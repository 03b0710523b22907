"""SGLang: EVS on video of one model family, a cap on the pixels of images.

Read in sgl-project/sglang 0.5.23: `srt/multimodal/evs/` (counts; its README: "cannot work with VLMs that use positional
embeddings [such as Qwen2.5VL]"), `srt/models/nano_nemotron_vl.py` (the one class that takes part),
`srt/configs/nano_nemotron_vl.py` (``video_pruning_rate`` of the model's configuration),
`srt/multimodal/processors/base_processor.py` (``--mm-process-config``). EVS is there from 0.5.8 on.
"""

from __future__ import annotations

import json

from autotc.export.built_in import BuiltInEngine, Capability, Versions
from autotc.export.engine import Deployment, Target
from autotc.mechanisms import pruning_rate
from autotc.policy import Policy


class SGLang(BuiltInEngine):
    """``sglang serve`` and ``sglang.Engine``."""

    name = "sglang"
    title = "SGLang"
    version = "0.5.23"
    capabilities = (
        Capability(
            "video",
            "projector",
            "evs",
            {"NemotronH_Nano_VL_V2": Versions("0.5.8")},
            {"counting": "engine"},
            note="the model's own configuration may hold another rate; this one overrides it",
        ),
    )
    pixel_models = frozenset(
        {"Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration", "Qwen3VLForConditionalGeneration"}
    )

    def render(self, policy: Policy, target: Target) -> Deployment:
        config: dict[str, str] = {}
        arguments = ""
        for stage in policy.stages:
            if stage.location == "input":
                assert target.pixels is not None  # `refusal` says so otherwise
                limits = {"image": {"max_pixels": int(stage.final_ratio * target.pixels)}}
                config["mm-process-config"] = json.dumps(limits)
                arguments += f", mm_process_config={limits!r}"
            else:
                override = json.dumps({"video_pruning_rate": pruning_rate(stage.final_ratio)})
                config["json-model-override-args"] = override
                arguments += f", json_model_override_args={override!r}"
        command = ["sglang", "serve", "--model-path", target.model]
        for key, value in config.items():
            command += [f"--{key}", value]
        return Deployment(tuple(command), f"sglang.Engine(model_path={target.model!r}{arguments})", config)
