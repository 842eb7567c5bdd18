"""The paper's tables: which runs their cells are, and what the paper says. `nanostn table NAME` runs and shows them.

A cell is a run of an experiment; the words of its command line follow from its row, its column and the recipe. The
paper's figures are those of arXiv 1506.02025v3, in percent of test images that are wrong. Its text has those of TC and
names no family: they stand beside the affine ones. Those of table 5 by class, and 19.1 of table 4, are known from
others who write about it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nanostn.checks import argument_error
from nanostn.models import FAMILIES, MODELS, VARIANTS
from nanostn.models.birds import MODELS as BIRDS
from nanostn.models.house_numbers import MODELS as HOUSE_NUMBERS
from nanostn.models.traffic_signs import MODELS as SIGNS

Numbers = Mapping[str, Mapping[str, float]]  # row -> column -> percent


class Recipe(NamedTuple):
    """How to train: for how long where nothing is said, and options of the command line."""

    epochs: int
    options: Sequence[str]


# Adam at 0.001 along half a cosine, the program's default, in smaller batches: 10 epochs of st-cnn-affine on R came to
# 1.73 % with 64, 1.96 % with 128 and 2.46 % with 256, of st-cnn-tps on E to 1.72, 2.04 and 2.38 %, measured on the last
# 10,000 training images, which were left out. With 64 and twice the rate E came to 1.63 %: no clear gain.
ADAM = ("--batch-size", "64")
# 150,000 steps of SGD at 0.01, which falls to a tenth every third of them; here in as many steps as are given.
PAPER = ("--optimiser", "sgd", "--momentum", "0.0", "--schedule", "steps", "--batch-size", "256")
# The sample has 7,794 tight crops and 2,500 loose ones: of these a run takes three times the epochs.
SVHN_SAMPLE = ("--data", "svhn-sample", "--width", "0.25", "--batch-size", "16", "--dropout", "0.2", "--vary", "1",
               "--localisation-rate", "0.1")
# 400,000 steps of SGD at 0.01, which falls to a tenth every 80,000, are 217 epochs of 235,754 numbers.
SVHN = ("--data", "svhn-extra", "--batch-size", "128", "--optimiser", "sgd", "--momentum", "0.0", "--schedule",
        "steps", "--decay-every", "80000", "--weight-decay", "0.0005", "--dropout", "0.5")


class Cell(NamedTuple):
    """A place in a table, by a recipe and a seed."""

    row: str
    column: str
    recipe: str
    seed: int

    @property
    def name(self) -> str:
        """Of its run directory, and of its result where that is published."""
        return "-".join([self.row, self.column, self.recipe, f"seed{self.seed}"])


@dataclass(frozen=True)
class Table:
    """Rows and columns, and the runs that fill them; the first recipe is used where none is named."""

    title: str
    experiment: str
    rows: Sequence[str]
    columns: Sequence[str]
    options: Sequence[str]                     # of the experiment, for the cell of {row} and {column}
    paper: Numbers
    recipes: Mapping[str, Recipe]
    beside: str = "the paper's"                # whose figures stand in brackets
    compared: tuple[str, str] | None = None    # rows: the page shows images that only the second gets right
    pictured: Sequence[tuple[str, str]] = ()   # rows and columns: the page shows what the report of their run does
    correct: bool = False                      # percent that are right are shown
    further: Sequence[tuple[str, str]] = ()    # other errors of the results, in columns of their own: name and words
    mean: bool = False                         # over the columns, beside them
    decimals: int = 2

    def cells(self, only: Sequence[str] = (), recipe: str | None = None, seeds: Sequence[int] = (0,)) -> list[Cell]:
        """Those of the rows and columns named in `only`, or of all, column by column."""
        if unknown := [name for name in only if name not in (*self.rows, *self.columns)]:
            raise argument_error("table", "--only", f"some of {', '.join((*self.rows, *self.columns))}", unknown[0])
        rows, columns = ([name for name in names if name in only] or names for names in (self.rows, self.columns))
        recipe = recipe or next(iter(self.recipes))
        if recipe not in self.recipes:
            raise argument_error("table", "--recipe", f"one of {', '.join(self.recipes)}", recipe)
        return [Cell(row, column, recipe, seed) for column in columns for row in rows
                for seed in dict.fromkeys(seeds)]

    def named(self, name: str) -> Cell | None:
        """The cell that is called so, if the table has it."""
        found = re.fullmatch(r"(.+)-(\w+)-(\w+)-seed(\d+)", name)
        if not found or found[1] not in self.rows or found[2] not in self.columns or found[3] not in self.recipes:
            return None
        return Cell(found[1], found[2], found[3], int(found[4]))

    def arguments(self, cell: Cell, length: Sequence[str] = ()) -> list[str]:
        """Of the experiment's command line; `length` is --epochs or --steps, if not that of the recipe."""
        recipe = self.recipes[cell.recipe]
        return [*(word.format(row=cell.row, column=cell.column) for word in self.options), "--seed", str(cell.seed),
                *recipe.options, *(length or ("--epochs", str(recipe.epochs)))]


ADDITION = ("fcn", "cnn", *(f"{which}-fcn-{family}" for which in ("st", "2xst") for family in FAMILIES))

TABLES = {
    "distorted-mnist": Table(
        "Table 1: distorted MNIST, test error %", "distorted-mnist", MODELS, ("R", "RTS", "P", "E", "T", "TC"),
        ("--model", "{row}", "--distortion", "{column}"),
        {"fcn": {"R": 2.1, "RTS": 5.2, "P": 3.1, "E": 3.2, "TC": 13.2},
         "cnn": {"R": 1.2, "RTS": 0.8, "P": 1.5, "E": 1.4, "TC": 3.5},
         "st-fcn-affine": {"R": 1.2, "RTS": 0.8, "P": 1.5, "E": 2.7, "TC": 2.0},
         "st-fcn-projective": {"R": 1.3, "RTS": 0.9, "P": 1.4, "E": 2.6},
         "st-fcn-tps": {"R": 1.1, "RTS": 0.8, "P": 1.4, "E": 2.4},
         "st-cnn-affine": {"R": 0.7, "RTS": 0.5, "P": 0.8, "E": 1.2, "TC": 1.7},
         "st-cnn-projective": {"R": 0.8, "RTS": 0.6, "P": 0.8, "E": 1.3},
         "st-cnn-tps": {"R": 0.7, "RTS": 0.5, "P": 0.8, "E": 1.1}},
        {"short": Recipe(20, ADAM), "long": Recipe(80, ADAM), "paper": Recipe(20, PAPER)},
        compared=("cnn", "st-cnn-affine")),
    "placements": Table(
        "Where a transformer stands: at the input, twice in series, on feature maps, theta fed forward; test error %",
        "distorted-mnist", ("st-cnn-affine", *VARIANTS), ("RTS", "TC"),
        ("--model", "{row}", "--distortion", "{column}"), {}, {"short": Recipe(20, ADAM)},
        pictured=tuple((variant, "RTS") for variant in VARIANTS[:2])),
    "mnist-addition": Table(
        "Table 4: MNIST addition, test error %", "mnist-addition", ADDITION, ("RTS",), ("--model", "{row}"),
        {"fcn": {"RTS": 47.7}, "cnn": {"RTS": 14.7}, "st-fcn-affine": {"RTS": 22.6}, "st-fcn-projective": {"RTS": 18.5},
         "st-fcn-tps": {"RTS": 19.1}, "2xst-fcn-affine": {"RTS": 9.0}, "2xst-fcn-projective": {"RTS": 5.9},
         "2xst-fcn-tps": {"RTS": 5.8}},
        {"long": Recipe(80, ()), "short": Recipe(20, ())}, pictured=(("2xst-fcn-tps", "RTS"),)),
    "co-localisation": Table(
        "Table 5: co-localisation, % of images where the digit is found", "co-localisation", ("T", "TC"),
        tuple("0123456789"), ("--distortion", "{row}", "--digit", "{column}"),
        {"T": dict.fromkeys("0123456789", 100),
         "TC": dict(zip("0123456789", (81, 82, 88, 75, 94, 84, 93, 85, 89, 87), strict=True))},
        {"short": Recipe(50, ())}, correct=True, mean=True, decimals=0,
        pictured=(("T", "8"), ("TC", "8"))),
    "mnist-3d": Table(
        "3D MNIST (A.3; the paper has no figures), test error %", "mnist-3d",
        ("projection-cnn", "cnn-3d", "st-3d-affine"), ("volumes",), ("--model", "{row}"), {}, {"short": Recipe(10, ())},
        pictured=(("st-3d-affine", "volumes"),)),
    "plain-mnist": Table(
        "PyTorch's tutorial: MNIST as it is, test error %", "plain-mnist", ("cnn", "st-cnn-affine"), ("undistorted",),
        ("--model", "{row}"), {"st-cnn-affine": {"undistorted": 1.2}}, {"short": Recipe(20, ())},
        beside="the tutorial's best", pictured=(("st-cnn-affine", "undistorted"),)),
    "cluttered-mnist": Table(
        "The Lasagne example: translated digits among clutter, test error %", "cluttered-mnist",
        ("st-cnn-affine", "cnn"), ("TC",), ("--model", "{row}"), {"st-cnn-affine": {"TC": 6.3}},
        {"short": Recipe(14, ()), "long": Recipe(40, ("--batch-size", "64"))}, beside="the published run's",
        pictured=(("st-cnn-affine", "TC"),)),
    "svhn": Table(
        "Table 2: Street View House Numbers by the side of the images, test error of whole numbers %", "svhn",
        tuple(HOUSE_NUMBERS), ("64", "128"), ("--model", "{row}", "--size", "{column}"),
        {"cnn": {"64": 4.0, "128": 5.6}, "st-cnn-single": {"64": 3.7, "128": 3.9},
         "st-cnn-multi": {"64": 3.6, "128": 3.9}},
        {"sample": Recipe(20, SVHN_SAMPLE), "loose": Recipe(60, SVHN_SAMPLE), "paper": Recipe(217, SVHN)},
        further=(("test_assembled_error", "assembled"),),
        pictured=tuple((model, side) for side in ("64", "128") for model in list(HOUSE_NUMBERS)[1:])),
    "traffic-signs": Table(
        "German traffic signs, test error %", "traffic-signs", tuple(SIGNS), ("32", "48"),
        ("--model", "{row}", "--size", "{column}"),
        {"cnn": dict.fromkeys(("32", "48"), 0.54), "st-cnn": dict.fromkeys(("32", "48"), 0.39)},
        {"sample": Recipe(40, ("--data", "gtsrb-sample")), "whole": Recipe(20, ("--data", "gtsrb", "--filters", "32"))},
        beside="published, by all 39,209 training images, of which the sample has 5,227: a committee of CNNs; one with "
        "transformers", pictured=(("st-cnn", "32"), ("st-st-cnn", "32"))),
    "birds": Table(
        "Table 3: birds (CUB-200-2011), test accuracy %", "birds", tuple(BIRDS), ("112", "224", "448"),
        ("--model", "{row}", "--size", "{column}"),
        {"cnn": {"224": 82.3}, "2xst-cnn": {"224": 83.1, "448": 83.9}, "4xst-cnn": {"448": 84.1}},
        # From scratch, on 1,320 photographs of 44 species; the paper begins with Inception trained on ImageNet, and has
        # 5,994 of 200.
        {"sample": Recipe(60, ("--data", "cub-sample", "--width", "0.25", "--seen", "112")),
         "paper": Recipe(1250, ("--data", "cub", "--optimiser", "sgd", "--momentum", "0.0", "--schedule", "steps",
                                "--decay-every", "10000", "--batch-size", "256"))},
        beside="the paper's, of all 200 species, by Inceptions trained on ImageNet before", correct=True, decimals=1,
        pictured=(("2xst-cnn", "224"),)),
}


def find(name: str) -> Table:
    """A table by its name on the command line."""
    if name not in TABLES:
        raise argument_error("table", "NAME", f"one of {', '.join(TABLES)}", name)
    return TABLES[name]
