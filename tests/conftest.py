"""One thread for each worker: several of them share the cores. What one test computes is not another one's."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is loaded, which reads them.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A cache that outlasts the run would hide what a change breaks; tests that want one name a folder of their own.
os.environ["AUTOTC_TOWER_CACHE"] = "off"
