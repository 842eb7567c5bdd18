"""A table with what was measured beside what the paper says: on the terminal, as Markdown, as a page with pictures."""

from __future__ import annotations

import html
import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nanostn import drawing, report
from nanostn.checks import argument_error
from nanostn.experiments import find as find_experiment
from nanostn.experiments import options as command_line
from nanostn.experiments import revive
from nanostn.report import Picture
from nanostn.runs import read_result
from nanostn.tables import Cell, Table, find

PUBLISHED = Path(__file__).parent / "published"  # a folder for each table, in it the result.json of its cells' runs
MISSING = "–"
SHOWN = 6        # images of a comparison
LOOKED_AT = 2000  # test images, in search of them

Results = dict[Cell, dict[str, Any]]


def published(name: str) -> Results:
    """The results that come with the package, of all recipes and seeds."""
    return _results(find(name), {path.stem: path for path in (PUBLISHED / name).glob("*.json")})


def finished(table: Table, folder: Path) -> Results:
    """Those of all runs of the table that lie under a folder, whichever were asked for last."""
    return _results(table, {path.parent.name: path for path in folder.glob("*/result.json")})


def _results(table: Table, files: Mapping[str, Path]) -> Results:
    return {cell: read_result(files[name]) or {} for name in sorted(files) if (cell := table.named(name))}


def grid(table: Table, results: Results, recipe: str) -> list[list[str]]:
    """Head and rows as words: what was measured by a recipe, the mean and spread over seeds, and the paper's in
    brackets. Other recipes than the first are for some of the cells: of those, only their rows and columns."""
    here = {cell: result for cell, result in results.items() if cell.recipe == recipe}
    some = here if recipe != next(iter(table.recipes)) else {}
    rows, columns = ([name for name in names if not some or name in {getattr(cell, which) for cell in some}]
                     for names, which in ((table.rows, "row"), (table.columns, "column")))
    further = [(column, name, words) for name, words in table.further for column in columns
               if any(cell.column == column and name in result for cell, result in here.items())]
    lines = [["", *columns, *(f"{column} {words}" for column, _, words in further), *(["mean"] if table.mean else [])]]
    for row in rows:
        numbers = {column: [_shown(table, result) for cell, result in here.items()
                            if (cell.row, cell.column) == (row, column)] for column in columns}
        words = [_words(table, numbers[column], table.paper.get(row, {}).get(column)) for column in columns]
        words += [_words(table, [result[name] for cell, result in here.items()
                                 if (cell.row, cell.column) == (row, column) and name in result], None)
                  for column, name, _ in further]
        if table.mean:
            paper = list(table.paper.get(row, {}).values())
            every = [number for column in columns for number in numbers[column]]
            words.append(_words(table, every if all(numbers.values()) else [],
                                statistics.mean(paper) if paper else None, spread=False))
        lines.append([row, *words])
    counts = [sorted({result["parameters"] for cell, result in here.items()
                      if cell.column == column and "parameters" in result}) for column in columns]
    if any(counts) and not table.mean:
        lines.append(["parameters", *(" to ".join(f"{n:,}" for n in dict.fromkeys((c[0], c[-1]))) if c else ""
                                      for c in counts),
                      *[""] * len(further)])
    return lines


def _shown(table: Table, result: Mapping[str, Any]) -> float:
    """The percentage of a result that a table is about; NaN where the run diverged."""
    error = result["test_error"] if "diverged" not in result else np.nan
    return 100 - error if table.correct else error


def _words(table: Table, numbers: Sequence[float], paper: float | None, spread: bool = True) -> str:
    if not numbers:
        ours = MISSING
    elif np.isnan(numbers).any():
        ours = "diverged"
    else:
        ours = f"{statistics.mean(numbers):.{table.decimals}f}"
        if len(numbers) > 1 and spread:
            ours += f" ± {statistics.stdev(numbers):.{table.decimals}f}"
    if paper is None:
        return ours
    digits = min(table.decimals, 1 if paper == round(paper, 1) else 2)
    return f"{ours} ({paper:.{digits}f})"


def as_text(table: Table, results: Results, recipe: str) -> str:
    """For the terminal."""
    lines = grid(table, results, recipe)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines)
    return "\n".join([heading(table, results, recipe), *rows])


def as_markdown(table: Table, results: Results, recipe: str) -> str:
    """The same as a table of Markdown."""
    head, *rows = grid(table, results, recipe)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def heading(table: Table, results: Results, recipe: str) -> str:
    """What the numbers are, and how long the runs were."""
    here = {cell: result for cell, result in results.items() if cell.recipe == recipe and "steps" in result}
    seeds = sorted({cell.seed for cell in results if cell.recipe == recipe})
    paper = f" ({table.beside})" if table.paper else ""
    options = " ".join(table.recipes[recipe].options) or "all as by default"
    words = [f"{table.title}{paper}", f"recipe {recipe}: {options}"]
    if here:
        steps, epochs = ([result[name] for result in here.values()] for name in ("steps", "epochs"))
        data = ", ".join(sorted({result["data"] for result in here.values()}))
        words += [f"{_range(epochs)} epochs, {_range(steps)} steps of {data}", f"seed {', '.join(map(str, seeds))}"]
        if other := sorted(set().union(*(_further(table, cell, result) for cell, result in here.items()))):
            words.append(f"NOT BY THE RECIPE ALONE, some or all with {' '.join(other)}")
    return "; ".join(words)


def _further(table: Table, cell: Cell, result: Mapping[str, Any]) -> set[str]:
    """Settings of a run, but its length and data, that are not those of its cell and the recipe."""
    words = shlex.split(result["command"])[3:]  # after nanostn train EXPERIMENT
    try:
        changed = command_line.differing(find_experiment(table.experiment), words, table.arguments(cell), "result.json")
    except ValueError as error:
        raise argument_error("table", f"result.json of {cell.name}", "one with a command that this version knows",
                             repr(result["command"]), str(error)) from None
    return {f"--{name.replace('_', '-')} {0 if value is None else value}" for name, value in changed.items()
            if name not in ("epochs", "steps", "data")}


def _range(numbers: Sequence[float]) -> str:
    return " to ".join(f"{n:,.0f}" for n in dict.fromkeys((min(numbers), max(numbers))))


def runs_as_markdown(results: Results) -> str:
    """A line for each run: what it came to, how long it took, where, and the command that makes it."""
    lines = ["| run | test error % | steps | minutes | threads | processor | command |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    for cell, result in results.items():
        at = result.get("machine", {})
        error = "diverged" if "diverged" in result else f"{result['test_error']:.2f}"
        lines.append(f"| {cell.name} | {error} | {result.get('steps', 0):,} | {result.get('seconds', 0) / 60:.1f} | "
                     f"{at.get('threads', '')} | {at.get('processor', '')} | `{result.get('command', '')}` |")
    return "\n".join(lines)


def write(table: Table, results: Results, folder: Path, data_dir: str | None = None) -> list[Path]:
    """table.md and, where matplotlib is, index.html with pictures, in this folder."""
    recipes = [recipe for recipe in table.recipes if any(cell.recipe == recipe for cell in results)]
    parts = [f"# {table.title}", *(f"{heading(table, results, recipe)}\n\n{as_markdown(table, results, recipe)}"
                                   for recipe in recipes), runs_as_markdown(results)]
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "table.md"
    text.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    sections = []
    for recipe in recipes:
        head, *rows = ([html.escape(word) for word in line] for line in grid(table, results, recipe))
        sections.append(f"<p>{html.escape(heading(table, results, recipe))}</p>\n"
                        f"<table>\n{report.table_rows(head, rows)}\n</table>")
    try:
        sections += [report.section(picture, folder) for picture in pictures(table, results, folder, data_dir)]
    except ModuleNotFoundError as error:  # matplotlib
        sections.append(f"<p>{html.escape(str(error))}</p>")
    return [text, report.write_page(folder, table.title, "", sections)]


def pictures(table: Table, results: Results, folder: Path, data_dir: str | None) -> list[Picture]:
    """Of the first seed and recipe that a place of the table has: comparisons by column, and reports of single runs."""
    first: dict[tuple[str, str], Cell] = {}
    for cell, result in sorted(results.items(), key=lambda item: list(table.recipes).index(item[0].recipe)):
        if "diverged" not in result and (folder / cell.name / "checkpoint.h5").exists():
            first.setdefault((cell.row, cell.column), cell)
    found: list[Picture] = []
    if table.compared:
        for column in table.columns:
            pair = [folder / first[row, column].name for row in table.compared if (row, column) in first]
            found += _comparison(pair[0], pair[1], data_dir) if len(pair) == 2 else []
    for row, column in table.pictured:
        if (row, column) in first:
            revived = revive(folder / first[row, column].name, data_dir)
            found += [picture._replace(title=picture.title.format(model=f"{row}, {column}"),
                                       file=f"{row}-{column}-{picture.file}")
                      for picture in revived.experiment.pictures(revived)]
    return found


def _comparison(one: Path, other: Path, data_dir: str | None) -> list[Picture]:
    """Test images that the network in `one` gets wrong and the one in `other`, with a transformer, right."""
    wrong, right = (revive(path, data_dir) for path in (one, other))
    names, column = [each.settings.model for each in (wrong, right)], right.settings.distortion
    images, labels = right.images[:LOOKED_AT], right.labels[:LOOKED_AT]
    seen = report.classes(wrong.model, images)
    chosen = np.flatnonzero((seen != labels) & (report.classes(right.model, images) == labels))[:SHOWN]
    if not len(chosen):
        return []
    looks, _ = report.look(right.model, images[chosen])
    titles = [f"{label}, not {taken}" for label, taken in zip(labels[chosen], seen[chosen], strict=True)]
    sheet = drawing.transformer_sheet(looks[0].U, looks[0].grid, looks[0].V, titles,
                                      align_corners=looks[0].transformer.align_corners)
    text = (f"Of the first {len(images):,} test images some that {names[0]} takes for something else, and what "
            f"{names[1]} does with them.")
    return [Picture(f"{column}: {names[0]} is wrong, {names[1]} right", text, f"{column}-compared.png", sheet)]
