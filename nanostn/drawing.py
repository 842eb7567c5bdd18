"""Drawing: an image as text for a terminal; with matplotlib (extra `app`) images with the sampling grid over them.

Figures are made without pyplot: no window system is needed and nothing global is changed.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from nanostn.kernels.sampling.conventions import half_extent

GRID, CORNER, INK, QUIET = "#ff9f1c", "#2ec4b6", "#22303c", "#7b8794"

_RAMP = " .:-=+*#%@"


def as_text(image: np.ndarray) -> str:
    """A grey image (H, W) as lines of characters, from ' ' (its darkest) to '@' (its brightest).

    A character is about twice as tall as it is wide, so it stands for two rows: H/2 lines of W characters.
    """
    rows = np.concatenate([image, image[-1:]]) if len(image) % 2 else image
    grey = rows.reshape(-1, 2, image.shape[1]).mean(axis=1)
    low, high = float(grey.min()), float(grey.max())
    level = (grey - low) / (high - low) if high > low else np.zeros_like(grey)
    return "\n".join("".join(_RAMP[int(v * (len(_RAMP) - 1) + 0.5)] for v in row) for row in level)


def side_by_side(*texts: str, titles: Sequence[str] = (), gap: int = 4) -> str:
    """Texts of several lines next to each other, centred vertically, each under its title."""
    blocks = [text.split("\n") for text in texts]
    height = max(len(block) for block in blocks)
    columns = []
    for block, title in zip_longest(blocks, titles, fillvalue=""):
        width = max(len(title), *map(len, block))
        above = (height - len(block)) // 2
        lines = [""] * above + list(block) + [""] * (height - len(block) - above)
        columns.append([line.ljust(width) for line in ([title] if titles else []) + lines])
    return "\n".join((" " * gap).join(parts).rstrip() for parts in zip(*columns, strict=True))


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure, in inches; without matplotlib one sentence that says how to get it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ModuleNotFoundError('pictures need matplotlib; install it with: pip install "nanostn[app]"') from None
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def png(figure: Any, path: str | Path | None = None, dpi: int = 120, colours: int | None = None) -> bytes:
    """The figure as PNG, also written to `path` where one is given; with a palette of `colours`, a third as large."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    if colours is not None:
        from PIL import Image  # which matplotlib needs too

        reduced = Image.open(buffer).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
        buffer = io.BytesIO()
        reduced.save(buffer, format="png", optimize=True)
    if path is not None:
        Path(path).write_bytes(buffer.getvalue())
    return buffer.getvalue()


def draw_image(axes: Any, image: np.ndarray, margin: float = 0.0) -> None:
    """One image (H, W) or (C, H, W) in [0, 1]: pixel centres at whole numbers, `margin` of its size around it."""
    H, W = image.shape[-2:]
    shown = image if image.ndim == 2 else image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    axes.imshow(shown, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    axes.set_xlim(-0.5 - margin * W, W - 0.5 + margin * W)
    axes.set_ylim(H - 0.5 + margin * H, -0.5 - margin * H)
    axes.set_facecolor("#11161c")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def draw_grid(axes: Any, grid: np.ndarray, size: tuple[int, int], align_corners: bool = True, lines: int = 7) -> None:
    """The sampling grid (H', W', 2) over an image of `size` (H, W): where the output's rows and columns come from.

    Every few lines of the grid, its rim thicker, and a dot on the corner that becomes the top left one of the output.
    """
    x, y = _pixels(grid, size, align_corners)
    for count, line in ((len(x), lambda i: (x[i], y[i])), (x.shape[1], lambda j: (x[:, j], y[:, j]))):
        for i in np.unique(np.linspace(0, count - 1, min(lines, count)).round().astype(int)):
            _line(axes, *line(i), thick=i in (0, count - 1))
    _corner(axes, x[0, 0], y[0, 0])


def draw_box(axes: Any, grid: np.ndarray, size: tuple[int, int, int], align_corners: bool = True) -> None:
    """The edges of a sampling grid (D', H', W', 3), as they are seen along the depth of a volume of `size` (D, H, W).

    Those of its first slice, which is the front of the output, are thicker; the dot is the top left corner there.
    """
    x, y = _pixels(grid, size[1:], align_corners)
    for part in (slice(None), 0, 0), (slice(None), 0, -1), (slice(None), -1, 0), (slice(None), -1, -1):
        for axis in range(3):
            edge = part[-axis:] + part[:-axis]  # along the depth, then along rows, then along columns
            _line(axes, x[edge], y[edge], thick=axis != 0 and edge[0] == 0)
    _corner(axes, x[0, 0, 0], y[0, 0, 0])


def draw_rectangle(axes: Any, box: np.ndarray, colour: str, width: float) -> None:
    """A box (left, top, right, bottom) over an image, in pixels from its upper left corner."""
    left, top, right, bottom = box - 0.5  # the first pixel's centre is at 0
    axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=colour, linewidth=width)


def _pixels(grid: np.ndarray, size: tuple[int, int], align_corners: bool) -> tuple[np.ndarray, np.ndarray]:
    """x and y of a grid's points, counted in pixels from the centre of the top left one."""
    H, W = size
    x, y = grid[..., 0], grid[..., 1]
    return half_extent(W, align_corners) * x + (W - 1) / 2, half_extent(H, align_corners) * y + (H - 1) / 2


def _line(axes: Any, x: np.ndarray, y: np.ndarray, thick: bool) -> None:
    axes.plot(x, y, color=GRID, linewidth=1.8 if thick else 0.7, alpha=1.0 if thick else 0.8, solid_capstyle="round")


def _corner(axes: Any, x: float, y: float) -> None:
    axes.plot(x, y, marker="o", markersize=4.5, color=CORNER, markeredgecolor="white", markeredgewidth=0.6)


def transformer_sheet(inputs: np.ndarray, grids: np.ndarray, outputs: np.ndarray, titles: Sequence[str] = (),
                      columns: int = 6, tile: float = 1.25, align_corners: bool = True) -> Any:
    """A figure: for each image the input, the sampling grid over it, and the transformer's output, one above the other.

    inputs (N, C, H, W), grids (N, H', W', 2), outputs (N, C, H', W'); `titles` are written above the inputs. Grids (N,
    D', H', W', 3) are drawn as boxes, over the inputs as they are seen along the depth.
    """
    columns = min(columns, len(inputs))
    blocks = -(-len(inputs) // columns)
    figure = new_figure(tile * columns + 0.75, (3 * tile + 0.5) * blocks)
    axes = figure.subplots(3 * blocks, columns, squeeze=False)
    for cell in axes.ravel():
        cell.axis("off")
    for n, (image, grid, output) in enumerate(zip(inputs, grids, outputs, strict=True)):
        block, column = divmod(n, columns)
        top, middle, bottom = (axes[3 * block + row, column] for row in range(3))
        for cell, content, margin in ((top, image, 0.0), (middle, image, 0.2), (bottom, output, 0.0)):
            cell.axis("on")
            draw_image(cell, np.clip(content, 0.0, 1.0), margin)
        if grid.ndim == 3:
            draw_grid(middle, grid, (image.shape[-2], image.shape[-1]), align_corners)
        else:
            draw_box(middle, grid, (len(grid), image.shape[-2], image.shape[-1]), align_corners)
        if titles:
            top.set_title(titles[n], fontsize=8, color=INK, pad=4)
        if column == 0:
            for cell, label in ((top, "input"), (middle, "sampling grid"), (bottom, "output")):
                cell.set_ylabel(label, fontsize=8, color=QUIET)
    return figure


def boxes_sheet(images: np.ndarray, boxes: np.ndarray, truth: np.ndarray, titles: Sequence[str]) -> Any:
    """A figure: a row for each image (N, 1, H, W), a column for each title, and in it a box of `boxes` (columns, N, 4).

    Boxes are (left, top, right, bottom) in pixels; those of `truth` (N, 4) are drawn thin, in every column.
    """
    tile = 1.25
    figure = new_figure(tile * len(titles), tile * len(images) + 0.3)
    for row, cells in enumerate(figure.subplots(len(images), len(titles), squeeze=False)):
        for cell, title, box in zip(cells, titles, boxes[:, row], strict=True):
            draw_image(cell, images[row], margin=0.02)
            draw_rectangle(cell, truth[row], CORNER, 0.8)
            draw_rectangle(cell, box, GRID, 1.6)
            if row == 0:
                cell.set_title(title, fontsize=8, color=INK, pad=4)
    return figure


def boxes_animation(images: np.ndarray, boxes: np.ndarray, truth: np.ndarray, titles: Sequence[str], columns: int = 6,
                    zoom: int = 2) -> bytes:
    """A GIF whose frames, one for each title, show the images (N, 1, H, W) side by side, each with its box.

    `boxes` (frames, N, 4) and `truth` as for `boxes_sheet`. Needs Pillow, which comes with matplotlib.
    """
    from PIL import Image, ImageDraw

    N, _, H, W = images.shape
    head = 16  # pixels above the images, for the title
    sheet = Image.new("RGB", (columns * (W + 2) * zoom, -(-N // columns) * (H + 2) * zoom + head), INK)
    corners = np.array([(zoom * (W + 2) * (n % columns), zoom * (H + 2) * (n // columns) + head) for n in range(N)])
    for corner, (image,) in zip(corners, images, strict=True):
        grey = Image.fromarray(np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8))
        sheet.paste(grey.resize((zoom * W, zoom * H), Image.Resampling.NEAREST), tuple(corner.tolist()))
    frames = []
    for title, found in zip(titles, boxes, strict=True):
        frame = sheet.copy()
        pen = ImageDraw.Draw(frame)
        pen.text((4, 2), title, fill="white")
        for each, colour in ((truth, CORNER), (found, GRID)):
            for box in zoom * each + np.tile(corners, 2):
                pen.rectangle(box.tolist(), outline=colour, width=zoom)
        frames.append(frame.quantize(64))
    buffer = io.BytesIO()
    frames[0].save(buffer, format="GIF", save_all=True, append_images=frames[1:], loop=0,
                   duration=[150] * (len(frames) - 1) + [2000])
    return buffer.getvalue()
