"""A handle's life: entered once, freed with its model, never copied with a part of it, shared by threads."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from typing import Any

import pytest
import torch

import autotc
from autotc.errors import AutotcError, InputsError, PolicyError, UnsupportedModelError
from autotc.models import find_adapter
from autotc.policy import Policy, Stage
from autotc.tiny.config import build_model
from tests.runtime.helpers import media, model, request, single, snapshot

FULL = Policy.of(
    [
        Stage(modality="image", location="encoder", layer=0, mechanism="tome", keep_ratio=0.7),
        Stage(modality="image", location="projector", mechanism="visionzip", keep_ratio=0.4),
        Stage(modality="image", location="decoder", mechanism="fastv", layers={1: 0.3, 3: 0.2}),
    ]
)


def test_a_removed_handle_is_not_entered_again() -> None:
    handle = autotc.apply(model(), FULL)
    with handle:
        pass
    with pytest.raises(AutotcError, match="was removed from the model already; apply it again"), handle:
        pass
    handle.remove()
    with autotc.apply(model(), FULL):
        pass


@pytest.mark.parametrize("used", [False, True])
def test_a_model_dropped_under_a_policy_is_freed(used: bool) -> None:
    m = build_model(seed=5).eval()
    handle = autotc.apply(m, FULL)
    if used:
        with torch.no_grad():
            m.generate(**request([media(1, image=64)]), max_new_tokens=2)
    gone = weakref.ref(m), weakref.ref(handle)
    del m, handle
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


def test_no_part_of_a_model_under_a_policy_can_be_copied() -> None:
    m = build_model(seed=5).eval()
    before = snapshot(m)
    adapter = find_adapter(m)
    parts = [m, adapter.base(m), adapter.layers(m), adapter.layers(m)[2], adapter.language_model(m)]
    parts += [adapter.blocks(m, "image")[1], adapter.layer_projections(adapter.layers(m)[0]).key]
    with autotc.apply(m, FULL):
        for part in parts:
            for copying in (copy.deepcopy, copy.copy, pickle.dumps):
                if copying is copy.copy and isinstance(part, list):
                    continue  # a list of the layers themselves
                with pytest.raises(AutotcError, match="cannot be pickled or copied"):
                    copying(part)
    assert snapshot(m) == before
    for part in parts:
        copy.deepcopy(part)


def test_wrong_types_are_one_line() -> None:
    wrong: list[Any] = [{"stages": []}, ["a.yaml"], 3, None, b"a.yaml"]
    for policy in wrong:
        with pytest.raises(PolicyError, match=r"policy: .* given; a Policy, or the path of a policy file") as caught:
            autotc.apply(model(), policy)
        assert "\n" not in str(caught.value)
    other: Any = "Qwen/Qwen2.5-VL-7B-Instruct"
    with pytest.raises(UnsupportedModelError, match="Qwen2"):
        autotc.apply(other, FULL)
    observer: Any = 3
    with pytest.raises(PolicyError, match="observer: 3 given"):
        autotc.apply(model(), FULL, observer)


def test_threads_take_turns() -> None:
    m = build_model(seed=5).eval()
    inputs = [request([media(seed, image=size)]) for seed, size in ((1, 64), (2, 128), (3, 96))]

    def answers(i: int) -> Any:
        with torch.no_grad():
            ids = m.generate(**inputs[i], max_new_tokens=4, min_new_tokens=4, do_sample=False).tolist()
            first = m(**inputs[i], use_cache=True)
            cache = next(first[name] for name in ("cache", "past_key_values") if first.get(name) is not None)
            second = m(input_ids=torch.tensor([[12]]), past_key_values=cache)
        return ids, first.logits, second.logits

    with autotc.apply(m, FULL) as handle:
        # Positions of M-RoPE are kept by the model, of its last request: threads that decode by hand would mix them.
        alone = [answers(i)[:2] for i in range(3)]
        handle.stats.clear()
        together: dict[int, list[Any]] = {0: [], 1: [], 2: []}

        def work(i: int) -> None:
            together[i] += [answers(i)[:2] for _ in range(3)]

        threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
        assert not any(thread.is_alive() for thread in threads)
        assert len(handle.stats) == 18
    for i in range(3):
        assert len(together[i]) == 3
        for ids, logits in together[i]:
            assert ids == alone[i][0]
            assert torch.equal(logits, alone[i][1])


def test_a_thread_goes_on_after_an_error_in_another() -> None:
    m = build_model(seed=5).eval()
    inputs = request([media(1, image=64)])
    wrong = {**inputs, "attention_mask": inputs["attention_mask"][:, None, None]}
    done: list[Any] = []

    def work() -> None:
        with torch.no_grad():
            done.append(m(**inputs).logits)

    with autotc.apply(m, FULL), torch.no_grad():
        expected = m(**inputs).logits
        with pytest.raises(InputsError, match="attention_mask"):
            m(**wrong)
        with pytest.raises(InputsError, match="prefill_chunk_size"):
            m.generate(**inputs, max_new_tokens=2, prefill_chunk_size=4)
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(120)
        assert not thread.is_alive()
    assert torch.equal(done[0], expected)


def test_a_replica_is_refused() -> None:
    m = model()
    with autotc.apply(m, single("image", "projector", "random", 0.5)), torch.no_grad():
        replica = m._replicate_for_data_parallel()
        with pytest.raises(InputsError, match="a replica of it runs"):
            replica(**request([media(1, image=64)]))
        m(**request([media(1, image=64)]))
