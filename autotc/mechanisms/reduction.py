"""What a mechanism returns: a sparse matrix from the tokens it was given to those it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from autotc.errors import MechanismError
from autotc.lazy import Tensor, torch
from autotc.mechanisms.tokens import Tokens


@dataclass(frozen=True)
class Reduction:
    """A sparse matrix from the N tokens of each row to the M it keeps.

    ``survivor[row, dst] = sum of weight x token[row, src]`` over the edges of that row and dst.

    Attributes:
        keep: (B, M) long, ascending: the token whose position each survivor takes; -1 pads on the left.
        row, src, dst: (E,) long; edges of the sparse matrix.
        weight: (E,) float. Averaging mechanisms' weights sum to 1 per survivor.
        size: N.
    """

    keep: Tensor
    row: Tensor
    src: Tensor
    dst: Tensor
    weight: Tensor
    size: int
    _host: tuple[Tensor, bool] | None = None

    # The constructors copy the mask of the survivors to the host: the one synchronisation with an accelerator that a
    # stage plans for. What follows from it (counts, columns, shapes) is worked out there.

    @property
    def count(self) -> Tensor:
        """Survivors of each row, (B,) long."""
        return (self.keep >= 0).sum(1)

    @property
    def kept(self) -> Tensor:
        """``keep`` on the host."""
        return self.keep.cpu() if self._host is None else self._host[0]

    @property
    def counts(self) -> list[int]:
        """``count`` on the host."""
        out: list[int] = (self.kept >= 0).sum(1).tolist()
        return out

    @cached_property
    def is_selection(self) -> bool:
        """Whether every survivor is one token, unchanged."""
        if self._host is not None and self._host[1]:
            return True
        alone = self._edges_per_survivor() == (self.keep >= 0)
        return bool(alone.all() & (self.weight == 1).all())

    @staticmethod
    def _positions(mask: Tensor) -> tuple[Tensor, Tensor]:
        """Right-aligned ``keep`` (B, M) of a mask (B, N), and each kept token's column in it (B, N; -1 elsewhere)."""
        count = mask.sum(1)
        width = int(count.max()) if mask.numel() else 0
        column = mask.cumsum(1) - 1 + (width - count)[:, None]
        column = torch.where(mask, column, -1)
        keep = torch.full((mask.shape[0], width), -1, dtype=torch.long, device=mask.device)
        row, src = mask.nonzero(as_tuple=True)
        keep[row, column[row, src]] = src
        return keep, column

    @classmethod
    def identity(cls, valid: Tensor) -> Reduction:
        """Every valid token survives as it is; ``valid`` (B, N) bool."""
        return cls.select(valid)

    @classmethod
    def select(cls, mask: Tensor) -> Reduction:
        """The tokens of ``mask`` (B, N) bool survive as they are; the rest is dropped."""
        device, host = mask.device, mask.cpu()
        keep, column = cls._positions(host)
        row, src = host.nonzero(as_tuple=True)
        row, src, dst = torch.stack([row, src, column[row, src]]).to(device, non_blocking=True)
        weight = torch.ones(len(row), device=device)
        return cls(keep.to(device, non_blocking=True), row, src, dst, weight, mask.shape[1], (keep, True))

    @classmethod
    def merge(cls, mask: Tensor, target: Tensor, mass: Tensor) -> Reduction:
        """Each token flows into one survivor, averaged by mass.

        Args:
            mask: (B, N) bool, survivors (their own positions).
            target: (B, N) long, the surviving token each token flows into; itself for survivors; -1 drops it.
            mass: (B, N) float, weights of the average.

        Raises:
            MechanismError: a token flows into one that does not survive.
        """
        device = mask.device
        alive, flow = torch.stack([mask.long(), target]).cpu()
        keep, column = cls._positions(alive.bool())
        row, src = (flow >= 0).nonzero(as_tuple=True)
        dst = column[row, flow[row, src]]
        if bool((dst < 0).any()):
            raise MechanismError("merge: a token flows into one that does not survive")
        selection = len(row) == int(alive.sum()) and bool((flow[row, src] == src).all())
        row, src, dst = torch.stack([row, src, dst]).to(device, non_blocking=True)
        share = mass[row, src].float()
        total = torch.zeros(keep.shape, device=device).index_put_((row, dst), share, accumulate=True)
        weight = torch.ones_like(share) if selection else share / total[row, dst]
        return cls(keep.to(device, non_blocking=True), row, src, dst, weight, mask.shape[1], (keep, selection))

    @classmethod
    def linear(cls, mask: Tensor, row: Tensor, src: Tensor, dst: Tensor, weight: Tensor) -> Reduction:
        """Any sparse matrix (pooling, recycling, low-pass transforms).

        Args:
            mask: (B, N) bool, tokens whose positions the survivors take.
            row, src, dst: (E,) long; ``dst`` counts a row's survivors from 0 in ascending order of their positions.
            weight: (E,) float, signed.
        """
        host = mask.cpu()
        keep, _ = cls._positions(host)
        offset = (keep.shape[1] - host.sum(1)).to(mask.device, non_blocking=True)
        keep_there = keep.to(mask.device, non_blocking=True)
        return cls(keep_there, row, src, dst + offset[row], weight, mask.shape[1], (keep, False))

    def apply(self, values: Tensor) -> Tensor:
        """Survivors' values (B, M, ...) of tokens' values (B, N, ...); zeros on padding; dtype kept.

        Rows that are only selected are copied, so they stay bit-equal.
        """
        flat = values.reshape(values.shape[0], values.shape[1], -1)
        if self.is_selection:
            out = flat.new_zeros(*self.keep.shape, flat.shape[2])
            out[self.row, self.dst] = flat[self.row, self.src]
        else:
            wide = torch.promote_types(flat.dtype, torch.float32)
            n, m = flat.shape[1], self.keep.shape[1]
            # Padding may hold NaN, which a product would spread; no edge leads from it.
            used = torch.zeros(flat.shape[:2], dtype=torch.bool, device=flat.device)
            used[self.row, self.src] = True
            matrix = torch.sparse_coo_tensor(
                torch.stack([self.row * m + self.dst, self.row * n + self.src]),
                self.weight.to(wide),
                (self.keep.numel(), used.numel()),
                check_invariants=False,
            )
            rows = flat.to(wide).masked_fill(~used[..., None], 0.0).reshape(used.numel(), -1)
            sums = torch.sparse.mm(matrix, rows).view(*self.keep.shape, -1)
            out = sums.to(flat.dtype)
            alone = self._edges_per_survivor() == 1
            single = alone[self.row, self.dst] & (self.weight == 1)
            # Copies stay bit-equal: an edge that is no copy points behind the last survivor.
            total = self.keep.numel()
            at = torch.where(single, self.row * m + self.dst, total)
            source = at.new_full((total + 1,), -1).scatter_(0, at, self.row * n + self.src)[:total].view(-1, m)
            copies = flat.reshape(used.numel(), -1)[source.clamp_min(0)]
            out = torch.where((source >= 0)[..., None], copies, out)
        return out.reshape(*self.keep.shape, *values.shape[2:])

    def _edges_per_survivor(self) -> Tensor:
        ones = torch.ones_like(self.row)
        return torch.zeros_like(self.keep).index_put_((self.row, self.dst), ones, accumulate=True)

    def lifted(self, index: Tensor, shape: tuple[int, int]) -> Reduction:
        """The same reduction of the tokens of other rows, of which this one's are parts.

        Args:
            index: (B, N) long on the host, where each token stands in the flattened rows (R x L); -1 on padding. Tokens
                that stand nowhere here are dropped.
            shape: (R, L).
        """
        device = self.keep.device
        at = self.kept
        survivor = torch.where(at >= 0, index.gather(1, at.clamp_min(0)), -1)
        mask = torch.zeros(shape[0] * shape[1], dtype=torch.bool)
        mask[survivor[at >= 0]] = True
        keep, column = self._positions(mask.view(shape))
        places, survivors, columns = index.to(device), survivor.to(device), column.view(-1).to(device)
        source, target = places[self.row, self.src], survivors[self.row, self.dst]
        row = torch.div(source, shape[1], rounding_mode="floor")
        host = (keep, self._host is not None and self._host[1])
        src = source - row * shape[1]
        return Reduction(keep.to(device), row, src, columns[target], self.weight, shape[1], host)

    def rows(self, order: Sequence[int]) -> Reduction:
        """The reductions of the rows in ``order``, each as often as it is named."""
        parts = [(self.row == old).nonzero()[:, 0] for old in order]
        edges = torch.cat(parts)
        row = torch.repeat_interleave(torch.tensor([len(part) for part in parts], device=edges.device))
        keep = self.keep[list(order)]
        return Reduction(keep, row, self.src[edges], self.dst[edges], self.weight[edges], self.size)

    def mass(self, mass: Tensor) -> tuple[Tensor, Tensor]:
        """Mass of the survivors (B, M) and mass dropped (B,), from the tokens' mass (B, N).

        A token's mass flows to its survivors in proportion to the absolute weight of its edges.
        """
        strength = self.weight.abs()
        leaving = torch.zeros(mass.shape, device=mass.device).index_put_(
            (self.row, self.src), strength, accumulate=True
        )
        share = mass[self.row, self.src].float() * strength / leaving[self.row, self.src].clamp_min(1e-12)
        out = torch.zeros(self.keep.shape, device=mass.device).index_put_((self.row, self.dst), share, accumulate=True)
        return out, (mass.float() * (leaving == 0)).sum(1)

    def then(self, later: Reduction) -> Reduction:
        """The product of two reductions: this one first, then ``later`` on its survivors (later.size = M)."""
        if later.size != self.keep.shape[1]:
            raise MechanismError(f"compose: the second reduction takes {later.size} tokens, not {self.keep.shape[1]}")
        m, n, middle = later.keep.shape[1], self.size, self.keep.shape[1]
        # A join on the token in the middle: with these edges sorted by it, each later edge takes a run of them.
        flowing = self.row * middle + self.dst
        order = flowing.argsort(stable=True)
        run = torch.bincount(flowing, minlength=self.keep.numel())
        wanted = later.row * middle + later.src
        length = run[wanted]
        outer = torch.repeat_interleave(length)
        within = torch.arange(len(outer), device=outer.device) - (length.cumsum(0) - length)[outer]
        inner = order[(run.cumsum(0) - run)[wanted][outer] + within]
        entry = (later.row[outer] * m + later.dst[outer]) * n + self.src[inner]
        entry, at = torch.unique(entry, return_inverse=True)
        weight = self.weight.new_zeros(len(entry)).index_put_((at,), later.weight[outer] * self.weight[inner], True)
        survivor = entry // max(n, 1)
        row = survivor // max(m, 1)
        keep = torch.where(later.keep >= 0, self.keep.gather(1, later.keep.clamp_min(0)), -1) if middle else later.keep
        return Reduction(keep, row, entry - survivor * n, survivor - row * m, weight, n)

    def reduce(self, tokens: Tokens) -> Tokens:
        """The survivors as tokens: features and mass by the edges, grid of the kept position, box of all sources."""
        valid = self.keep >= 0
        at = self.keep.clamp_min(0)
        grid = tokens.grid.gather(1, at[..., None].expand(-1, -1, 3)) * valid[..., None]
        lows, highs = tokens.box[..., 0::2], tokens.box[..., 1::2]
        index = self.dst[:, None].expand(-1, 3) + (self.row * self.keep.shape[1])[:, None]
        flat = (self.keep.numel(), 3)
        low = torch.full(flat, torch.inf, dtype=lows.dtype, device=lows.device)
        low.scatter_reduce_(0, index, lows[self.row, self.src], "amin")
        high = torch.full(flat, -torch.inf, dtype=highs.dtype, device=highs.device)
        high.scatter_reduce_(0, index, highs[self.row, self.src], "amax")
        box = torch.stack([low, high], -1).view(*self.keep.shape, 6)
        box = torch.where(valid[..., None], box, torch.zeros_like(box))
        mass, _ = self.mass(tokens.mass)
        return Tokens(self.apply(tokens.features), valid, grid, box, mass)
