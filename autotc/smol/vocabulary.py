"""Words of the questions and answers of `smol-vl`: what a picture can show, and how it is asked."""

from __future__ import annotations

SHAPES = ("circle", "square", "triangle", "star", "cross", "heart", "ring", "diamond")
COLORS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "white")
TEXTURES = ("stripes", "checks", "dots", "bricks", "waves", "clouds", "photo")
FRAME_NAMES = ("first", "second", "third", "fourth")
ROWS, COLUMNS = ("A", "B", "C", "D"), ("1", "2", "3", "4")
"""Cells of a picture, from its top left corner; ``B3`` is in the second row and the third column."""
_WORDS = """
apple arrow bread bridge brush cabin camel candle castle chair cheese clock cloud coffee copper cotton crown
dance desert doctor dragon eagle earth engine farmer field finger flower forest garden glass grape guitar
hammer harbor honey horse hotel house island jacket jungle kettle knife ladder lemon letter lion magnet market
melon mirror money monkey moon mother mouse music night ocean office onion orange owner paint palace paper
pepper piano pilot pirate planet plate pocket potato prince queen rabbit radio river robot rocket salad salt
school silver sister snake spider spring stone sugar summer table tiger train tunnel turtle valley violin
wagon water whale wheat wheel window winter wolf
"""
WORDS = tuple(_WORDS.split())
"""Words that labels in the pictures say."""
TASKS = ("detail", "large", "shape", "point", "count", "read", "texture", "event", "moment")
"""Kinds of questions, see `autotc.smol.scenes`."""
