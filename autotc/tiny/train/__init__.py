"""The training recipe of `tiny-omni`: ``python -m autotc.tiny.train --out FOLDER``.

`recipes` is the table of stages, `stages` carries them out; `inputs` renders scenes as the model takes them, `packing`
puts their questions behind them, `losses` says what is learned.
"""
