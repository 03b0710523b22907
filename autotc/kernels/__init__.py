"""Sequential choices that an accelerator makes in one launch, each beside its loop of tensor operators.

A rule that adds one token after another starts several operators a token; an accelerator does such an operator sooner
than its host can start the next. Where Triton runs, the loop runs on the device instead. Both forms choose the same
tokens, ties going to the earlier one, but for what rounding decides.
"""

from autotc.kernels.determinantal import greedy_map
from autotc.kernels.farthest import Cosine, Distance, Euclidean, Manhattan, Table, farthest_first

__all__ = ["Cosine", "Distance", "Euclidean", "Manhattan", "Table", "farthest_first", "greedy_map"]
