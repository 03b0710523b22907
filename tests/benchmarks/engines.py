"""Do `evs` and `vidcom2` keep the tokens that vLLM keeps, with `counting: engine` and without?

vLLM's own functions are called on random videos, whose tokens change little or much from frame to frame; a folder that
a wheel of vLLM 0.27 or newer was unpacked into is enough, its package is not imported.

    pip download --no-deps vllm==0.33.0 && unzip -q vllm-*.whl 'vllm/multimodal/video_prune/*' -d engines
    python tests/benchmarks/engines.py --vllm engines/vllm --out tests/benchmarks/results/engines.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from typing import Any

import torch

from autotc.mechanisms import Tokens, build_mechanism, pruning_rate

VIDEOS = 400
WIDTH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", type=Path, required=True, help="folder of the package vllm")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found = {name: compared(name, loaded(args.vllm, name)) for name in ("evs", "vidcom2")}
    text = json.dumps(found, indent=1)
    if args.out is not None:
        args.out.write_text(text + "\n", encoding="utf-8")
    print(text)


def loaded(folder: Path, name: str) -> Any:
    """One of vLLM's files by itself."""
    spec = importlib.util.spec_from_file_location(name, folder / "multimodal" / "video_prune" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def video(grid: tuple[int, int, int], generator: torch.Generator) -> Tokens:
    """A video in which three tokens of ten change much from a frame to the next."""
    t, y, x = grid
    frames = torch.randn(t, y * x, WIDTH, generator=generator)
    for k in range(1, t):
        change = 0.05 + 0.9 * (torch.rand(y * x, 1, generator=generator) > 0.7)
        frames[k] = frames[k - 1] + change * frames[k]
    n = t * y * x
    axes = torch.meshgrid(torch.arange(t), torch.arange(y), torch.arange(x), indexing="ij")
    places = torch.stack([axis.reshape(-1) for axis in axes], 1)[None]
    valid = torch.ones(1, n, dtype=torch.bool)
    return Tokens(frames.reshape(1, n, WIDTH), valid, places, torch.zeros(1, n, 6), torch.ones(1, n))


def compared(name: str, module: Any) -> dict[str, int]:
    """Videos on which count and choice are vLLM's."""
    generator = torch.Generator().manual_seed(0)
    out = {"videos": VIDEOS, "same_count": 0, "same_count_by_policy": 0, "same_tokens": 0}
    for _ in range(VIDEOS):
        t, y, x = (int(torch.randint(1, most, (1,), generator=generator)) for most in (9, 6, 6))
        keep = int(torch.randint(1, 100, (1,), generator=generator)) / 100
        n, rate = t * y * x, float(str(pruning_rate(keep)))
        tokens = video((t, y, x), generator)
        mechanism = build_mechanism(name, {"counting": "engine"}, keep)
        count = module.compute_retained_tokens_count(tokens_per_frame=y * x, num_frames=t, q=rate)
        mask = module.compute_retention_mask(tokens.features[0], (t, y, x), 1, rate)
        kept = mechanism.reduce(tokens, torch.tensor([count]), {}).keep[0]
        out["same_count"] += mechanism.target(keep, n, n, (t, y, x)) == count
        out["same_count_by_policy"] += build_mechanism(name).target(keep, n, n, (t, y, x)) == count
        out["same_tokens"] += mask.nonzero()[:, 0].tolist() == kept.tolist()
    return out


if __name__ == "__main__":
    main()
