"""The report: what a run learned, as pictures. Learning curves, and for test images the input, the sampling grid drawn
over it, and the transformer's output; PNG files, and one HTML page that holds them all.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nanostn import drawing, no_grad
from nanostn.finite import after_forward
from nanostn.grid_generator import sampling_grid
from nanostn.nn import Module, SpatialTransformer
from nanostn.runs import Revived, new_folder
from nanostn.tensor import Tensor

IMAGES = 12
COLOURS = ("#2a6fbb", "#e76f51", "#2a9d8f", "#8e5ea2", "#c49b0b", "#6b7785")


class Picture(NamedTuple):
    """A part of the page: a heading, a sentence under it, the name of its file, and a matplotlib figure for a PNG file,
    or the bytes of another picture, such as a GIF."""

    title: str
    text: str
    file: str
    figure: Any


class Look(NamedTuple):
    """What a transformer did with some images: its input U, the grid (N, H', W', 2) that it read, the output V.

    Of a transformer over volumes, U (N, C, D, H, W) and the grid (N, D', H', W', 3).
    """

    name: str
    transformer: SpatialTransformer
    U: np.ndarray
    grid: np.ndarray
    V: np.ndarray


def find_transformer(model: Module) -> SpatialTransformer | None:
    """The first spatial transformer of a network, or None."""
    return next((module for _, module in model.named_modules() if isinstance(module, SpatialTransformer)), None)


def look(model: Module, images: np.ndarray) -> tuple[list[Look], np.ndarray]:
    """What each transformer of the network does with these images, and the classes that the network finds."""
    looks: list[Look] = []
    inputs: dict[int, Tensor] = {}
    watched = {name: module for name, module in model.named_modules() if isinstance(module, SpatialTransformer)}

    def given(name: str, U: Tensor) -> None:
        inputs[id(watched[name])] = U

    def sampled(name: str, theta: Tensor) -> None:
        transformer = watched[name]
        U = inputs[id(transformer)]
        grid = sampling_grid(theta, transformer.transformation, transformer.size, transformer.align_corners)
        looks.append(Look(name, transformer, U.numpy(), grid.numpy(), transformer.transform(U, theta).numpy()))

    localisations = [(name, module.localisation) for name, module in watched.items()]
    with no_grad(), after_forward(localisations, sampled, before=given):
        found = model(Tensor(np.ascontiguousarray(images)).to(model.device)).numpy().argmax(axis=1)
    return looks, found


def classes(model: Module, images: Any, batch_size: int = 500) -> np.ndarray:
    """The classes that a network finds."""
    with no_grad():
        return np.concatenate([model(Tensor(images[i:i + batch_size]).to(model.device)).numpy().argmax(axis=1)
                               for i in range(0, len(images), batch_size)])


def movement(look: Look) -> np.ndarray:
    """How far the transformer moves each image's sampling grid from the identity, on average over its points."""
    transformer = look.transformer
    identity = np.ravel(transformer.transformation.identity())[None].astype(look.grid.dtype)
    with no_grad():
        still = sampling_grid(Tensor(identity).to(transformer.device), transformer.transformation, transformer.size,
                              transformer.align_corners).numpy()
    return np.abs(look.grid - still).mean(axis=(1, 2, 3))


def write(revived: Sequence[Revived], output: str | Path | None = None) -> Path:
    """Write index.html and its pictures to `output` and return the page's path.

    Without an `output` the page of a run goes to report/ in its directory, and one of several, which share the table
    and the learning curves for comparison, to a new folder beside the first: it replaces no other page. Needs
    matplotlib (extra `app`).
    """
    several = len(revived) > 1
    if output is not None:
        folder = Path(output)
    else:
        first = revived[0].run.path
        folder = new_folder(first.absolute().parent, "comparison") if several else first / "report"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"report: --output should be a place to write in, received {str(folder)!r} "
                         f"({error.strerror})") from None
    pictures = []
    if any(each.run.metrics() for each in revived):  # a run may have been interrupted in its first epoch
        pictures.append(Picture("Learning curves", "", "learning-curves.png", draw_curves(revived)))
    for number, (name, each) in enumerate(zip(_labels(revived), revived, strict=True), 1):
        for picture in each.experiment.pictures(each):
            file = f"-{number}.".join(picture.file.rsplit(".", 1)) if several else picture.file
            pictures.append(picture._replace(title=picture.title.format(model=name), file=file))
    sections = [section(picture, folder) for picture in pictures]
    return write_page(folder, _heading(revived), _table(revived), sections)


def write_page(folder: Path, title: str, table: str, sections: Sequence[str]) -> Path:
    """index.html in this folder: a title, a table's rows, and sections, both HTML."""
    page = folder / "index.html"
    page.write_text(_PAGE.format(title=html.escape(title), table=table, sections="\n".join(sections)),
                    encoding="utf-8", errors="backslashreplace")  # a directory's name may be no text
    return page


def section(picture: Picture, folder: Path) -> str:
    """A picture as a part of the page, and as a file of its own beside it."""
    file, content = folder / picture.file, picture.figure
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        content = drawing.png(content, file)
    image = base64.b64encode(content).decode()
    title = html.escape(picture.title)
    return (f'<h2>{title}</h2>\n<p>{html.escape(picture.text)}</p>\n'
            f'<img alt="{title}" src="data:image/{file.suffix[1:]};base64,{image}">')


def transformer_pictures(revived: Revived) -> list[Picture]:
    """For the first test images, of each transformer over images: what it is given, where it looks, what it makes."""
    if find_transformer(revived.model) is None:
        return []
    images, labels = revived.images[:IMAGES], revived.labels[:IMAGES]
    looks, found = look(revived.model, images)
    titles = [f"{label}" if label == seen else f"{label}, taken for {seen}"
              for label, seen in zip(labels, found, strict=True)]
    pictures = []
    for number, (name, transformer, U, grid, V) in enumerate(looks, 1):
        which = f", {name}" if len(looks) > 1 else ""
        sheet = drawing.transformer_sheet(visible(U), grid, visible(V), titles,
                                          align_corners=transformer.align_corners)
        text = (f"The first {len(images)} test images. Above: what the transformer is given. Middle: where it samples "
                "that; the dot is the corner that becomes the top left one. Below: what it makes of it."
                + ("" if U.shape[1] in (1, 3) else " Feature maps are shown as their mean over the channels."))
        file = "transformer.png" if len(looks) == 1 else f"transformer-{number}.png"
        pictures.append(Picture("What {model} looks at" + which, text, file, sheet))
    return pictures


def visible(images: np.ndarray) -> np.ndarray:
    """Images of one or three channels as they are; feature maps (N, C, H, W) as their mean, each from 0 to 1.

    Volumes (N, C, D, H, W) are seen along their depth, and sums over it, which may be above 1, are as bright as fits.
    """
    if images.ndim == 5:
        images = images.sum(axis=2)
    if images.shape[1] in (1, 3):
        return images / np.maximum(images.max(axis=(1, 2, 3), keepdims=True), 1)
    mean = images.mean(axis=1, keepdims=True)
    low, high = (edge(mean, axis=(1, 2, 3), keepdims=True) for edge in (np.min, np.max))
    return (mean - low) / np.maximum(high - low, 1e-12)


def draw_curves(revived: Sequence[Revived]) -> Any:
    """Test error (and, thin, training error) and training loss over the epochs, a colour per run."""
    figure = drawing.new_figure(9, 3.4)
    errors, losses = figure.subplots(1, 2)
    for each, name, colour in zip(revived, _labels(revived), COLOURS * len(revived), strict=False):
        rows = each.run.metrics()
        epochs = [row["epoch"] for row in rows]
        marker = "o" if len(rows) < 30 else ""
        test, train = ([row.get(column, np.nan) for row in rows] for column in ("test_error", "train_error"))
        errors.plot(epochs, test, color=colour, marker=marker, markersize=3.5, label=name)
        errors.plot(epochs, train, color=colour, linewidth=0.8, linestyle=":")
        losses.plot(epochs, [row["train_loss"] for row in rows], color=colour, marker=marker, markersize=3.5)
    for axes, title in ((errors, "test error, % (dotted: training)"), (losses, "training loss")):
        finish_curves(axes, title)
    errors.legend(fontsize=8, frameon=False)
    return figure


def finish_curves(axes: Any, title: str) -> None:
    """Logarithmic scale, title and grid of curves over epochs."""
    _scale(axes)
    axes.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.tick_params(which="minor", length=0)
    axes.tick_params(colors=drawing.QUIET, labelsize=8, which="both")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_title(title, fontsize=10, color=drawing.INK, loc="left")
    axes.set_xlabel("epoch", fontsize=9, color=drawing.QUIET)
    axes.grid(which="both", color="#e6eaee", linewidth=0.6)
    for side in axes.spines.values():
        side.set_visible(False)


def _scale(axes: Any) -> None:
    """Logarithmic, but for values below the least that is not 0: a logarithm would leave an error of 0 out."""
    values = np.concatenate([line.get_ydata() for line in axes.lines])
    if (values == 0).any():
        axes.set_yscale("symlog", linthresh=min(values[values > 0], default=1.0))
        axes.set_ylim(bottom=0)
    else:
        axes.set_yscale("log")


def draw_example(revived: Revived, path: str | Path, digits: int = 6) -> None:
    """The picture at the head of the README: distorted digits, the grid over each, the straightened digits.

    A digit of each class, of those that the network recognises the one that its transformer moves most.
    """
    model, images, labels = revived.model, revived.images[:500], revived.labels[:500]
    looks, found = look(model, images)
    if not looks:
        raise ValueError("draw_example: the run should be of a network with a transformer, "
                         f"received {revived.settings.model!r}")
    first = looks[0]
    moved = movement(first) * (found == labels)
    best = [max(np.flatnonzero(labels == digit), key=lambda n: moved[n]) for digit in np.unique(labels)]
    chosen = sorted(sorted(best, key=lambda n: -moved[n])[:digits], key=lambda n: labels[n])
    inputs, outputs = visible(first.U), visible(first.V)
    drawing.png(drawing.transformer_sheet(inputs[chosen], first.grid[chosen], outputs[chosen], columns=digits,
                                          align_corners=first.transformer.align_corners), path, dpi=130)


def _labels(revived: Sequence[Revived]) -> list[str]:
    """The model of each run; where a model is there twice, with the run's directory."""
    models = [each.settings.model for each in revived]
    return [model if models.count(model) == 1 else f"{model} ({each.run.path.name})"
            for each, model in zip(revived, models, strict=True)]


def _heading(revived: Sequence[Revived]) -> str:
    return "; ".join(dict.fromkeys(
        ", ".join([each.experiment.name, *each.experiment.told(each.settings), each.settings.data])
        for each in revived))


def _table(revived: Sequence[Revived]) -> str:
    head = ("model", "epochs", "steps", "parameters", "test error", "minutes", "seed", "run directory")
    rows = []
    for (_, run, settings, *_), name in zip(revived, _labels(revived), strict=True):
        result, last = run.result() or {}, (run.metrics() or [{}])[-1]
        error = last.get("test_error")
        rows.append((html.escape(name), f"{last.get('epoch', 0):.0f}", f"{last.get('steps', 0):,.0f}",
                     "diverged" if "diverged" in result else f"{result['parameters']:,}" if result else "unfinished",
                     "" if error is None else f"<b>{error:.2f} %</b>", f"{last.get('seconds', 0) / 60:.1f}",
                     f"{settings.seed}", html.escape(str(run.path))))
    return table_rows(head, rows)


def table_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows of a table in HTML; cells are HTML themselves."""
    return "\n".join("<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"
                     for tag, cells in [("th", head), *(("td", row) for row in rows)])


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>nanostn: {title}</title>
<style>
body {{ max-width: 62rem; margin: 2.5rem auto; padding: 0 1.25rem; color: #22303c; background: #fff;
       font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }}
h1 {{ font-size: 1.6rem; margin-bottom: 1.2rem; }}
h2 {{ font-size: 1.15rem; margin: 2.4rem 0 .3rem; }}
p {{ color: #52606d; margin: 0 0 .8rem; max-width: 46rem; }}
table {{ border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: .4rem 1.1rem .4rem 0; border-bottom: 1px solid #e6eaee; }}
th {{ font-weight: 500; color: #7b8794; }}
img {{ max-width: 100%; height: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
<table>
{table}
</table>
{sections}
</body>
</html>
"""
