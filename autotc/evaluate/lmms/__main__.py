"""Print the folder of the embedded tasks, for ``--include_path "$(python -m autotc.evaluate.lmms)"`` of lmms-eval."""

from __future__ import annotations

from autotc.evaluate.lmms import EMBEDDED

print(EMBEDDED)
