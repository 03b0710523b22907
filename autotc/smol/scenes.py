"""Scenes of `smol-vl`: pictures and clips that know what they show, and ask about it.

Objects take from one token to a quarter of the picture; words are printed small; textures fill the background. A clip
is four pictures with one background, in one of which something appears.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from autotc.smol.drawing import FONTS, RGB, SIZE, Part, background, blend, noise, shape_mask, word_mask
from autotc.smol.vocabulary import COLORS, COLUMNS, FRAME_NAMES, ROWS, SHAPES, TEXTURES, WORDS

PATCH = 16
"""Pixels of a patch's side; a patch is a token."""
SIDE = SIZE // PATCH
LARGE, MIDDLE, SMALL = (84, 100), (30, 46), (14, 20)
"""Sides of objects in pixels, from and to."""
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Question:
    """One question about a scene: kind, words, and the one right answer."""

    task: str
    text: str
    answer: str


@dataclass(frozen=True)
class Thing:
    """One object: shape and colour (indices), its place and side in pixels, and its turn."""

    shape: int
    color: int
    top: int
    left: int
    size: int
    turn: int

    @property
    def name(self) -> str:
        """Its shape in a word."""
        return SHAPES[self.shape]

    @property
    def hue(self) -> str:
        """Its colour in a word."""
        return COLORS[self.color]

    @property
    def cell(self) -> str:
        """The cell its centre lies in."""
        row, column = (int((edge + self.size / 2) * 4 / SIZE) for edge in (self.top, self.left))
        return f"{ROWS[row]}{COLUMNS[column]}"


@dataclass(frozen=True)
class Sign:
    """A printed word: index, font, size and place in pixels, dark on light or light on dark."""

    word: int
    font: int
    size: int
    top: int
    left: int
    dark: bool


class Space:
    """Places in a picture that nothing has taken yet."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._taken: list[tuple[int, int, int, int]] = []

    def place(self, height: int, width: int) -> tuple[int, int] | None:
        """Top and left of a free place; None where 40 tries found none."""
        for _ in range(40):
            top, left = int(self._rng.integers(SIZE - height + 1)), int(self._rng.integers(SIZE - width + 1))
            box = (top - 3, left - 3, top + height + 3, left + width + 3)
            if all(
                box[2] <= up or down <= box[0] or box[3] <= west or east <= box[1]
                for up, west, down, east in self._taken
            ):
                self.take(top, left, height, width)
                return top, left
        return None

    def take(self, top: int, left: int, height: int, width: int) -> None:
        """Nothing else may lie here, or closer than three pixels."""
        self._taken.append((top - 3, left - 3, top + height + 3, left + width + 3))


@dataclass
class Picture:
    """One picture with all that it shows.

    Attributes:
        texture: index of its background.
        things: its objects.
        signs: its printed words.
        counted: shape of which several may be there, for a question how many; None: all shapes differ.
    """

    seed: int
    part: Part
    texture: int
    things: list[Thing] = field(default_factory=list)
    signs: list[Sign] = field(default_factory=list)
    counted: int | None = None

    def render(self, extra: Thing | None = None, frame: int = 0) -> Bytes:
        """Pixels (192, 192, 3); ``extra``: one more object; ``frame``: each has its own grain."""
        rng = np.random.default_rng(self.seed)
        canvas = background(rng, TEXTURES[self.texture], self.part)
        for sign in self.signs:
            mask = word_mask(WORDS[sign.word], sign.font, sign.size)
            paper, ink = (np.float32(235), np.float32(20)) if sign.dark else (np.float32(25), np.float32(240))
            canvas[sign.top : sign.top + mask.shape[0], sign.left : sign.left + mask.shape[1]] = paper
            blend(canvas, mask, np.full(3, ink, np.float32), sign.top, sign.left)
        for thing in [*self.things, *([] if extra is None else [extra])]:
            mask = shape_mask(thing.shape, thing.size, thing.turn)
            blend(canvas, mask, RGB[thing.color] * np.float32(rng.uniform(0.9, 1.0)), thing.top, thing.left)
        canvas += 4 * noise(np.random.default_rng([self.seed, frame]), canvas.shape)
        return np.clip(canvas, 0, 255).astype(np.uint8)

    def labels(self, extra: Thing | None = None) -> Ints:
        """Shape + 1, colour + 1, word + 1 (0: none) and texture of every patch, (144, 4)."""
        out = np.zeros((SIDE, SIDE, 4), dtype=np.int64)
        out[..., 3] = self.texture
        for sign in self.signs:
            height, width = word_mask(WORDS[sign.word], sign.font, sign.size).shape
            rows = slice((sign.top + 4) // PATCH, (sign.top + height - 4) // PATCH + 1)
            out[rows, (sign.left + 4) // PATCH : (sign.left + width - 4) // PATCH + 1, 2] = sign.word + 1
        for thing in [*self.things, *([] if extra is None else [extra])]:
            mask = np.zeros((SIZE, SIZE), np.float32)
            mask[thing.top : thing.top + thing.size, thing.left : thing.left + thing.size] = shape_mask(
                thing.shape, thing.size, thing.turn
            )
            covered = mask.reshape(SIDE, PATCH, SIDE, PATCH).mean((1, 3))
            out[covered >= 0.5 * covered.max(), :2] = thing.shape + 1, thing.color + 1
        return out.reshape(-1, 4)

    def questions(self) -> list[Question]:
        """All questions with one right answer."""
        out = [Question("texture", "What is the background?", TEXTURES[self.texture])]
        if len(self.signs) == 1:
            out.append(Question("read", "What word is printed here?", WORDS[self.signs[0].word]))
        elif self.signs:
            out += [
                Question("read", f"What does the {'white' if s.dark else 'black'} label say?", WORDS[s.word])
                for s in self.signs
            ]
        if self.counted is not None:
            number = sum(thing.shape == self.counted for thing in self.things)
            return [*out, Question("count", f"How many {_several(SHAPES[self.counted])} are there?", str(number))]
        hues = [thing.color for thing in self.things]
        for thing in self.things:
            seen = "large" if thing.size >= LARGE[0] else "detail"
            out.append(Question(seen, f"What color is the {thing.name}?", thing.hue))
            out.append(Question("point", f"In which cell is the {thing.name}?", thing.cell))
            if hues.count(thing.color) == 1:
                out.append(Question("shape", f"What shape is {thing.hue}?", thing.name))
        return out


def _several(name: str) -> str:
    return f"{name}es" if name == "cross" else f"{name}s"


def _thing(rng: np.random.Generator, space: Space, sides: tuple[int, int], shape: int) -> Thing | None:
    size = int(rng.integers(sides[0], sides[1] + 1))
    place = space.place(size, size)
    return None if place is None else Thing(shape, int(rng.integers(len(COLORS))), *place, size, int(rng.integers(7)))


def _sign(rng: np.random.Generator, space: Space, *, dark: bool) -> Sign | None:
    word, font, size = int(rng.integers(len(WORDS))), int(rng.integers(len(FONTS))), int(rng.integers(14, 21))
    place = space.place(*word_mask(WORDS[word], font, size).shape)
    return None if place is None else Sign(word, font, size, *place, dark)


def draw_picture(rng: np.random.Generator, part: Part, *, crowd: bool) -> Picture:
    """A picture at random: objects of different shapes, or a crowd with several of one shape among others.

    Args:
        rng: what decides.
        part: of the photographs.
        crowd: the second.
    """
    space = Space(rng)
    picture = Picture(int(rng.integers(2**31)), part, int(rng.integers(len(TEXTURES))))
    shapes = [int(shape) for shape in rng.permutation(len(SHAPES))]
    found: list[Thing | None] = []
    if crowd:
        picture.counted = shapes[0]
        others = [shapes[1 + int(i)] for i in rng.integers(0, 7, int(rng.integers(0, 6)))]
        drawn = [*[shapes[0]] * int(rng.integers(1, 7)), *others]
        found = [_thing(rng, space, SMALL, shape) for shape in drawn]
    else:
        if rng.random() < 0.4:
            found.append(_thing(rng, space, LARGE, shapes.pop()))
        found += [_thing(rng, space, MIDDLE, shapes.pop()) for _ in range(int(rng.integers(0, 2)))]
        found += [_thing(rng, space, SMALL, shapes.pop()) for _ in range(int(rng.integers(1, 4)))]
    papers = ([], [True], [True, False])[int(rng.choice(3, p=(0.35, 0.4, 0.25)))]
    if len(papers) == 1:
        papers = [bool(rng.random() < 0.5)]
    picture.things = [thing for thing in found if thing is not None]
    picture.signs = [sign for dark in papers if (sign := _sign(rng, space, dark=dark)) is not None]
    return picture


@dataclass
class Clip:
    """Four pictures of one scene; in one of them something appears that is in no other.

    Attributes:
        still: what all frames show.
        event: what appears.
        when: index of the frame.
    """

    still: Picture
    event: Thing
    when: int

    def render(self) -> Bytes:
        """Pixels (4, 192, 192, 3)."""
        frames = range(len(FRAME_NAMES))
        return np.stack([self.still.render(self.event if frame == self.when else None, frame) for frame in frames])

    def labels(self) -> Ints:
        """As of a picture, (4 * 144, 4)."""
        plain, shown = self.still.labels(), self.still.labels(self.event)
        return np.concatenate([shown if frame == self.when else plain for frame in range(len(FRAME_NAMES))])

    def questions(self) -> list[Question]:
        """All questions with one right answer."""
        when = FRAME_NAMES[self.when]
        return [
            Question("event", "What appears in one picture only?", f"{self.event.hue} {self.event.name}"),
            Question("moment", f"In which picture is there a {self.event.name}?", when),
            *(q for q in self.still.questions() if q.task in ("detail", "large", "texture", "read")),
        ]


def draw_clip(rng: np.random.Generator, part: Part) -> Clip:
    """A clip at random."""
    while True:
        still = draw_picture(rng, part, crowd=False)
        space = Space(rng)
        for thing in still.things:
            space.take(thing.top, thing.left, thing.size, thing.size)
        for sign in still.signs:
            space.take(sign.top, sign.left, *word_mask(WORDS[sign.word], sign.font, sign.size).shape)
        shapes = set(range(len(SHAPES))) - {thing.shape for thing in still.things}
        event = _thing(rng, space, (16, 36), int(rng.choice(sorted(shapes))))
        if event is not None:
            return Clip(still, event, int(rng.integers(len(FRAME_NAMES))))


def render(scene: Picture | Clip) -> Bytes:
    """Pixels of every picture of a scene, (frames, 192, 192, 3)."""
    drawn = scene.render()
    return drawn if drawn.ndim == 4 else drawn[None]
