"""FLOPs, tokens and KV bytes of a policy on a model and an input shape; floors. Analytic: nothing runs.

Conventions: multiply and add count as two; causal attention counts in full; grouped-query attention and three-matrix
MLPs are known; matrix products of scores and mechanisms count. A batch is charged as it runs, padded to its longest
row.
"""

from autotc.cost.floor import policy_floor
from autotc.cost.prefill import Realised, prefill_cost
from autotc.cost.record import Cost, Reduced
from autotc.cost.request import Request, request_shapes

__all__ = ["Cost", "Realised", "Reduced", "Request", "policy_floor", "prefill_cost", "request_shapes"]
