"""Pictures from files (JPEG, PNG, PPM) and back, through pillow (extra `app`), which is imported when one is read.

A picture that cannot be decoded raises ValueError with the file's name, one that is missing FileNotFoundError. Pillow
decodes without Python's lock, so that `in_threads` reads several at a time.
"""

import io
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from nanostn.checks import argument_error

FORMATS = ("JPEG", "PNG", "PPM")
DAMAGED = "is it cut short, or another file under this name?"
THREADS = 4               # two decode on two cores, while others wait for the disk


def pillow() -> Any:
    """The module PIL.Image; without pillow one sentence that says how to get it."""
    try:
        from PIL import Image
    except ImportError:
        raise ModuleNotFoundError('pictures: reading them needs pillow; install it with `pip install "nanostn[app]"`') \
            from None
    return Image


def size_of(op: str, path: Path) -> tuple[int, int]:
    """Width and height of the picture in a file, from the head of it alone."""
    with opened(op, path) as picture:
        return picture.size


def read(op: str, path: Path, size: tuple[int, int] | None = None,
         box: tuple[float, ...] | None = None) -> np.ndarray:
    """A picture file as uint8 (H, W, 3). With `size` (width, height) it is resized to that, bilinearly and averaged
    where it shrinks; of it only `box` (left, top, right, bottom) in pixels, whole or not, where there is one.
    """
    with opened(op, path) as picture:
        return pixels(op, path, picture, size, box)


def read_packed(op: str, path: Path, *names: str, side: int | None = None) -> tuple[np.ndarray, ...]:
    """The pictures of an .npz, uint8 (N, S, S, 3), and the arrays of these `names` in it, each of N rows.

    `jpeg` holds N JPEG files of one size one after the other, and `first` (N + 1,) where each of them begins. They are
    resized to `side` where one is given.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{op}: {path} should be a file of pictures, received none; say where it lies with "
                                "--data-dir or NANOSTN_DATA")
    try:
        with np.load(path) as contents:  # nothing pickled is read
            jpeg, first, *arrays = (contents[name] for name in ("jpeg", "first", *names))
    except Exception as error:  # whatever a damaged zip file can raise
        raise argument_error(op, str(path), f"an .npz with {', '.join(('jpeg', 'first', *names))}",
                             f"one that cannot be read ({error})", DAMAGED) from None
    whole = jpeg.dtype == np.uint8 and jpeg.ndim == first.ndim == 1 and first.dtype.kind in "iu" and len(first) > 1
    if not whole or first[0] or first[-1] != len(jpeg) or (first[1:] <= first[:-1]).any():
        raise argument_error(op, str(path), "an .npz with jpeg (bytes,) uint8 and first (N + 1,), from 0 up to its end",
                             f"jpeg {jpeg.shape} {jpeg.dtype}, first {first.shape} {first.dtype}", DAMAGED)
    for name, array in zip(names, arrays, strict=True):
        if array.shape[:1] != (len(first) - 1,):
            raise argument_error(op, str(path), f"an .npz with {name} for each of its {len(first) - 1} pictures",
                                 str(array.shape), DAMAGED)

    def unpacked(n: int) -> np.ndarray:
        where = f"picture {n} of {path}"
        with opened(op, where, io.BytesIO(jpeg[first[n]:first[n + 1]].tobytes())) as picture:
            return pixels(op, where, picture, None if side is None else (side, side))

    images = [unpacked(n) for n in range(len(first) - 1)]
    if len(shapes := {image.shape for image in images}) > 1:
        raise argument_error(op, str(path), "an .npz with pictures of one size",
                             " and ".join(sorted(f"{W} x {H}" for H, W, _ in shapes)[:2]))
    return np.stack(images), *arrays


def opened(op: str, path: Path | str, content: io.BytesIO | None = None) -> Any:
    """The file, or its `content`, as a picture of pillow's, of which no pixel has been read."""
    Image = pillow()
    try:
        return Image.open(path if content is None else content, formats=FORMATS)
    except FileNotFoundError:
        raise FileNotFoundError(f"{op}: {path} should be a picture, received no such file; is the data set whole?") \
            from None
    except Exception as error:  # whatever a damaged or hostile file can raise
        raise undecodable(op, path, error) from None


def pixels(op: str, path: Path | str, picture: Any, size: tuple[int, int] | None = None,
           box: tuple[float, ...] | None = None) -> np.ndarray:
    """What `read` returns, of an opened picture."""
    try:
        coloured = picture.convert("RGB")
        return np.asarray(coloured if size is None else coloured.resize(size, pillow().Resampling.BILINEAR, box))
    except Exception as error:  # whatever a damaged or hostile file can raise
        raise undecodable(op, path, error) from None


def undecodable(op: str, path: Path | str, error: Exception) -> ValueError:
    said = (str(error) or type(error).__name__).splitlines()[0]
    return argument_error(op, str(path), "a picture (" + ", ".join(FORMATS) + ")", f"one that does not decode ({said})",
                          DAMAGED)


def in_threads(read_one: Callable[[Any], Any], items: Iterable[Any]) -> list:
    """`read_one` of every item, in their order, a few at a time."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(read_one, items))
