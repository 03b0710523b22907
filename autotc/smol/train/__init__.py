"""The training recipe of `smol-vl`: ``python -m autotc.smol.train --out FOLDER``."""
