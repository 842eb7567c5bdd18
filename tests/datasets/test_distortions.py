import numpy as np
import pytest

from nanostn.datasets import distortions
from nanostn.datasets.distortions import CORNERS, RADIUS, distort, homography, kinds, similarity, size_of
from nanostn.sampler import spatial_transform
from nanostn.transformations import Affine, Projective


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(256, size=(11, 28, 28), dtype=np.uint8)


def shown(images, angle, scale, shift, size):
    """Images through `similarity`, one pose for all, as (N, size, size)."""
    N = len(images)
    theta = similarity(np.full(N, angle), np.full(N, float(scale)), np.tile(np.array(shift, float), (N, 1)), size)
    U = np.ascontiguousarray(images, np.float32)[:, None]
    return spatial_transform(U, theta.astype(np.float32), Affine(), (size, size)).data[:, 0]


def blob(row, column):
    """One image of a soft spot round a position."""
    at = np.arange(28)
    return np.exp(-((at[:, None] - row) ** 2 + (at - column) ** 2) / 3)[None]


def centre(image):
    """Where the ink is, from the middle of the image: x to the right and y down."""
    at = np.arange(image.shape[-1]) - (image.shape[-1] - 1) / 2
    return np.array([(image.sum(axis=0) * at).sum(), (image.sum(axis=1) * at).sum()]) / image.sum()


def test_no_distortion_gives_the_image_back(images):
    np.testing.assert_allclose(shown(images, 0, 1, (0, 0), 28), images, atol=0.002)
    canvas = shown(images, 0, 1, (0, 0), 42)
    np.testing.assert_allclose(canvas[:, 7:35, 7:35], images, atol=0.02)
    canvas[:, 7:35, 7:35] = 0
    assert abs(canvas).max() < 0.02


def test_a_bright_pixel_moves_to_where_it_should():
    image = np.zeros((1, 28, 28))
    image[0, 4, 20] = 1
    canvas = shown(image, 0, 1, (3, -5), 42)               # 3 to the right, 5 up, after the 7 of the canvas
    assert np.unravel_index(canvas.argmax(), canvas.shape) == (0, 4 + 7 - 5, 20 + 7 + 3)
    assert canvas.max() == pytest.approx(1, abs=1e-4) and canvas.sum() == pytest.approx(1, abs=1e-3)


def test_a_quarter_turn_is_anticlockwise(images):
    np.testing.assert_allclose(shown(images, np.pi / 2, 1, (0, 0), 28), np.rot90(images, axes=(1, 2)), atol=0.01)


def test_turn_scale_and_shift_together():
    spot, angle, scale, shift = blob(9, 18), 0.6, 0.8, np.array([5.0, -3.0])
    q = centre(spot[0])
    turned = np.array([q[0] * np.cos(angle) + q[1] * np.sin(angle), -q[0] * np.sin(angle) + q[1] * np.cos(angle)])
    canvas = shown(spot, angle, scale, shift, 42)[0]
    np.testing.assert_allclose(centre(canvas), scale * turned + shift, atol=0.02)
    assert canvas.sum() == pytest.approx(scale ** 2 * spot.sum(), rel=0.01)


def test_homography_takes_the_corners_where_they_should_go():
    corners = CORNERS + np.random.default_rng(1).normal(0, 0.2, (5, 4, 2))
    M = np.concatenate([homography(corners), np.ones((5, 1))], axis=1).reshape(5, 3, 3)
    source = np.einsum("nij,nkj->nki", M, np.concatenate([corners, np.ones((5, 4, 1))], axis=2))
    np.testing.assert_allclose(source[..., :2] / source[..., 2:], np.tile(CORNERS, (5, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(homography(CORNERS[None])[0], [1, 0, 0, 0, 1, 0, 0, 0], atol=1e-12)


def test_a_corner_pixel_is_projected_to_the_moved_corner():
    image = np.zeros((1, 1, 28, 28), np.float32)
    image[0, 0, 0, 27] = 1
    corners = CORNERS.copy()
    corners[1] = np.array([22, 5]) / RADIUS - 1            # the upper right corner to column 22, row 5
    theta = homography(corners[None]).astype(np.float32)
    V = spatial_transform(image, theta, Projective(), (28, 28)).data
    assert np.unravel_index(V.argmax(), V.shape) == (0, 0, 5, 22) and V.max() == pytest.approx(1, abs=1e-4)


def test_convex():
    square, crossed, dented = CORNERS, CORNERS[[0, 1, 3, 2]], CORNERS * [[1, 1], [1, 1], [-0.5, -0.5], [1, 1]]
    np.testing.assert_array_equal(distortions.convex(np.stack([square, crossed, dented])), [True, False, False])


def poses(kind, N=4000):
    """Angle, scale and shift in pixels, (N,), (N,), (N, 2), read off the theta that a kind draws."""
    _, theta = distortions.PARAMETERS[kind](np.random.default_rng(2), N)
    back = theta[:, :, :2] * RADIUS / ((size_of(kind) - 1) / 2)
    scale = 1 / np.sqrt(np.linalg.det(back))
    shift = -np.linalg.solve(back, theta[:, :, 2:] * RADIUS)[:, :, 0]
    return np.arctan2(back[:, 1, 0], back[:, 0, 0]), scale, shift


def spread(values, low, high):
    """Whether values fill their range and no more, evenly."""
    values = np.ravel(values)
    room = high - low
    assert low - 1e-6 <= values.min() < low + 0.01 * room and high - 0.01 * room < values.max() <= high + 1e-6
    counts = np.histogram(values, 8, (low - 1e-6, high + 1e-6))[0]
    assert counts.min() > 0.7 * counts.max()


def test_r_is_drawn_as_the_paper_says():
    angle, scale, shift = poses("R")
    spread(angle, -np.pi / 2, np.pi / 2)
    np.testing.assert_allclose(scale, 1)
    np.testing.assert_allclose(shift, 0, atol=1e-9)


def test_rts_is_drawn_as_the_paper_says():
    angle, scale, shift = poses("RTS")
    spread(angle, -np.pi / 4, np.pi / 4)
    spread(scale, 0.7, 1.2)
    spread(shift / ((42 - 28 * scale) / 2)[:, None], -1, 1)


def test_t_is_drawn_as_the_paper_says():
    angle, scale, shift = poses("T")
    np.testing.assert_allclose(angle, 0)
    np.testing.assert_allclose(scale, 1)
    assert set(np.unique(np.round(shift, 6))) == set(range(-16, 17))


@pytest.mark.parametrize(("kind", "deviation"), [("P", 2.5), ("P5", 5)])
def test_p_is_drawn_as_it_says(kind, deviation):
    _, theta = distortions.PARAMETERS[kind](np.random.default_rng(3), 2000)
    back = np.linalg.inv(np.concatenate([theta, np.ones((2000, 1))], axis=1).reshape(-1, 3, 3))
    corners = np.einsum("nij,kj->nki", back, np.concatenate([CORNERS, np.ones((4, 1))], axis=1))
    corners = corners[..., :2] / corners[..., 2:]
    assert distortions.convex(corners).all()
    moved = (corners - 0.875 * CORNERS) * RADIUS
    assert abs(moved.mean(axis=(0, 1))).max() < 0.2
    # that, and the scale's own: 13.5 * 0.25 / sqrt(12); a little less for the quadrilaterals drawn again
    assert moved.std() == pytest.approx(np.hypot(deviation, 0.97), rel=0.04)


def test_e_is_drawn_as_the_paper_says():
    transformation, theta = distortions.elastic(np.random.default_rng(4), 2000)
    assert theta.shape == (2000, 32)
    scale = np.random.default_rng(4).uniform(0.75, 1, (2000, 1))
    moved = (theta * scale - np.ravel(transformation.identity())) * RADIUS
    assert moved.std() == pytest.approx(1.5, rel=0.02) and abs(moved.mean()) < 0.03


@pytest.mark.parametrize("kind", kinds)
def test_form_and_seed(images, kind):
    V = distort(images, kind, np.random.default_rng(5))
    assert V.shape == (11, 1, size_of(kind), size_of(kind)) and V.dtype == np.float32
    assert V.min() >= 0 and 0.5 < V.max() <= 1 + 1e-6
    np.testing.assert_array_equal(V, distort(images, kind, np.random.default_rng(5)))
    assert (V != distort(images, kind, np.random.default_rng(6))).any()
    np.testing.assert_allclose(V, distort(images / 255, kind, np.random.default_rng(5)), atol=1e-5)
    assert distort(images[:0], kind, np.random.default_rng(5), images).shape == (0, *V.shape[1:])


def test_elastic_and_projective_change_shape_not_place():
    spot = np.repeat(blob(13.5, 13.5), 500, axis=0)
    for kind, pixels in (("P5", 3.5), ("P", 1.7), ("E", 1)):
        middles = np.array([centre(V[0]) for V in distort(spot, kind, np.random.default_rng(7))])
        assert abs(middles.mean(axis=0)).max() < 0.2 * pixels and 0.8 * pixels < middles.std() < 1.2 * pixels


def test_clutter_is_six_pieces_over_the_digit_of_t(images):
    T = distort(images, "T", np.random.default_rng(8))
    black, white = np.zeros((3, 28, 28), np.uint8), np.full((3, 28, 28), 255, np.uint8)
    np.testing.assert_array_equal(distort(images, "TC", np.random.default_rng(8), black), T)
    TC = distort(images, "TC", np.random.default_rng(8), white)
    changed = (TC != T).reshape(11, -1).sum(axis=1)
    assert (TC >= T).all() and (TC[TC != T] == 1).all()
    assert changed.max() <= 6 * 36 and changed.mean() > 4 * 36


def test_a_digit_is_no_clutter_for_itself():
    images = np.zeros((2, 28, 28), np.uint8)
    images[1] = 255
    T, TC = (distort(images, kind, np.random.default_rng(9)) for kind in ("T", "TC"))
    assert TC[0].sum() > 36 and (TC[1] == T[1]).all()      # white pieces on the black image, black ones on the white


def test_bad_arguments(images):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="distort: kind should be one of R, RTS, P, P5, E, T, TC, received 'rts'"):
        distort(images, "rts", rng)
    with pytest.raises(ValueError, match=r"distort: images should be \(N, 28, 28\), received \(11, 28, 27\) uint8"):
        distort(images[:, :, :27], "R", rng)
    with pytest.raises(ValueError, match="distort: rng should be a numpy Generator, received 5"):
        distort(images, "R", 5)
    with pytest.raises(ValueError, match="from 0 to 1 where they are floats, received 0 to 255; divide by 255"):
        distort(images.astype(np.float32), "R", rng)
    with pytest.raises(ValueError, match="images should be uint8, or floats from 0 to 1, received .* int64"):
        distort(images.astype(np.int64), "R", rng)
