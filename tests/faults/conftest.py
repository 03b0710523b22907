"""How inputs are drawn: the same ones in every run, 100 of a kind; AUTOTC_EXAMPLES=1000 draws more."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "faults",
    max_examples=int(os.environ.get("AUTOTC_EXAMPLES", "100")),
    database=None,  # nothing is written into the folder that tests run in
    deadline=None,  # busy cores are no fault
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("faults")
