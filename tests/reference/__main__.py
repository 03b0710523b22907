"""The reference, made from the models and from the parser of the shell.

python -m tests.reference            # writes it
python -m tests.reference --check    # exit 1 where a file is not what the models say
"""

from __future__ import annotations

import argparse
import sys

from . import renewed


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description="Writes the reference from the models.")
    parser.add_argument("--check", action="store_true", help="exit 1 where a file is not what the models say")
    args = parser.parse_args()
    stale = {path: text for path, text in renewed().items() if not path.is_file() or path.read_text("utf-8") != text}
    for path, text in stale.items():
        print(f"{'not up to date' if args.check else 'wrote'}: {path}")
        if not args.check:
            path.write_text(text, encoding="utf-8")
    return 1 if args.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
