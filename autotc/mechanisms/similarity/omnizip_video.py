"""OmniZip for video: windows' budgets follow the audio (2511.14582; official `omnizip` and `omnizip_istm`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate
from autotc.mechanisms.clustering import density_peaks
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.frames import change, frame_tokens
from autotc.mechanisms.grouping import count_groups
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_per_group
from autotc.mechanisms.tokens import Tokens


class OmniZipVideoParams(Params):
    """Parameters of `OmniZipVideo`.

    ``window``: frames of the token grid that share one stretch of audio; the official code takes the two seconds that
    Qwen2.5-Omni interleaves, which are 2 frames.
    ``least``, ``most``: the share dropped of a window whose audio is kept in full, and of one whose audio is dropped.
    ``neighbours``: of the density.
    """

    window: int = Field(2, ge=1)
    least: float = Field(0.35, ge=0, le=1)
    most: float = Field(0.75, ge=0, le=1)
    neighbours: int = Field(5, ge=1)


class OmniZipVideo(Mechanism):
    """Windows keep more where the audio kept more; even frames keep density peaks, odd frames what changed.

    Within a window, as in the official code, frames 0, 2, ... keep the tokens of highest density x separation (DPC-KNN
    on cosine distance), frames 1, 3, ... those least like the same place in the frame before, and all frames keep alike
    many; what the paper calls merged is dropped. Unlike the code, which fixes the extreme windows, rescales the others
    towards the target and clips them, each window's share of the budget is in proportion to 1 - most + (most - least) x
    retention of the audio, and counts meet the budget by largest remainders. A window without audio counts as one whose
    audio is kept, as in the code's first version; its later one keeps the plain share.
    """

    name = "omnizip_video"
    family = "similarity"
    modalities = ("video",)
    locations = ("projector",)
    needs = ("concurrent_retention",)
    companion = "audio"
    uses_grid = True
    criterion = "spatio-temporal redundancy"
    source = "OmniZip, arXiv 2511.14582; `omnizip` and `omnizip_istm` of the official code"
    Params = OmniZipVideoParams
    params: OmniZipVideoParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        frame = tokens.grid[..., 0].masked_fill(~valid, 0)
        size = count_groups(frame, valid, int(frame.max()) + 1)
        retention = self._retention(scores["concurrent_retention"], frame, valid, size)
        dropped = self.params.most + (self.params.least - self.params.most) * retention
        count = allocate(budget, 1.0 - dropped, size)

        spatial = (frame % self.params.window) % 2 == 0
        score = torch.where(spatial, self._peaks(tokens, frame, size.shape[1]), change(tokens, torch.ones_like(frame)))
        return Reduction.select(top_per_group(score, frame, count, valid))

    def _retention(self, score: Tensor, frame: Tensor, valid: Tensor, size: Tensor) -> Tensor:
        """Mean retention of the audio over each frame's window, (B, T)."""
        sums = torch.zeros(size.shape, dtype=torch.double, device=size.device)
        sums.scatter_add_(1, frame, torch.nan_to_num(score.double(), nan=1.0).masked_fill(~valid, 0.0))
        window = (torch.arange(size.shape[1], device=size.device) // self.params.window).expand_as(size)
        total = torch.zeros_like(sums).scatter_add_(1, window, sums).gather(1, window)
        tokens = torch.zeros_like(size).scatter_add_(1, window, size).gather(1, window)
        return (total / tokens.clamp_min(1)).clamp(0.0, 1.0)

    def _peaks(self, tokens: Tokens, frame: Tensor, frames: int) -> Tensor:
        """Density x separation of the tokens of the spatial frames within their frame, (B, N); 0 elsewhere."""
        valid, within = tokens.valid, frame_tokens(tokens)
        number = torch.arange(frames, device=valid.device)
        number = number[(number % self.params.window) % 2 == 0][:, None]
        cell = torch.arange(int(within.max()), device=valid.device)
        start = (~valid).sum(1)[:, None, None] + number * within[..., None]
        present = (cell < within[..., None]) & (number <= frame.amax(1)[:, None, None])
        index = (start + cell).clamp_max(valid.shape[1] - 1)

        unit = tokens.unit_features()
        row = torch.arange(len(unit), device=valid.device)[:, None, None].expand_as(index)
        cells = unit[row, index].flatten(0, 1)
        cosine = torch.bmm(cells, cells.mT)
        # The code takes plain distances where DPC-KNN squares them: of square roots, the squares are plain.
        root = (1.0 - cosine).clamp_min(0.0).sqrt()
        density, separation = density_peaks(root, present.flatten(0, 1), self.params.neighbours)
        out = torch.zeros(valid.shape, device=valid.device)
        out[row[present], index[present]] = (density * separation.square()).view_as(index)[present]
        return out

    def flops(self, work: Work) -> int:
        spatial = sum((t % self.params.window) % 2 == 0 for t in range(work.frames))
        return 2 * spatial * (work.n // work.frames) ** 2 * work.d + 2 * work.n * work.d
