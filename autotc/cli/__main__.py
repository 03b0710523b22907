"""``python -m autotc.cli``."""

from __future__ import annotations

import sys

from autotc.cli.program import main

sys.exit(main())
