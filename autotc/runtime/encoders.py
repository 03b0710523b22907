"""The encoders of a model under a policy: what is being encoded, and the stages inside the towers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from autotc.errors import InputsError
from autotc.mechanisms import TOWER_SCORES, Score
from autotc.models import BoundAdapter, Item
from autotc.models.media import Medium, decode_originals, marked, originals_key
from autotc.runtime.hooks import Hooks
from autotc.runtime.layers import Call
from autotc.runtime.prompt import EncodedPrompt, check_placeholders
from autotc.runtime.steps import Step, Steps
from autotc.runtime.tower_scores import KeptTower, ScoreKey
from autotc.runtime.towers import TowerRun
from autotc.vocabulary import Modality


class Encoders:
    """Follows each modality into its tower, from the call of its feature method to the language model's entry.

    Args:
        bound, model: whose.
        steps: the policy's.
        hooks: where hooks are registered.
    """

    def __init__(self, bound: BoundAdapter, model: nn.Module, steps: Steps, hooks: Hooks) -> None:
        self._bound, self._adapter = bound, bound.adapter
        self._model, self._steps, self._hooks = model, steps, hooks
        self._followed: list[Modality] = []
        # Of the model's call that is running: its arguments, its ids on the host, and items that were found in it.
        self._arguments: dict[str, Any] = {}
        self._ids: Tensor | None = None
        self._announced: dict[Modality, list[Item]] = {}
        # Encoded, and on their way to the language model.
        self._items: dict[Modality, list[Item]] = {}
        self._towers: dict[Modality, TowerRun | KeptTower] = {}
        self._outputs: dict[Modality, Any] = {}
        # What the media were before their input stage, as prepared inputs say.
        self._originals: dict[Modality, tuple[Medium, ...]] = {}
        self._encoding: Modality | None = None

    def attach(self) -> None:
        """Register hooks on the feature methods and towers that the policy's stages need."""
        adapter, base = self._adapter, self._adapter.base(self._model)
        touched = {step.stage.modality for step in self._steps}
        for modality, name in adapter.feature_methods().items():
            # Deep-stack features of all media arrive together: then all of them are followed. A video that is encoded
            # by the method for images would be taken for them.
            as_images = adapter.video_as_images and modality == "video" and "image" in touched
            if modality in touched or as_images or self._bound.deepstack(modality):
                self._follow(base, name, modality)
                self._followed.append(modality)
        for modality in adapter.feature_methods():
            self._attach_tower(modality)

    # --- the model's call ---

    def take_originals(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call without what prepared inputs say of their media, which is kept."""
        keys = {originals_key(modality): modality for modality in self._adapter.shape_inputs()}
        for key in keys.keys() & arguments.keys():
            self._originals[keys[key]] = decode_originals(arguments[key])
        return {name: value for name, value in arguments.items() if name not in keys}

    def begin(self, arguments: dict[str, Any], generating: bool) -> None:
        """A call of the model begins.

        Args:
            arguments: of the call, by name.
            generating: whether it comes from ``generate()``, which has encoded pictures and videos for it already.

        Raises:
            InputsError: features are given that were encoded without the policy.
        """
        self._arguments, self._announced, self._ids = arguments, {}, None
        given = arguments.get("mm_encoder_outputs") or {}
        for modality in self._followed:
            features = given.get(modality)
            here = modality in self._items and (generating or self._outputs.get(modality) is features)
            if features is not None and not here:
                raise InputsError(
                    f"mm_encoder_outputs: the {modality} features were not encoded for this call under the policy; pass"
                    " what the processor returned"
                )
            if features is None and not generating:
                # Encoded by the caller, for something else.
                self._items.pop(modality, None)
                self._towers.pop(modality, None)

    def check(self) -> None:
        """Refuse a prompt that does not fit its media before anything is computed; keeps what was found out.

        Raises:
            InputsError: naming the argument.
        """
        ids, mask = self._arguments.get("input_ids"), self._arguments.get("attention_mask")
        shapes = self._adapter.shape_inputs()
        given = [modality for modality in self._followed if self._arguments.get(shapes[modality]) is not None]
        if not given:
            return
        if isinstance(mask, Tensor) and mask.dim() != 2:
            raise InputsError("attention_mask: the policy needs the 2-D mask of the prompt")
        if ids is None:
            return
        self._ids = ids.cpu()
        placeholders = self._bound.placeholders
        for modality in given:
            items = self._announced[modality] = self._bound.geometry(modality, self._arguments)
            check_placeholders(modality, items, int((self._ids == placeholders[modality]).sum()))

    def drop_repeated(self) -> None:
        """Leave out media that a call on a cache has encoded again, though its new tokens have no place for them.

        Qwen2-Audio is given its clips in every step.
        """
        ids = self._arguments.get("input_ids")
        if not self._items or ids is None:
            return
        self._ids = ids.cpu()
        placeholders = self._bound.placeholders
        for modality in list(self._items):
            if not bool((self._ids == placeholders[modality]).any()):
                del self._items[modality]
                self._towers.pop(modality, None)

    @property
    def waiting(self) -> tuple[Modality, ...]:
        """Modalities that were encoded and have not reached the language model."""
        return tuple(self._items)

    def take(self, drafts: int) -> EncodedPrompt:
        """What was encoded for the prompt that reaches the language model; it is handed over once.

        Args:
            drafts: how many of the prompt's last tokens are drafts.
        """
        prompt = EncodedPrompt(self._arguments, self._items, self._towers, self._ids, drafts)
        self._items, self._towers, self._outputs = {}, {}, {}
        return prompt

    def forget(self) -> None:
        """Let go of everything: a call is over, or has failed."""
        self._arguments, self._announced, self._ids = {}, {}, None
        self._items, self._towers, self._outputs, self._originals, self._encoding = {}, {}, {}, {}, None

    # --- feature methods ---

    def _follow(self, base: nn.Module, name: str, modality: Modality) -> None:
        """Know when a modality is encoded, and what: no hook tells a shared tower whether it sees images or a video."""
        inner = getattr(base, name)
        if isinstance(inner, nn.Module):

            def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
                self._enter(modality, self._arguments)

            def leave(module: nn.Module, args: Any, output: Any) -> None:
                self._encoding = None

            self._hooks.before(inner, enter)
            self._hooks.after(inner, leave, always=True)
            return
        signature = inspect.signature(inner)

        # generate() looks at the signature.
        @functools.wraps(inner)
        def followed(*args: Any, **kwargs: Any) -> Any:
            if self._encoding is not None:  # one modality's method is another one's way to the tower
                return inner(*args, **kwargs)
            self._enter(modality, signature.bind_partial(*args, **kwargs).arguments)
            try:
                self._outputs[modality] = inner(*args, **kwargs)
            finally:
                self._encoding = None
            return self._outputs[modality]

        self._hooks.replace(base, name, followed)

    def _enter(self, modality: Modality, arguments: dict[str, Any]) -> None:
        shape = self._adapter.shape_inputs()[modality]
        if modality in self._announced and arguments.get(shape) is self._arguments.get(shape):
            items = self._announced[modality]
        else:
            items = self._bound.geometry(modality, arguments)
        if self._steps.at("input", modality):
            originals = self._originals.get(modality) or marked(arguments.get(shape))
            if originals is None:
                raise InputsError(
                    f"{modality}: the policy has an input stage, but these inputs were not prepared by"
                    " autotc.configure(processor, policy); call what it returns in place of the processor, and pass"
                    f" all of its outputs on, {originals_key(modality)} too"
                )
            left = [item.count for item in items]
            items = self._adapter.restored(items, originals)
            self._steps.shrunk(modality, originals, left)
        self._items[modality] = items
        self._towers.pop(modality, None)
        self._encoding = modality

    # --- what is known without the tower ---

    def scores_wanted(self, modality: Modality) -> set[ScoreKey]:
        """Blocks of the modality's tower with the scores that stages read there."""
        return {(block, need) for block, needs in self._tower_scores(modality).items() for need in needs}

    def scores_taken(self, modality: Modality) -> Mapping[ScoreKey, Tensor]:
        """What the modality's tower, which has just run, has shown of them: (B, N, ...) each."""
        tower = self._towers.get(modality)
        return {key: values for key, (values, _) in tower.scores.items()} if isinstance(tower, TowerRun) else {}

    def scores_known(self, modality: Modality, scores: Mapping[ScoreKey, Tensor]) -> None:
        """Take scores (B, N, ...) of the modality that is being encoded in place of a run of its tower."""
        if scores:
            self._towers[modality] = KeptTower(self._items[modality], scores)

    # --- towers ---

    def _attach_tower(self, modality: Modality) -> None:
        scored_blocks = self._tower_scores(modality)
        if not scored_blocks and not self._steps.at("encoder", modality):
            return
        blocks = self._adapter.blocks(self._model, modality)
        expand_at = self._bound.expand_at(modality)
        tiled = self._bound.tower(modality).tiled
        for i, block in enumerate(blocks):
            self._hooks.before(block, functools.partial(self._before_block, modality, i))
            if tiled:
                attention = self._adapter.block_attention(block)
                self._hooks.before(attention, functools.partial(self._before_attention, modality))
            if i in expand_at:
                self._hooks.after(block, functools.partial(self._after_block, modality, i))
        for i in scored_blocks:
            projections = self._adapter.block_projections(blocks[i])
            # Hooks that are prepended run last first; queries must come before keys, also of one fused layer.
            for part, module in (("key", projections.key), ("query", projections.query)):
                self._hooks.after(module, functools.partial(self._capture_block, modality, i, part))

    def _tower_scores(self, modality: Modality) -> dict[int, set[Score]]:
        """Block of the modality's tower -> scores to take there."""
        out: dict[int, set[Score]] = {}
        for step in self._steps.at("encoder", modality) + self._steps.at("projector", modality):
            for need in TOWER_SCORES & {*step.mechanism.needs}:
                out.setdefault(self._score_block(modality, step, need), set()).add(need)
        return out

    def _score_block(self, modality: Modality, step: Step, need: Score) -> int:
        if step.stage.location == "encoder":
            return step.layer
        return self._bound.score_block(modality, need)

    def _tower(self, modality: Modality) -> TowerRun:
        """The tower that runs.

        Raises:
            InputsError: its first block ran without its hook, as it was compiled.
        """
        tower = self._towers.get(modality)
        if not isinstance(tower, TowerRun):
            raise InputsError(
                f"{modality}: the tower's first block runs as it was compiled without the policy; call"
                " torch.compiler.reset(), or compile the model under the policy"
            )
        return tower

    def _before_block(
        self, modality: Modality, index: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call | None:
        if self._encoding != modality:
            return None
        if not args:
            args, kwargs = (kwargs["hidden_states"],), {k: v for k, v in kwargs.items() if k != "hidden_states"}
        if index == 0:
            items = self._items[modality]
            self._towers[modality] = TowerRun(self._bound, modality, items, args[0], self._steps)
        out: Call = self._tower(modality).before(index, module, args, kwargs)
        return out

    def _before_attention(
        self, modality: Modality, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call | None:
        if self._encoding != modality:
            return None
        hidden = args[0] if args else kwargs["hidden_states"]
        return args, self._tower(modality).attention(kwargs, hidden, module)

    def _capture_block(
        self, modality: Modality, index: int, part: str, module: nn.Module, args: tuple[Any, ...], output: Tensor
    ) -> None:
        if self._encoding == modality:
            projections = self._adapter.block_projections(self._adapter.blocks(self._model, modality)[index])
            with self._steps.scoring(tower=True):
                wanted = self._tower_scores(modality)[index]
                self._tower(modality).capture(index, part, output, projections, wanted)

    def _after_block(
        self, modality: Modality, index: int, module: nn.Module, args: tuple[Any, ...], output: Any
    ) -> Any:
        return None if self._encoding != modality else self._tower(modality).after(index, output)
