"""``python -m autotc``."""

from __future__ import annotations

import sys

from autotc.cli import main

sys.exit(main())
