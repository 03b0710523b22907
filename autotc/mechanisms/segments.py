"""Cutting a video into segments of frames, in the ways of four published methods."""

from __future__ import annotations

from autotc.lazy import Tensor, torch
from autotc.mechanisms.frames import change, frame_tokens
from autotc.mechanisms.grouping import count_groups, merge_groups
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens


def cut_at_transitions(means: Tensor, present: Tensor, segments: int, threshold: float) -> Tensor:
    """Segment of each frame, (B, T) long, cut between frames that are little alike (FastVID, 2503.11187).

    Args:
        means: (B, T, D) float, of norm 1, one for each frame.
        present: (B, T) bool, frames that exist.
        segments: cuts are made at the ``segments`` - 1 transitions of lowest cosine,
        threshold: and at all transitions of lower cosine.
    """
    cosine = (means[:, 1:] * means[:, :-1]).sum(2)
    joints = present[:, 1:]
    wanted = joints.sum(1).clamp_max(segments - 1)
    cuts = (top_mask(-cosine, wanted, joints) | (cosine < threshold)) & joints
    return torch.nn.functional.pad(cuts.long(), (1, 0)).cumsum(1)


def cut_at_breaks(broken: Tensor, start: Tensor, seconds: float) -> Tensor:
    """Segment of each frame, (B, T) long, cut at breaks that are not too close (DASH, 2603.15685).

    Args:
        broken: (B, T) bool, frames that may begin a segment.
        start: (B, T) float, when each frame begins.
        seconds: least time between the beginnings of two segments.
    """
    begins = torch.zeros_like(broken, dtype=torch.long)
    last = start[:, 0].clone()
    for frame in range(1, broken.shape[1]):
        # The allowance is for starts that are sums of hops.
        begins[:, frame] = (broken[:, frame] & (start[:, frame] - last >= seconds - 1e-4)).long()
        last = torch.where(begins[:, frame] > 0, start[:, frame], last)
    return begins.cumsum(1)


def frames_to_end(segment: Tensor, present: Tensor) -> Tensor:
    """How many frames come after each frame in its segment, (B, T) long; ``present`` (B, T) bool, frames that exist."""
    place = torch.arange(present.shape[1], device=present.device).expand_as(segment)
    last = torch.zeros_like(segment).scatter_reduce_(1, segment, place.masked_fill(~present, 0), "amax")
    return last.gather(1, segment) - place


def most_static_segments(stable: Tensor, frame: Tensor, area: Tensor, valid: Tensor, frames: int) -> Tensor:
    """Segment of each frame, (B, T) long, such that the most static tokens can go (HoliTom, 2505.21334).

    A segment spares, for each place that is stable throughout, all its tokens but one. Of equal cuts, the shorter last
    segment wins, as in the official code.

    Args:
        stable: (B, N) bool, whether a token is like that of the frame before; the first frame's count for nothing.
        frame: (B, N) long.
        area: (B, 1) long, tokens of one frame.
        valid: (B, N) bool.
        frames: T.
    """
    rows, n = valid.shape
    token = torch.arange(n, device=valid.device)
    first = valid.int().argmax(1, keepdim=True)
    place = token - first - frame * area
    order = (place * frames + frame).masked_fill(~valid, n * (frames + 1)).argsort(dim=1, stable=True)
    broken = (~stable | (frame == 0)).gather(1, order)
    past = token - torch.where(broken, token, 0).cummax(1).values
    past = torch.empty_like(past).scatter_(1, order, past)  # stable steps that lead to a token
    still = torch.zeros(rows, frames * frames, dtype=torch.long, device=valid.device)
    still.scatter_add_(1, (frame * frames + past).masked_fill(~valid, 0), valid.long())
    # Places that have been stable over the last l steps up to each frame, (B, T, l).
    still = still.view(rows, frames, frames).flip(2).cumsum(2).flip(2)

    # best[:, e]: most tokens that segments can spare of the frames before e; start: where the last of them begins.
    steps = torch.arange(frames, device=valid.device)
    best = torch.zeros(rows, frames + 1, dtype=torch.long, device=valid.device)
    start = torch.zeros(rows, frames, dtype=torch.long, device=valid.device)
    for end in range(frames):
        spared = best[:, : end + 1].flip(1) + still[:, end, : end + 1] * steps[: end + 1]
        best[:, end + 1] = spared.amax(1)
        start[:, end] = end - spared.argmax(1)
    # Back from the last frame, each segment says where the one before it ends.
    begins = torch.zeros_like(start)
    last = frame.masked_fill(~valid, 0).amax(1, keepdim=True)
    for _ in range(frames):
        at = start.gather(1, last)
        begins.scatter_(1, at, 1)
        last = (at - 1).clamp_min(0)
    return begins.cumsum(1) - 1


def merge_static_places(tokens: Tokens, threshold: float, spare: Tensor | None) -> tuple[Reduction, Tensor, Tensor]:
    """In segments of `most_static_segments`, places that are static throughout merge into their first token.

    A place is as static as the least of its cosines from frame to frame inside the segment. Multiplies N x D.

    Args:
        tokens: rows that are full grids in raster order.
        threshold: cosine above which a place is static.
        spare: (B,) long, most tokens that may go, those of the most static places first; None for no limit.

    Returns:
        The reduction; the tokens (B, N) bool of the places that merge; the segment of each frame (B, T) long.
    """
    valid = tokens.valid
    frame = tokens.grid[..., 0].masked_fill(~valid, 0)
    area = frame_tokens(tokens)
    frames, widest = int(frame.max()) + 1, int(area.max())
    cosine = 1.0 - change(tokens, torch.ones_like(frame))
    cut = most_static_segments(cosine > threshold, frame, area, valid, frames)
    segment = cut.gather(1, frame)
    opens = torch.ones_like(cut)
    opens[:, 1:] = cut[:, 1:] - cut[:, :-1]
    first = valid.int().argmax(1, keepdim=True)
    place = torch.arange(valid.shape[1], device=valid.device) - first - frame * area
    spot = (segment * widest + place).masked_fill(~valid, 0)
    inner = valid & (opens.gather(1, frame) == 0)
    least = cosine.new_full((valid.shape[0], frames * widest), torch.inf)
    least.scatter_reduce_(1, spot, cosine.masked_fill(~inner, torch.inf), "amin")
    return *merge_groups(tokens, spot, least, threshold, spare), cut


def windows_by_drift(likeness: Tensor, threshold: float, longest: int) -> Tensor:
    """Window of each frame, (B, T) long: runs of frames that stay like their first (EarlyTom, 2605.30010).

    Args:
        likeness: (B, T, T) float, of every two frames.
        threshold: a window begins where 0.9 x the likeness to the window's first + 0.1 x what it was before, from 1, is
            lower,
        longest: or where the window would reach so many frames.
    """
    rows = torch.arange(len(likeness), device=likeness.device)
    start = torch.zeros_like(rows)
    running = likeness.new_ones(len(likeness))
    opens = torch.zeros(likeness.shape[:2], dtype=torch.long, device=likeness.device)
    for frame in range(1, likeness.shape[1]):
        running = 0.9 * likeness[rows, start, frame] + 0.1 * running
        fresh = (running < threshold) | (frame - start + 1 >= longest)
        opens[:, frame] = fresh.long()
        start, running = torch.where(fresh, frame, start), torch.where(fresh, 1.0, running)
    return opens.cumsum(1)


def inner_frames(window: Tensor, present: Tensor) -> Tensor:
    """Frames that are neither the first nor the last of their window, (B, T) bool; ``present`` (B, T) bool."""
    outer = torch.ones_like(present)
    outer[:, 1:-1] = (window[:, 1:-1] != window[:, :-2]) | (window[:, 1:-1] != window[:, 2:]) | ~present[:, 2:]
    return present & ~outer


def segments_of_clusters(label: Tensor, present: Tensor) -> Tensor:
    """Segment of each frame (B, T) from its cluster: short runs of frames join the longer of their neighbours
    (PruneVid, 2412.16117).

    Of each cluster, the longest runs stay, if longer than one frame. ``present`` (B, T) bool, frames that exist.
    """
    frames = label.shape[1]
    fresh = torch.ones_like(present)
    fresh[:, 1:] = label[:, 1:] != label[:, :-1]
    run = fresh.cumsum(1) - 1
    length = count_groups(run, present, frames).gather(1, run)
    longest = torch.zeros_like(label).scatter_reduce_(1, label, length * present, "amax").gather(1, label)
    stays = present & (length == longest) & (length > 1)

    # What follows each frame: the next frame that stays, its cluster and the length of its run.
    place = torch.arange(frames, device=label.device).expand_as(label)
    following = torch.where(stays, place, frames).flip(1).cummin(1).values.flip(1)
    known = following < frames
    right = label.gather(1, following.clamp_max(frames - 1)).masked_fill(~known, 0)
    right_length = length.gather(1, following.clamp_max(frames - 1)).masked_fill(~known, 0)
    out = torch.zeros_like(label)
    left, left_length = torch.zeros_like(label[:, 0]), torch.zeros_like(label[:, 0])
    # From left to right, a frame that does not stay joins the run on its left or the one on its right.
    for frame in range(frames):
        adopts_left = ~stays[:, frame] & (left_length >= right_length[:, frame]) & (left_length > 0)
        out[:, frame] = torch.where(adopts_left, left, right[:, frame])
        left_length = torch.where(out[:, frame] == left, left_length, 0) + 1
        left = out[:, frame]
    border = torch.zeros_like(out)
    border[:, 1:] = (out[:, 1:] != out[:, :-1]).long()
    return border.cumsum(1)
