"""Drawing: text that can be read, and a grid drawn where the sampler reads."""

import numpy as np
import pytest

from nanostn import drawing
from nanostn.transformations import Affine3d


def test_text_of_an_image():
    image = np.zeros((5, 3))
    image[0:2, 1] = 1.0  # the first line of text: two rows
    image[2, 2] = 0.5
    assert drawing.as_text(image) == " @ \n  :\n   "  # 0.5 in one of two rows is a quarter
    assert drawing.as_text(np.full((2, 3), 0.7)) == "   "


def test_texts_side_by_side_are_centred_under_titles():
    text = drawing.side_by_side("ab\ncd\nef", "x", titles=["in", "out"], gap=2)
    assert text.split("\n") == ["in  out", "ab", "cd  x", "ef"]


@pytest.mark.parametrize("align_corners", [True, False])
def test_grid_is_drawn_where_the_sampler_reads(align_corners):
    """The identity's rim goes through the centres of the outer pixels, or half a pixel inside the edges: the same."""
    pytest.importorskip("matplotlib")
    H, W = 4, 6
    x, y = np.linspace(-1, 1, W), np.linspace(-1, 1, H)
    if not align_corners:
        x, y = (2 * np.arange(W) + 1) / W - 1, (2 * np.arange(H) + 1) / H - 1
    axes = drawing.new_figure(2, 2).subplots()
    drawing.draw_image(axes, np.zeros((H, W)))
    drawing.draw_grid(axes, np.stack(np.meshgrid(x, y), axis=-1), (H, W), align_corners)
    points = np.concatenate([line.get_xydata() for line in axes.lines])
    assert np.allclose(points.min(axis=0), [0, 0]) and np.allclose(points.max(axis=0), [W - 1, H - 1])
    assert len(axes.lines) == H + W + 1 and np.allclose(axes.lines[-1].get_xydata(), [[0, 0]])


def test_sheet_of_images_is_a_png(tmp_path):
    pytest.importorskip("matplotlib")
    inputs, outputs = np.random.default_rng(0).random((5, 1, 6, 8)), np.zeros((5, 1, 3, 4))
    figure = drawing.transformer_sheet(inputs, np.zeros((5, 3, 4, 2)), outputs, titles=list("abcde"), columns=3)
    image = drawing.png(figure, tmp_path / "sheet.png", dpi=50)
    assert image.startswith(b"\x89PNG") and (tmp_path / "sheet.png").read_bytes() == image


def test_sheet_of_volumes_has_boxes():
    pytest.importorskip("matplotlib")
    grid = Affine3d().grid(np.eye(3, 4)[None], (2, 3, 4)).data
    figure = drawing.transformer_sheet(np.zeros((1, 1, 6, 8)), grid, np.zeros((1, 1, 3, 4)))
    _, middle, _ = figure.axes
    assert len(middle.lines) == 12 + 1                     # its edges, and the dot
    assert np.allclose(middle.lines[-1].get_xydata(), [[0, 0]])
    points = np.concatenate([line.get_xydata() for line in middle.lines])
    assert np.allclose(points.max(axis=0), [7, 5])


@pytest.mark.parametrize("align_corners", [True, False])
def test_box_is_drawn_where_the_sampler_reads(align_corners):
    """Each of the twelve edges once, the four of the first slice thick, the dot on that slice's top left corner."""
    pytest.importorskip("matplotlib")
    size = D, H, W = 3, 4, 6
    theta = np.array([[0.5, 0, 0.25, 0.1, 0, 0.5, 0.125, -0.2, 0, 0, 1, 0]])  # x and y move with z
    grid = Affine3d().grid(theta, size, align_corners).data[0]
    axes = drawing.new_figure(2, 2).subplots()
    drawing.draw_box(axes, grid, size, align_corners)
    z = np.array([-1, 1]) if align_corners else np.array([-2, 2]) / 3  # centres of the outer slices
    x, y = (np.array([-1, 1]), np.array([-1, 1])) if align_corners else (np.array([-5, 5]) / 6, np.array([-3, 3]) / 4)
    half_x, half_y = ((W - 1) / 2, (H - 1) / 2) if align_corners else (W / 2, H / 2)

    def corner(i, j, k):
        return ((0.5 * x[k] + 0.25 * z[i] + 0.1) * half_x + (W - 1) / 2,
                (0.5 * y[j] + 0.125 * z[i] - 0.2) * half_y + (H - 1) / 2)

    *edges, dot = axes.lines
    corners = list(np.ndindex(2, 2, 2))
    expected = {(a, b) for a in corners for b in corners if sorted(np.subtract(b, a)) == [0, 0, 1]}
    assert len(expected) == 12 == len(edges)
    for a, b in expected:
        drawn = [edge for edge in edges if np.allclose(edge.get_xydata()[[0, -1]], [corner(*a), corner(*b)])]
        assert len(drawn) == 1 and (drawn[0].get_linewidth() > 1) == (a[0] == b[0] == 0)
    assert np.allclose(dot.get_xydata(), [corner(0, 0, 0)])


def test_a_palette_makes_a_smaller_file_of_the_same_size(tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    figure = drawing.new_figure(2, 1)
    drawing.draw_image(figure.subplots(), np.random.default_rng(0).random((3, 20, 30)))
    full, small = drawing.png(figure), drawing.png(figure, tmp_path / "small.png", colours=16)
    image = Image.open(tmp_path / "small.png")
    assert len(small) < len(full) and image.size == (240, 120) and len(image.convert("RGB").getcolors()) <= 16


def test_without_matplotlib_one_sentence(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "nanostn\[app\]"'):
        drawing.new_figure(1, 1)
