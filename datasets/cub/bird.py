"""One bird drawn by the program: its shape and pose, where its parts are, and the picture.

The body's coordinates have its length as unit and its middle as origin; the head's have its radius and its middle. The
bird looks to the right, y points down.
"""

from typing import Any

import numpy as np

from .. import pictures
from ..scenery import blurred, colour
from ..strokes import curve
from .parts import MIRRORED, NAMES

Colour = tuple[int, int, int]

HEADS = ("eye line", "eye ring", "crown stripe", "bib")
BODIES = ("wing bars", "breast spots", "belly streaks", "tail bands")

LONGER, SHORTER = 320, (224, 320)     # pixels of a picture's sides
LENGTH = (0.30, 0.46)     # of the body, of the shorter side
LEAN, NOD = 0.45, 0.5     # radians, of the bird and of its head, at most, either way
CENTRAL = 7 / 8           # of the shorter side: a central crop this large has the whole bird
FINE = 2                  # pixels drawn for each pixel
NOISE = 3                 # standard deviation, of 255

BRANCH, LEGS, PUPIL, GLINT = (70, 58, 46), (105, 80, 55), (12, 10, 10), (240, 240, 240)

RADIUS = 0.19             # of the head
BODY = curve([(.5, -.12), (.3, -.27), (-.1, -.25), (-.5, -.06), (-.3, .16), (0, .27), (.3, .22), (.48, .05),
              (.5, -.12)], 60)
WING = curve([(.24, -.06), (.1, -.18), (-.2, -.17), (-.68, -.02), (-.3, .1), (.05, .11), (.24, -.06)], 40)
TAIL = np.array([(-.4, -.09), (-.92, -.03), (-.96, .09), (-.88, .11), (-.38, .08)])
HIPS, FEET = np.array([(.08, .2), (-.04, .2)]), np.array([(.1, .48), (-.06, .48)])
BEAK = np.array([(.8, -.42), (1.75, .08), (.75, .38)])                       # in radii of the head, as are the next
EYE = (.38, -.22)
HEAD_PLACES = {"crown": (-.05, -.95), "forehead": (.7, -.65), "nape": (-.9, -.2), "throat": (.55, .85),
               "beak": (1.3, .05), "right eye": EYE}
BODY_PLACES = {"back": (-.1, -.25), "belly": (-.05, .25), "breast": (.42, .12), "right wing": (-.1, -.04),
               "tail": (-.72, .03), "left leg": (.1, .42), "right leg": (-.06, .42)}


def circle(x: float, y: float, radius: float, first: float = 0, last: float = 2 * np.pi) -> np.ndarray:
    """Points (24, 2) of a circle or, from angle `first` to `last`, clockwise as seen, of its arc."""
    angle = np.linspace(first, last, 24)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def segments(*ends: tuple[float, float, float, float]) -> list[np.ndarray]:
    """Straight lines from x, y to x, y."""
    return [np.reshape(end, (2, 2)) for end in ends]


# Lines and their width, or areas (width 0), in coordinates of the head and of the body.
HEAD_MARKS: dict[str, tuple[float, list[np.ndarray]]] = {
    "eye line": (.2, segments((-.9, -.05, .9, -.25))),
    "eye ring": (.15, [circle(*EYE, .36)]),
    "crown stripe": (.2, [circle(0, .05, .75, -2.8, -.9)]),
    "bib": (0, [circle(.5, .62, .3)]),
}
BODY_MARKS: dict[str, tuple[float, list[np.ndarray]]] = {
    "wing bars": (.035, segments((-.02, -.14, -.06, .08), (-.18, -.14, -.22, .05))),
    "breast spots": (0, [circle(.3 + x, .08 + y, .026) for x, y in ((0, 0), (.1, .03), (.08, -.07), (-.06, .1),
                                                                   (.03, .12), (.13, -.05))]),
    "belly streaks": (.022, segments(*((x, .15, x - .03, .22) for x in (-.24, -.15, -.06, .03, .12)))),
    "tail bands": (.035, segments((-.6, -.06, -.62, .09), (-.76, -.04, -.78, .1))),
}


class Bird:
    """One bird, drawn by lot but for its class: where everything of it is, and `painted`, the picture."""

    def __init__(self, head_mark: str, body_mark: str, rng: np.random.Generator):
        self.rng, self.head_mark, self.body_mark = rng, head_mark, body_mark
        sides = np.array([LONGER, rng.integers(*SHORTER, endpoint=True)])
        self.size = sides if rng.random() < 0.7 else sides[::-1]
        length = rng.uniform(*LENGTH) * self.size.min()
        lean, nod = rng.uniform(-LEAN, LEAN), rng.uniform(-NOD, NOD)
        self.mirrored = rng.random() < 0.5
        stout, neck = rng.uniform(0.85, 1.2), rng.uniform(0.36, 0.5)
        turn = length * np.array([[np.cos(lean), np.sin(lean)], [-np.sin(lean), np.cos(lean)]])
        self.stretch = np.array([1, stout])
        self.neck = np.array([.36, -.12 * stout]) + neck * np.array([np.sin(.55 + nod / 2), -np.cos(.55 + nod / 2)])
        self.nod = RADIUS * np.array([[np.cos(nod), np.sin(nod)], [-np.sin(nod), np.cos(nod)]])
        self.turn = turn * np.array([-1, 1]) if self.mirrored else turn
        self.length, self.shift = length, np.zeros(2)

        every = np.concatenate([self.body(BODY), self.body(TAIL), self.body(FEET), self.head(BEAK),
                                self.head(circle(0, 0, 1))])
        low, high = every.min(axis=0), every.max(axis=0)
        room = (CENTRAL * self.size.min() - (high - low)) / 2
        self.shift = self.size / 2 - (low + high) / 2 + rng.uniform(-1, 1, 2) * room.clip(0)
        low, high = (low + self.shift).clip(0), np.minimum(high + self.shift, self.size)
        self.box = np.concatenate([low, high - low])

        self.parts = np.zeros((len(NAMES), 3))
        for places, placed in ((HEAD_PLACES, self.head), (BODY_PLACES, self.body)):
            for name, place in places.items():
                self.parts[NAMES.index(name)] = *placed(np.array([place]))[0], 1
        if self.mirrored:
            self.parts = self.parts[MIRRORED]

    def body(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 2) of the body, in its own coordinates, as pixels of the picture."""
        return points * self.stretch @ self.turn + self.shift

    def head(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 2) of the head, in its radii from its middle, as pixels of the picture."""
        return (points @ self.nod + self.neck) @ self.turn + self.shift

    def painted(self) -> Any:
        """The picture, an image of pillow's."""
        from PIL import ImageDraw

        rng = self.rng
        canvas = surroundings(rng, self.size * FINE)
        pen = Pen(ImageDraw.Draw(canvas), self.length * FINE)
        self.perch(pen)
        plumage = {name: colour(rng) for name in ("body", "wing", "tail", "head", "beak")}
        pen.area(self.body(TAIL), plumage["tail"])
        pen.area(self.body(BODY), plumage["body"])
        neck = np.stack([self.body(np.array([(.34, -.06)]))[0], self.head(np.zeros((1, 2)))[0]])
        pen.line(neck, plumage["body"], .24)
        pen.area(self.body(WING), plumage["wing"])
        pen.area(self.head(BEAK), plumage["beak"])
        pen.area(self.head(circle(0, 0, 1)), plumage["head"])
        under = {"wing bars": "wing", "tail bands": "tail"}.get(self.body_mark, "body")
        pen.mark(*BODY_MARKS[self.body_mark], self.body, contrast(plumage[under]), 1)
        pen.mark(*HEAD_MARKS[self.head_mark], self.head, contrast(plumage["head"]), RADIUS)
        pen.area(self.head(circle(*EYE, .17)), PUPIL)
        pen.area(self.head(circle(EYE[0] + .05, EYE[1] - .06, .05)), GLINT)
        small = np.asarray(canvas.reduce(FINE), np.float32)
        noisy = small * rng.uniform(0.8, 1.15) + rng.normal(0, NOISE, small.shape).astype(np.float32)
        return pictures.pillow().fromarray(np.rint(noisy.clip(0, 255)).astype(np.uint8))

    def perch(self, pen: "Pen") -> None:
        """The legs, and a branch across the picture under them."""
        feet = self.body(FEET)
        along = np.array([np.cos(tilt := self.rng.uniform(-.35, .35)), np.sin(tilt)]) * self.size.max() * 1.5
        middle = feet.mean(axis=0)
        pen.line(np.stack([middle - along, middle + along]), BRANCH, self.rng.uniform(.06, .12))
        for hip, foot in zip(self.body(HIPS), feet, strict=True):
            pen.line(np.stack([hip, foot]), LEGS, .025)


class Pen:
    """Draws in pixels of the picture, a width being in lengths of the body."""

    def __init__(self, draw: Any, length: float):
        self.draw, self.length = draw, length

    def area(self, points: np.ndarray, fill: Colour) -> None:
        self.draw.polygon((points * FINE).ravel().tolist(), fill=fill)

    def line(self, points: np.ndarray, fill: Colour, width: float) -> None:
        pixels = max(round(width * self.length), 1)
        self.draw.line((points * FINE).ravel().tolist(), fill=fill, width=pixels, joint="curve")

    def mark(self, width: float, shapes: list[np.ndarray], placed: Any, fill: Colour, unit: float) -> None:
        for shape in shapes:
            if width:
                self.line(placed(shape), fill, width * unit)
            else:
                self.area(placed(shape), fill)


def contrast(under: Colour) -> Colour:
    """Dark on what is bright, and the other way round."""
    return (30, 26, 24) if sum(under) > 360 else (232, 228, 220)


def surroundings(rng: np.random.Generator, size: np.ndarray) -> Any:
    """A blurred landscape with twigs and leaves, (width, height) pixels."""
    from PIL import ImageDraw

    canvas = blurred(rng, size)
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(4, 14)):
        at, bent, turn = rng.uniform(0, 1, 2) * size, rng.normal(0, .1, (3, 2)), rng.uniform(0, 2 * np.pi)
        along = np.outer([-.3, 0, .3], [np.cos(turn), np.sin(turn)]) + bent * .3
        points = curve([tuple(p) for p in at + along * size.max() * rng.uniform(.2, 1)], 20)
        draw.line(points.ravel().tolist(), fill=colour(rng), width=int(rng.integers(2, 9)), joint="curve")
    for _ in range(rng.integers(0, 40)):
        (x, y), (a, b) = rng.uniform(0, 1, 2) * size, rng.uniform(3, 22, 2)
        draw.ellipse((x - a, y - b, x + a, y + b), fill=colour(rng))
    return canvas
