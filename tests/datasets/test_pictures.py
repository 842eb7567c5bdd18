"""Pictures from files, and what is said of those that are none."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from nanostn.datasets import pictures


@pytest.fixture
def image(rng):
    """Seven rows and five columns of noise."""
    return rng.integers(256, size=(7, 5, 3), dtype=np.uint8)


def encoded(image, form="JPEG", **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["png", "ppm"])
def test_what_was_written_is_read(tmp_path, image, form):
    Image.fromarray(image).save(tmp_path / f"a.{form}")
    assert np.array_equal(pictures.read("op", tmp_path / f"a.{form}"), image)
    assert pictures.size_of("op", tmp_path / f"a.{form}") == (5, 7)


def test_grey_and_transparent_ones_come_in_three_colours(tmp_path, image):
    Image.fromarray(image[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([image, image[..., :1]])).save(tmp_path / "clear.png")
    assert np.array_equal(pictures.read("op", tmp_path / "grey.png"), np.repeat(image[..., :1], 3, axis=2))
    assert np.array_equal(pictures.read("op", tmp_path / "clear.png"), image)


def test_a_box_is_resized(tmp_path):
    """Halved, four pixels become their mean; a box of whole pixels in its own size is those pixels."""
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, :, 0], image[:, :, 1] = np.arange(6) * 40, np.arange(4)[:, None] * 40
    Image.fromarray(image).save(tmp_path / "a.png")
    assert np.array_equal(pictures.read("op", tmp_path / "a.png", (3, 2), (2, 1, 5, 3)), image[1:3, 2:5])
    halved = pictures.read("op", tmp_path / "a.png", (3, 2))
    assert halved.shape == (2, 3, 3)
    assert abs(halved[:, 1, 0].astype(int) - 100).max() <= 1   # between the third and the fourth column


def test_a_file_that_is_cut_short_or_no_picture_is_named(tmp_path, image):
    whole = encoded(np.tile(image, (20, 20, 1)))
    for name, content in (("short.jpg", whole[:len(whole) // 2]), ("empty.jpg", b""), ("text.jpg", b"not a picture"),
                          ("other.gif", encoded(image, "GIF"))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"^cub: .*{name} should be a picture .* that does not decode"):
            pictures.read("cub", tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"^cub: .*none\.jpg should be a picture, received no such file"):
        pictures.read("cub", tmp_path / "none.jpg")


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path):
    (tmp_path / "huge.ppm").write_bytes(b"P6 100000 100000 255\n" + bytes(100))
    with pytest.raises(ValueError, match=r"huge\.ppm should be a picture .* does not decode \(Image size"):
        pictures.read("op", tmp_path / "huge.ppm")


def packed(tmp_path, images, **changes):
    files = [encoded(image, quality=100, subsampling=0) for image in images]
    contents = {"jpeg": np.frombuffer(b"".join(files), np.uint8), "first": np.cumsum([0, *map(len, files)]),
                "label": np.arange(len(files)), **changes}
    np.savez(tmp_path / "some.npz", **contents)
    return tmp_path / "some.npz"


def test_packed_pictures(tmp_path):
    shades = [np.full((8, 8, 3), shade, np.uint8) for shade in (10, 100, 200)]
    images, labels = pictures.read_packed("op", packed(tmp_path, shades), "label")
    assert images.shape == (3, 8, 8, 3) and images.dtype == np.uint8 and list(labels) == [0, 1, 2]
    assert abs(images.astype(int) - np.stack(shades)).max() <= 1
    resized, = pictures.read_packed("op", tmp_path / "some.npz", side=5)
    assert resized.shape == (3, 5, 5, 3)


@pytest.mark.parametrize("changes, message", [
    ({"label": np.arange(2)}, r"label for each of its 3 pictures, received \(2,\)"),
    ({"jpeg": np.zeros(9, np.uint8), "first": np.array([0, 5, 4, 9])}, "jpeg .* and first"),
    ({"first": np.array([0, 10, 20, 30])}, "jpeg .* and first"),
    ({"jpeg": np.zeros(9, np.uint8), "first": np.array([0, 3, 6, 9])}, r"picture 0 of .*some\.npz should be a picture"),
    ({"jpeg": np.array([{}])}, "one that cannot be read"),  # nothing is unpickled
])
def test_a_damaged_pack_is_named(tmp_path, changes, message):
    path = packed(tmp_path, [np.zeros((8, 8, 3), np.uint8)] * 3, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        pictures.read_packed("op", path, "label")
    assert "some.npz" in str(caught.value)


def test_a_pack_of_several_sizes_one_cut_short_and_none(tmp_path):
    path = packed(tmp_path, [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)])
    with pytest.raises(ValueError, match="pictures of one size"):
        pictures.read_packed("op", path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"some\.npz should be an \.npz with jpeg, first, label, received one that"):
        pictures.read_packed("op", path, "label")
    with pytest.raises(FileNotFoundError, match=r"none\.npz should be a file of pictures, received none"):
        pictures.read_packed("op", tmp_path / "none.npz")


def test_without_pillow_one_sentence_says_how_to_get_it(tmp_path):
    code = ("import sys; sys.modules['PIL'] = None\nfrom nanostn.datasets import cub, gtsrb, pictures\n"
            "try: pictures.read('cub', 'a.jpg')\nexcept ModuleNotFoundError as error: print(error)")
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == 'pictures: reading them needs pillow; install it with `pip install "nanostn[app]"`'
