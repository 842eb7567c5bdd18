"""Two pictures of what the sampler can do, made with it: `python -m nanostn.gallery FOLDER`.

    families.png    each family's sampling grid over an image or a volume, and what comes out
    kernels.png     paddings, sampling kernels, antialiasing

Needs matplotlib (extra `app`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nanostn import drawing, no_grad, optim
from nanostn import functional as F
from nanostn.checks import argument_error
from nanostn.console import Parser, guarded, positive
from nanostn.datasets.digits import ink, written
from nanostn.kernels.sampling.conventions import target_points
from nanostn.nn import Parameter
from nanostn.transformations import (
    Affine,
    Affine3d,
    Attention,
    Attention3d,
    Displacement,
    LearnedBasis,
    PiecewiseAffine,
    Projective,
    Similarity,
    ThinPlateSpline,
    Transformation,
    Translation,
)

FIVE, TWO, THREE = 5, 16, 14  # of the program's digits of seed 0: one for the card, two for the block
BEYOND = 2.0                  # how far out the paddings are looked at; 1 is the border
SWIRL = 2.2                   # radians, at the centre
COLUMNS, TILE = 6, 1.25
COLOURS = 256                 # of a file

Cells = list[tuple[str, np.ndarray]]  # pictures with their titles


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Draw both pictures and print where they are."""
    parser = Parser(prog="python -m nanostn.gallery", description="Draw families.png and kernels.png into a folder.")
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--size", type=positive, default=112, metavar="N",
                        help="pixels of an image's side, 28 or more (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.size < 28:
        raise argument_error("gallery", "--size", "28 or more", options.size)
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in (("families.png", draw_families), ("kernels.png", draw_kernels)):
        drawing.png(draw(options.size), folder / name, dpi=130, colours=COLOURS)
        print(folder / name)
    return 0


def draw_families(size: int = 112) -> Any:
    """A figure with a column for each family: its grid over the input, and the output; volumes are flattened."""
    chosen = plane_families(size) + volume_families()
    image, volume = card(size), block(2 * size // 3)
    figure = drawing.new_figure(TILE * COLUMNS + 0.75, 2 * (2 * TILE + 0.4))
    axes = figure.subplots(4, COLUMNS)
    for n, (title, family, parameters) in enumerate(chosen):
        U = image if family.dims == 2 else volume
        theta, shape = parameters[None].astype(np.float32), U.shape[2:]
        row, column = divmod(n, COLUMNS)
        above, below = axes[2 * row:2 * row + 2, column]
        with no_grad():
            grid = family.grid(theta, shape).data[0]
            V = F.spatial_transform(U, theta, family, shape, flatten_depth=family.dims == 3).data[0]
        if family.dims == 2:
            drawing.draw_image(above, U[0], margin=0.2)
            drawing.draw_grid(above, grid, shape, lines=9)
        else:
            drawing.draw_image(above, exposed(U[0].sum(axis=1)), margin=0.2)
            drawing.draw_box(above, grid, shape)
        drawing.draw_image(below, V if family.dims == 2 else exposed(V))
        above.set_title(title, fontsize=8, color=drawing.INK, pad=4)
        if column == 0:
            above.set_ylabel("sampling grid", fontsize=8, color=drawing.QUIET)
            below.set_ylabel("output", fontsize=8, color=drawing.QUIET)
    return figure


def plane_families(size: int) -> list[tuple[str, Transformation, np.ndarray]]:
    """Nine families, each with a theta that shows what it can do; the spline and the mesh have the same one."""
    spline = ThinPlateSpline(4)
    x, y = spline.points.T
    waves = np.concatenate([x + 0.2 * np.sin(3.5 * y + 0.6), y + 0.2 * np.sin(3.5 * x + 0.4)])
    x, y = target_points((size, size), align_corners=True)[:2]
    ripples = 0.09 * np.stack([np.sin(14 * y) * (1 - x * x), np.zeros_like(x)])
    return [
        ("attention", Attention(), np.array([0.5, 0.12, 0.28])),
        ("translation", Translation(), np.array([0.35, -0.2])),
        ("similarity", Similarity(), np.array([0.85, 0.5, 0, 0])),
        ("affine", Affine(), np.array([0.75, 0.45, 0.05, -0.1, 1.05, 0])),
        ("projective", Projective(), np.array([0.85, 0.1, 0.06, 0, 0.85, 0.1, 0.05, 0.28])),
        ("thin plate spline", spline, waves),
        ("piecewise affine", PiecewiseAffine(4), waves),
        ("learned basis", *trained_basis(size)),
        ("displacement", Displacement((size, size)), ripples.ravel()),
    ]


def volume_families() -> list[tuple[str, Transformation, np.ndarray]]:
    """The block from where one stands, nearer; then its front, and its side."""
    front, side = (np.pad(0.7 * R, ((0, 0), (0, 1))).ravel() for R in (askew(), askew() @ turn(1, np.pi / 2)))
    return [
        ("attention 3D", Attention3d(), np.array([0.6, 0, 0, 0])),
        ("affine 3D, the front", Affine3d(), front),
        ("affine 3D, the side", Affine3d(), side),
    ]


def trained_basis(size: int, steps: int = 150) -> tuple[LearnedBasis, np.ndarray]:
    """A basis that has learned from 15 swirls, weak and strong, left and right; and the theta of the last of them."""
    x, y = target_points((size, size), align_corners=True)[:2].reshape(2, size, size)
    angle = np.linspace(-SWIRL, SWIRL, 15)[:, None, None] * np.clip(1 - x * x - y * y, 0, 1) ** 2
    swirls = np.stack([np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y], axis=-1)
    swirls = swirls.astype(np.float32)
    rng = np.random.default_rng(0)
    family = LearnedBasis((size, size), K=7, generator=rng)
    start = family.identity() + rng.normal(0, 0.1, (len(swirls), family.parameters))
    theta = Parameter(start.astype(np.float32))
    adam = optim.Adam([theta, family.B], learning_rate=0.03)
    for _ in range(steps):
        adam.zero_grad()
        F.mse_loss(family(theta), swirls).backward()
        adam.step()
    return family, theta.data[-1]


def draw_kernels(size: int = 112) -> Any:
    """A figure of three rows: an image read beyond its border, a few pixels magnified, and many made fewer."""
    figure = drawing.new_figure(TILE * COLUMNS + 0.75, 3 * (TILE + 0.25))
    axes = figure.subplots(3, COLUMNS)
    rows = (("padding_mode", paddings(size)), ("mode", magnified(size)), ("fewer pixels", minified(size)))
    for row, (label, cells) in zip(axes, rows, strict=True):
        row[0].set_ylabel(label, fontsize=8, color=drawing.QUIET)
        for cell, (title, image) in zip(row, cells, strict=True):
            drawing.draw_image(cell, np.clip(image, 0, 1))
            cell.set_title(title, fontsize=8, color=drawing.INK, pad=4)
    low, high = (size - 1) / 2 * (1 - 1 / BEYOND), (size - 1) / 2 * (1 + 1 / BEYOND)
    for cell in axes[0, 1:]:  # where the image ends
        cell.plot([low, high, high, low, low], [low, low, high, high, low], color=drawing.GRID, linewidth=1.2)
    return figure


def paddings(size: int) -> Cells:
    """The card, and what is read beyond its border."""
    U, theta = card(size, framed=False), np.array([[BEYOND, 0, 0]], np.float32)
    return [("input", U[0])] + [
        (str(padding), F.spatial_transform(U, theta, Attention(), (size, size), padding_mode=padding).data[0])
        for padding in ("zeros", 0.5, "border", "reflection", "wrap")]


def magnified(size: int) -> Cells:
    """A part of a digit of 28 x 28 pixels by each kernel."""
    U, theta = digit(FIVE, 28)[None, None], np.array([[0.5, 0.05, -0.3]], np.float32)
    ways: list[tuple[str, Any, str]] = [(mode, U, mode) for mode in ("nearest", "bilinear", "bicubic", "catmull-rom",
                                                                     "bspline")]
    ways.append(("bspline, prefiltered", F.spline_prefilter(U), "bspline"))
    return [(title, F.spatial_transform(source, theta, Attention(), (size, size), mode=mode).data[0])
            for title, source, mode in ways]


def minified(size: int) -> Cells:
    """Rings that grow finer outwards, on a third of the rows and columns."""
    at = np.linspace(-1, 1, size, dtype=np.float32)
    U = (0.5 + 0.5 * np.cos(0.66 * size * (at * at + at[:, None] ** 2)))[None, None].astype(np.float32)
    theta, small = np.array([[1, 0, 0]], np.float32), (size // 3, size // 3)
    ways = [("nearest", False), ("bilinear", False), ("nearest", True), ("bilinear", True), ("bicubic", True)]
    return [("input", U[0])] + [
        (mode + ", antialias" * antialias, F.spatial_transform(U, theta, Attention(), small, mode=mode,
                                                               padding_mode="reflection", antialias=antialias).data[0])
        for mode, antialias in ways]


def digit(number: int, size: int) -> np.ndarray:
    """One of the program's digits, drawn on size x size pixels in [0, 1]."""
    points, thickness, _ = written(np.random.default_rng([0, 0, 1]))  # the first of seed 0, before they are inked
    scale = np.float32(size / 28)
    image = np.empty((1, size, size), np.uint8)
    ink((points[:, number:number + 1] + np.float32(0.5)) * scale - np.float32(0.5), thickness[number:] * scale, image)
    return image[0] / np.float32(255)


def card(size: int, framed: bool = True) -> np.ndarray:
    """A test card (1, 3, size, size): a digit on a chequered ground, of another colour towards each corner."""
    x = (np.arange(size) + 0.5) / size
    y = x[:, None]
    chequer = np.where((np.floor(8 * x) + np.floor(8 * y)) % 2, 1.22, 0.78)
    ground = np.stack([0.14 + 0.34 * x * (1 - y), 0.22 + 0.30 * y * (1 - x), 0.42 + 0.18 * x * (2 * y - 1)])
    outside = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)) < 0.025
    inked = digit(FIVE, size)
    image = np.where(framed & outside, 0.8, ground * chequer) * (1 - inked) + 0.97 * inked
    return image[None].astype(np.float32)


def block(size: int) -> np.ndarray:
    """A volume (1, 1, size, size, size): one digit from its front, another from its side, and turned askew."""
    front, side = digit(TWO, size), digit(THREE, size)        # (y, x) and (y, z)
    straight = np.minimum(front, side.T[:, :, None])          # (z, y, x)
    theta = np.pad(1.2 * askew().T, ((0, 0), (0, 1)))[None].astype(np.float32)
    return F.spatial_transform(straight[None, None], theta, Affine3d(), (size,) * 3).data


def askew() -> np.ndarray:
    return turn(1, 0.65) @ turn(0, 0.45)


def turn(axis: int, angle: float) -> np.ndarray:
    """A rotation of (x, y, z) about an axis."""
    a, b = (i for i in range(3) if i != axis)
    R = np.eye(3)
    R[a, a] = R[b, b] = np.cos(angle)
    R[a, b], R[b, a] = -np.sin(angle), np.sin(angle)
    return R


def exposed(image: np.ndarray) -> np.ndarray:
    """A sum over the depth as a picture, its brightest parts white."""
    return np.clip(1.8 * image / image.max(), 0, 1)


if __name__ == "__main__":
    sys.exit(main())
