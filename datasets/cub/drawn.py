"""Birds drawn by the program, in the layout of CUB-200-2011: the class is told by two fine markings alone.

    class = a marking of the head (4) x a marking of the body (4)

Everything else is drawn by lot and tells nothing: colours, size, place, pose, proportions, which way the bird looks,
the twigs and leaves around it. A marking is a few pixels wide, and neither suffices: who finds the head and looks
closely knows one in four classes, who finds the body as well knows them all.
"""

from functools import partial
from pathlib import Path

import numpy as np

from nanostn.checkpoints import remove_unfinished, write_atomically
from nanostn.checks import argument_error
from nanostn.kernels.compiling.caching import cache_directory

from .. import pictures
from .bird import BODIES, HEADS, Bird

CLASSES = [(head, body) for head in HEADS for body in BODIES]
TRAIN, TEST = 60, 30      # of each class
VERSION = 1               # raise it when the birds change, so that older ones are drawn anew


def drawn_birds(folder: Path | None = None, train: int = TRAIN, test: int = TEST) -> Path:
    """Draw the birds, `train` and `test` of each class, and return their folder; what is there already stays.

    Picture n comes from the seed n: a drawing that was interrupted goes on where it was. images.txt comes last, and
    without it no folder passes for a whole one.
    """
    folder = folder or cache_directory() / f"drawn-birds-v{VERSION}"
    if (folder / "images.txt").is_file():
        return folder
    pictures.pillow()
    tables: dict[str, list[str]] = {"train_test_split": [], "image_class_labels": [], "bounding_boxes": [],
                                    "part_locs": [], "classes": [], "images": []}
    try:
        for label, marks in enumerate(CLASSES, 1):
            name = f"{label:03}." + "_".join(marks).replace(" ", "_")
            tables["classes"].append(f"{label} {name}")
            (folder / "images" / name).mkdir(parents=True, exist_ok=True)
            remove_unfinished(folder / "images" / name)
            for i in range(train + test):
                number = len(tables["images"]) + 1
                file = folder / "images" / name / f"{number:05}.jpg"
                bird = Bird(*marks, np.random.default_rng([VERSION, number]))
                if not file.is_file():
                    write_atomically(file, partial(bird.painted().save, format="JPEG", quality=92))
                tables["images"].append(f"{number} {name}/{file.name}")
                tables["image_class_labels"].append(f"{number} {label}")
                tables["train_test_split"].append(f"{number} {int(i < train)}")
                tables["bounding_boxes"].append(f"{number} " + " ".join(f"{v:.1f}" for v in bird.box))
                tables["part_locs"] += [f"{number} {part} {x:.1f} {y:.1f} {seen:.0f}"
                                        for part, (x, y, seen) in enumerate(bird.parts, 1)]
        for table, lines in tables.items():
            text = "\n".join(lines) + "\n"
            write_atomically(folder / f"{table}.txt", partial(Path.write_text, data=text, encoding="utf-8"))
    except OSError as error:
        raise argument_error("drawn_birds", "the cache directory", "a folder that can be written",
                             f"{folder} ({error.strerror})", "XDG_CACHE_HOME can name another") from None
    return folder
