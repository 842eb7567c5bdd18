"""Traffic signs drawn by the program: the 43 of the German benchmark in their order, simplified.

    plate (shape and colour) and symbol -> size, squeeze, turn, place -> on a scene -> light, blur, noise

Coordinates of a sign: its radius is 1, x points right, y down. A symbol is a number of polygonal lines, drawn with a
thick pen.
"""

from typing import NamedTuple

import numpy as np

from nanostn.checks import argument_error, describe

from .scenery import blurred, colour
from .strokes import WAYS, curve

SIZE = (0.45, 0.95)       # radius, of half the picture
SQUEEZE = (0.75, 1)       # of its width, as where a sign is seen from the side
TURN = 0.35               # radians, at most, either way
LIGHT = (0.3, 1.25)
BLUR = (0, 0.025)         # standard deviation, of the picture's side
NOISE = (1, 8)            # standard deviation, of 255
FINE = 3                  # pixels drawn for each pixel

RED, BLUE, YELLOW, WHITE, BLACK, GREY = ((190, 25, 35), (20, 70, 160), (240, 190, 20), (240, 240, 238), (20, 20, 22),
                                         (110, 110, 112))
Lines = list[list[tuple[float, float]]]


def regular(corners: int, radius: float, first: float = 0) -> np.ndarray:
    """Corners (n, 2) of a regular polygon; the angle `first` of one of them in turns, clockwise from the right."""
    angle = 2 * np.pi * (first + np.arange(corners) / corners)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


class Plate(NamedTuple):
    """What a symbol stands on: polygons, one over the other, and the symbol's colour, middle, size and pen."""

    polygons: tuple[tuple[np.ndarray, tuple[int, int, int]], ...]
    ink: tuple[int, int, int] = BLACK
    middle: float = 0         # y
    size: float = 0.45        # half of the symbol's height
    pen: float = 0.16


DISC = 32                     # corners of a disc
LIMIT = Plate(((regular(DISC, 1), RED), (regular(DISC, .76), WHITE)))
VEHICLES = LIMIT._replace(pen=.1)
END = Plate(((regular(DISC, 1), BLACK), (regular(DISC, .95), WHITE)), GREY, pen=.12)
WARNING = Plate(((regular(3, 1.1, -.25), RED), (regular(3, .72, -.25), WHITE)), BLACK, .1, .33, .085)
ORDER = Plate(((regular(DISC, 1), WHITE), (regular(DISC, .94), BLUE)), WHITE, 0, .55, .17)
PRIORITY = Plate(((regular(4, 1, -.25), WHITE), (regular(4, .8, -.25), YELLOW)))
YIELD = Plate(((regular(3, 1.1, .25), RED), (regular(3, .65, .25), WHITE)))
STOP = Plate(((regular(8, 1, 1 / 16), WHITE), (regular(8, .93, 1 / 16), RED)), WHITE, 0, .26, .1)
NO_ENTRY = Plate(((regular(DISC, 1), RED),), WHITE, 0, .6, .32)


def number(figures: str) -> Lines:
    """A number's lines, -1 to 1 from top to bottom, its figures side by side."""
    wide, step = (1.1, 1.55) if len(figures) < 3 else (.8, 1.1)
    return [[(wide * (x - .5) + step * (i - (len(figures) - 1) / 2), 2 * y - 1) for x, y in curve(stroke, 16)]
            for i, figure in enumerate(figures) for stroke in WAYS[int(figure)][0]]


SLASHES: Lines = [[(-1.3, 1.5), (1.5, -1.3)], [(-1.5, 1.3), (1.3, -1.5)]]
CAR: Lines = [[(.3, .5), (.3, 0), (.5, -.4), (1.1, -.4), (1.3, 0), (1.3, .5), (.3, .5)], [(.3, .2), (1.3, .2)]]
TWIN: Lines = [[(x - 1.6, y) for x, y in line] for line in CAR]
LORRY: Lines = [[(-1.3, .5), (-1.3, -.8), (-.3, -.8), (-.3, .5), (-1.3, .5)], [(-1.3, 0), (-.3, 0)],
                [(-1.3, -.4), (-.3, -.4)]]
UP: Lines = [[(0, 1), (0, -1)], [(-.5, -.4), (0, -1), (.5, -.4)]]
LEFT: Lines = [[(.4, 1), (.4, 0), (-.9, 0)], [(-.4, -.5), (-.95, 0), (-.4, .5)]]
DOWN_LEFT: Lines = [[(.7, -.7), (-.7, .7)], [(-.7, -.1), (-.75, .75), (.1, .7)]]
BEND: Lines = [[(.4, 1), (.4, .2), (-.3, -.3), (-.3, -1)], [(-.75, -.5), (-.3, -1), (.15, -.5)]]
MAN: Lines = [[(0, -1), (.05, -.85)], [(0, -.7), (0, .1), (-.4, 1)], [(0, .1), (.4, 1)],
              [(-.5, -.1), (0, -.5), (.5, 0)]]
ROUND: Lines = [[(.8 * np.cos(a + t), .8 * np.sin(a + t)) for a in np.linspace(0, 1.5, 6)]
                for t in 2 * np.pi * np.arange(3) / 3]
ROUND += [[(.5 * np.cos(t), .5 * np.sin(t)), (.8 * np.cos(t), .8 * np.sin(t)),
           (1.1 * np.cos(t - .1), 1.1 * np.sin(t - .1))] for t in 2 * np.pi * np.arange(3) / 3]


def mirrored(lines: Lines) -> Lines:
    return [[(-x, y) for x, y in line] for line in lines]


SIGNS: tuple[tuple[str, Plate, Lines], ...] = (
    *((f"limit {limit}", LIMIT, number(limit)) for limit in ("20", "30", "50", "60", "70", "80")),
    ("end of 80", END, [*number("80"), *SLASHES]),
    *((f"limit {limit}", LIMIT, number(limit)) for limit in ("100", "120")),
    ("no overtaking", VEHICLES, [*CAR, *TWIN]),
    ("no overtaking by lorries", VEHICLES, [*CAR, *LORRY]),
    ("priority at the crossing", WARNING, [[(0, 1.1), (0, -1.1)], [(-.8, .1), (.8, .1)],
                                           [(-.4, -.6), (0, -1.1), (.4, -.6)]]),
    ("priority road", PRIORITY, []),
    ("yield", YIELD, []),
    ("stop", STOP, [[(-1.7, -.9), (-2.4, -.9), (-2.4, 0), (-1.7, 0), (-1.7, .9), (-2.4, .9)],
                    [(-1.3, -.9), (-.4, -.9)], [(-.85, -.9), (-.85, .9)],
                    [(.1, -.9), (.8, -.9), (.8, .9), (.1, .9), (.1, -.9)],
                    [(1.4, .9), (1.4, -.9), (2.2, -.9), (2.2, 0), (1.4, 0)]]),
    ("no vehicles", LIMIT, []),
    ("no lorries", VEHICLES, [[(x + .8, y) for x, y in line] for line in LORRY]),
    ("no entry", NO_ENTRY, [[(-1, 0), (1, 0)]]),
    ("danger", WARNING, [[(0, -1.1), (0, .4)], [(0, .9), (0, 1.1)]]),
    ("bend to the left", WARNING, BEND),
    ("bend to the right", WARNING, mirrored(BEND)),
    ("double bend", WARNING, [[(-.3, 1.1), (.4, .5), (-.4, -.2), (.3, -1.1)]]),
    ("uneven road", WARNING, [[(-1.3, .6), (-.8, .1), (-.3, .5), (0, .5), (.3, .1), (.8, .5), (1.3, .6)]]),
    ("slippery road", WARNING, [[(-.6, 0), (-.3, -.7), (.5, -.7), (.7, 0), (-.6, 0)],
                                [(-.6, .4), (-.2, .7), (-.6, 1.1)], [(.5, .4), (.9, .7), (.5, 1.1)]]),
    ("road narrows on the right", WARNING, [[(-.5, 1), (-.5, -1)], [(.6, 1), (.6, .3), (.1, -.3), (.1, -1)]]),
    ("road works", WARNING, [[(-.4, -1), (-.35, -.9)], [(-.4, -.6), (-.3, .2), (-.7, 1)], [(-.3, .2), (0, 1)],
                             [(-.4, -.4), (.8, .8)], [(.5, 1), (1.2, 1)]]),
    ("traffic lights", WARNING, [[(-.3, -1.1), (.3, -1.1), (.3, 1), (-.3, 1), (-.3, -1.1)], [(-.3, -.4), (.3, -.4)],
                                 [(-.3, .3), (.3, .3)]]),
    ("pedestrians", WARNING, MAN),
    ("children", WARNING, [[(x * .7 + dx, y * .8) for x, y in line] for dx in (-.5, .6) for line in MAN]),
    ("bicycles", WARNING, [[(x + .45 * np.cos(a), .5 + .45 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 9)]
                           for x in (-.75, .75)] + [[(-.75, .5), (-.3, -.4), (.5, -.4), (.75, .5)],
                                                    [(-.4, -.7), (0, .5), (.5, -.4)]]),
    ("ice", WARNING, [[(np.cos(a), np.sin(a)), (-np.cos(a), -np.sin(a))] for a in np.pi * np.array([0, 1, 2]) / 3]),
    ("deer", WARNING, [[(-1, 1), (-.7, .1), (.3, -.1), (.6, -.8), (1, -.7)], [(-.5, .1), (-.4, 1)],
                       [(.3, -.1), (.8, .6)], [(.6, -.8), (.3, -1.2)]]),
    ("end of all limits", END, SLASHES),
    ("turn right", ORDER, mirrored(LEFT)),
    ("turn left", ORDER, LEFT),
    ("straight on", ORDER, UP),
    ("straight on or right", ORDER, [[(x - .4, y) for x, y in line] for line in UP] + [[(-.4, .6), (.3, 0), (.9, 0)]]),
    ("straight on or left", ORDER, [[(x + .4, y) for x, y in line] for line in UP] + [[(.4, .6), (-.3, 0), (-.9, 0)]]),
    ("keep right", ORDER, mirrored(DOWN_LEFT)),
    ("keep left", ORDER, DOWN_LEFT),
    ("roundabout", ORDER, ROUND),
    ("end of no overtaking", END, [*CAR, *TWIN, *SLASHES]),
    ("end of no overtaking by lorries", END, [*CAR, *LORRY, *SLASHES]),
)
NAMES = tuple(name for name, _, _ in SIGNS)


def drawn_signs(count: int, seed: int = 0, side: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` traffic signs: images (count, side, side, 3) uint8 and labels (count,) int64, 0 to 42.

    The same count, seed and side give the same bits, and a smaller count the first of a larger one's. Classes are
    equally likely. A thousand of 48 pixels take two or three seconds.
    """
    for name, value, least in (("count", count, 0), ("seed", seed, 0), ("side", side, 1)):
        if not isinstance(value, int | np.integer) or value < least:
            raise argument_error("drawn_signs", name, f"an integer, {least} or more", describe(value))
    images, labels = np.empty((count, side, side, 3), np.uint8), np.empty(count, np.int64)
    for n in range(count):
        rng = np.random.default_rng([seed, n])
        labels[n] = rng.integers(len(SIGNS))
        _, plate, symbol = SIGNS[labels[n]]
        images[n] = painted(rng, plate, symbol, side)
    return images, labels


def painted(rng: np.random.Generator, plate: Plate, symbol: Lines, side: int) -> np.ndarray:
    """One sign, as it hangs somewhere: (side, side, 3) uint8."""
    from PIL import ImageDraw, ImageFilter

    radius, turn = rng.uniform(*SIZE) * FINE * side / 2, rng.uniform(-TURN, TURN)
    squeeze = rng.uniform(*SQUEEZE)
    along = radius * np.array([[squeeze * np.cos(turn), squeeze * np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    middle = FINE * side / 2 + rng.uniform(-1, 1, 2) * (FINE * side / 2 - radius)
    canvas = blurred(rng, (FINE * side, FINE * side))
    draw = ImageDraw.Draw(canvas)
    post = np.array([(-.06, 0), (.06, 0), (.06, 6), (-.06, 6)]) @ along + middle
    draw.polygon(post.ravel().tolist(), fill=colour(rng, 0.9))
    faded = rng.uniform(0, 0.3)

    def worn(paint: tuple[int, int, int]) -> tuple[int, ...]:
        return tuple(round(part * (1 - faded) + 150 * faded) for part in paint)

    for polygon, paint in plate.polygons:
        draw.polygon((polygon @ along + middle).ravel().tolist(), fill=worn(paint))
    for line in symbol:
        points = (np.asarray(line) * plate.size + (0, plate.middle)) @ along + middle
        draw.line(points.ravel().tolist(), fill=worn(plate.ink), width=max(round(plate.pen * radius), 1), joint="curve")
    soft = canvas.filter(ImageFilter.GaussianBlur(FINE * side * rng.uniform(*BLUR)))
    across = np.linspace(-1, 1, side)
    slope_y, slope_x = rng.normal(0, 0.1, 2)
    light = np.exp(rng.uniform(*np.log(LIGHT))) * (1 + slope_y * across[:, None, None] + slope_x * across[:, None])
    lit = np.asarray(soft.reduce(FINE)) * light + rng.normal(0, rng.uniform(*NOISE), (side, side, 3))
    return np.rint(lit.clip(0, 255)).astype(np.uint8)
