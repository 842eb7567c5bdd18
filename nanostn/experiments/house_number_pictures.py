"""Where the transformers of a network that reads house numbers look: each by itself, and all of them as one."""

from __future__ import annotations

from typing import Any

import numpy as np

from nanostn import drawing, report
from nanostn.composition import composed
from nanostn.datasets.coloured import planes
from nanostn.datasets.svhn import LONGEST
from nanostn.functional import spatial_transform
from nanostn.models.house_numbers import as_text, prepared
from nanostn.report import Look, Picture
from nanostn.runs import Revived
from nanostn.transformations import Affine

IMAGES = 8


def pictures(revived: Revived) -> list[Picture]:
    """Of the first test images what each transformer reads, and what the product of all reads of the image."""
    labels = revived.labels[:IMAGES, :LONGEST]
    images = revived.images[:len(labels)]
    looks, found = report.look(revived.model, prepared(images))
    if not looks:
        return []
    titles = [as_text(truth) + (f", read {as_text(seen) or 'as none'}" if (seen != truth).any() else "")
              for truth, seen in zip(labels, found, strict=True)]
    text = f"The first {len(titles)} test images, and where the transformer reads them."
    if len(looks) > 1:
        text = (f"The first {len(titles)} test images. Then, for each of {len(looks)} transformers in series, where it "
                "reads what it is given: the image, and feature maps, of which the mean over the channels is shown. "
                "Their product, drawn on the image, is what the layer behind the last one sees of it.")
    text += " The dot is the corner that becomes the top left one; the last row is what is inside of the box."
    shown = planes(images)
    product = composed(revived.model, images.shape[1:3], [look.theta for look in looks])
    return [Picture("What {model} looks at", text, "transformers.png", sheet(shown, looks, product, titles))]


def sheet(images: np.ndarray, looks: list[Look], product: np.ndarray, titles: list[str]) -> Any:
    """A figure: a column for each image (N, 3, H, W), and rows for it, for the box of each transformer over its input,
    and, where there are several, for that of their `product` theta (N, 6) over the image; at last what it holds."""
    size = images.shape[2:]
    theta = product.astype(np.float32)
    rows = [(f"transformer {number}", images if number == 1 else report.visible(look.U), look.grid,
             look.transformer.align_corners) for number, look in enumerate(looks, 1)]
    if len(looks) > 1:
        rows.append(("product", images, Affine().grid(theta, size).numpy(), True))
    inside = spatial_transform(images, theta, Affine(), size).numpy()
    figure = drawing.new_figure(1.25 * len(images) + 0.4, 1.25 * (len(rows) + 2) + 0.3)
    first, *middle, last = figure.subplots(len(rows) + 2, len(images), squeeze=False)
    for cells, name, pictures in ((first, "image", images), (last, "inside", inside)):
        for cell, picture in zip(cells, pictures, strict=True):
            drawing.draw_image(cell, picture.clip(0, 1))
        cells[0].set_ylabel(name, fontsize=8, color=drawing.QUIET)
    for cells, (name, pictures, grids, align_corners) in zip(middle, rows, strict=True):
        for cell, picture, grid in zip(cells, pictures, grids, strict=True):
            drawing.draw_image(cell, picture.clip(0, 1), margin=0.2)
            drawing.draw_grid(cell, grid, picture.shape[1:], align_corners, lines=2)
        cells[0].set_ylabel(name, fontsize=8, color=drawing.QUIET)
    for cell, title in zip(first, titles, strict=True):
        cell.set_title(title, fontsize=8, color=drawing.INK, pad=4)
    return figure
