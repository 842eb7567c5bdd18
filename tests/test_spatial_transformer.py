"""The spatial transformer as a module: identity start, theta as an output, any size, family and option; its state."""

import numpy as np
import pytest

import nanostn
from nanostn import Tensor, gradcheck, nn
from nanostn import functional as F
from nanostn import transformations as tr
from nanostn.grid_generator import sampling_grid
from nanostn.optim import SGD

FAMILIES = [tr.Affine(), tr.Attention(), tr.Translation(1.0), tr.Similarity(), tr.Projective(), tr.ThinPlateSpline(4),
            tr.ThinPlateSpline(3, regularisation=0.1), tr.PiecewiseAffine(3), tr.Displacement((6, 5)),
            tr.Displacement((6, 5), unit="pixels")]
OPTIONS = [{"mode": "nearest"}, {"mode": "bicubic", "padding_mode": "wrap"}, {"padding_mode": 0.5},
           {"mode": "catmull-rom", "padding_mode": "reflection", "align_corners": False},
           {"mode": "bspline", "padding_mode": "border", "antialias": True},
           {"antialias": True, "align_corners": False}]


def transformer(family, size, shape=(2, 6, 5), **options):
    rng = np.random.default_rng(0)
    features = int(np.prod(shape))
    localisation = nn.Sequential(nn.Flatten(), nn.Dense(features, 8, generator=rng), nn.ReLU(),
                                 nn.Dense(8, family.parameters, generator=rng))
    return nn.SpatialTransformer(localisation, family, size, **options)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
@pytest.mark.parametrize("align_corners", [True, False])
def test_a_new_transformer_passes_the_image_on(family, align_corners, rng):
    U = Tensor(rng.standard_normal((3, 2, 6, 5)).astype(np.float32))
    st = transformer(family, (6, 5), align_corners=align_corners)
    np.testing.assert_array_equal(st.theta(U).data, np.tile(np.ravel(family.identity()).astype(np.float32), (3, 1)))
    np.testing.assert_allclose(st(U).data, U.data, atol=2e-5 if isinstance(family, tr.ThinPlateSpline) else 2e-6)


@pytest.mark.parametrize("family", [tr.Affine3d(), tr.Attention3d(), tr.Displacement((3, 6, 5))], ids=repr)
@pytest.mark.parametrize("align_corners", [True, False])
def test_a_new_transformer_passes_the_volume_on(family, align_corners, rng):
    U = Tensor(rng.standard_normal((2, 2, 3, 6, 5)).astype(np.float32))
    st = transformer(family, (3, 6, 5), (2, 3, 6, 5), align_corners=align_corners)
    np.testing.assert_allclose(st(U).data, U.data, atol=2e-6)
    flat = transformer(family, (3, 6, 5), (2, 3, 6, 5), align_corners=align_corners, flatten_depth=True)
    np.testing.assert_allclose(flat(U).data, U.data.sum(axis=2), atol=4e-6)


def test_a_volume_is_turned_and_projected(rng):
    """The paper's transformer from 3D to 2D (A.3): turned by a quarter about y, the sum along z is one along x."""
    U = rng.standard_normal((2, 1, 4, 3, 4))
    st = transformer(tr.Affine3d(), (4, 3, 4), (1, 4, 3, 4), flatten_depth=True).astype(np.float64)
    st.localisation[3].bias.data[...] = [0, 0, 1, 0, 0, 1, 0, 0, -1, 0, 0, 0]  # x_s = z_t, z_s = -x_t
    V = st(Tensor(U))
    assert V.shape == (2, 1, 3, 4)
    np.testing.assert_allclose(V.data, U.sum(axis=4)[:, :, ::-1].transpose(0, 1, 3, 2), atol=1e-12)


@pytest.mark.parametrize("size, convolution, axes", [
    ((6, 5), nn.Conv2d, 2), ((3, 6, 5), nn.Conv3d, 3)])
def test_a_field_from_a_convolution(size, convolution, axes, rng):
    """Its channels are the field's x, y (and z), one vector for each pixel; it begins as zeros and learns."""
    localisation = nn.Sequential(convolution(2, 3, 3, padding=1, generator=rng), nn.ReLU(),
                                 convolution(3, axes, 3, padding=1, generator=rng))
    st = nn.SpatialTransformer(localisation, tr.Displacement(size, unit="pixels"), size, padding_mode="border")
    U = Tensor(rng.standard_normal((2, 2, *size)).astype(np.float32))
    assert st.theta(U).shape == (2, axes, *size)
    np.testing.assert_allclose(st(U).data, U.data, atol=2e-6)
    target = rng.standard_normal((2, 2, *size)).astype(np.float32)
    F.mse_loss(st(U), target).backward()
    before = F.mse_loss(st(U), target).data
    assert np.any(localisation[2].weight.grad != 0)
    SGD(st.parameters(), learning_rate=0.05).step()
    assert F.mse_loss(st(U), target).data < before
    st.astype(np.float64)
    st.localisation[2].bias.data[...] = 0.3 + 0.1 * np.arange(axes)  # away from pixels
    gradcheck(lambda U, *p: st(U), [Tensor(U.data.astype(np.float64), requires_grad=True), *st.parameters()],
              full=False, name="displacement by a convolution")


@pytest.mark.parametrize("size", [(6, 5), (3, 4, 5)])
def test_a_learned_basis_is_trained_along(size, rng):
    family = tr.LearnedBasis(size, len(size) + 3, generator=rng)
    st = transformer(family, size, (2, *size), mode="bicubic")
    U = Tensor(rng.standard_normal((2, 2, *size)).astype(np.float32))
    target = rng.standard_normal((2, 2, *size)).astype(np.float32)
    np.testing.assert_allclose(st(U).data, U.data, atol=2e-6)
    assert any(p is family.B for p in st.parameters())
    assert "transformation.B" in st.state()
    optimiser = SGD(st.parameters(), learning_rate=0.02)
    before, B = F.mse_loss(st(U), target), family.B.data.copy()
    before.backward()
    optimiser.step()
    assert np.any(family.B.data != B)
    assert F.mse_loss(st(U), target).data < before.data


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dims", [2, 3])
def test_options_reach_the_sampler(options, dims, rng):
    size = (4, 7) if dims == 2 else (2, 4, 3)
    shape = (2, 6, 5) if dims == 2 else (2, 3, 6, 5)
    family = tr.Affine() if dims == 2 else tr.Affine3d()
    st = transformer(family, size, shape, **options)
    U = Tensor(rng.standard_normal((3, *shape)).astype(np.float32))
    theta = (family.identity() + 0.3 * rng.standard_normal((3, family.parameters))).astype(np.float32)
    grid = sampling_grid(theta, family, size, options.get("align_corners", True))
    V = st.transform(U, Tensor(theta))
    assert V.dtype == np.float32
    np.testing.assert_allclose(V.data, F.grid_sample(U, grid, **options).data, atol=2e-5)
    assert np.any(np.abs(V.data - transformer(family, size, shape).transform(U, Tensor(theta)).data) > 1e-2)


@pytest.mark.parametrize("family, size", [
    (tr.Projective(), (4, 3)), (tr.Affine3d(), (2, 4, 3)), (None, (4, 3)), (tr.Displacement((2, 4, 3)), (2, 4, 3))])
def test_its_state_is_saved_and_loaded(family, size, rng, tmp_path):
    shape = (2, 6, 5) if len(size) == 2 else (2, 3, 6, 5)

    def new(seed):
        learned = tr.LearnedBasis(size, 5, generator=np.random.default_rng(seed))
        return transformer(family or learned, size, shape)

    first, second = new(1), new(2)
    for parameter in first.parameters():
        parameter.data += 0.1 * rng.standard_normal(parameter.shape).astype(np.float32)
    U = Tensor(rng.standard_normal((3, *shape)).astype(np.float32))
    nanostn.save(tmp_path / "transformer.h5", first.state())
    assert np.any(first(U).data != second(U).data)
    second.load_state(nanostn.load(tmp_path / "transformer.h5"))
    np.testing.assert_array_equal(first(U).data, second(U).data)


@pytest.mark.parametrize("size", [(3, 4), (9, 11)])
def test_the_output_may_be_larger_or_smaller(size, rng):
    """A new transformer resizes: linearly along each axis, corner to corner."""
    U = rng.standard_normal((3, 2, 6, 5)).astype(np.float32)
    expected = U
    for axis, count in zip((2, 3), size, strict=True):
        at = np.linspace(0, U.shape[axis] - 1, count)
        expected = np.apply_along_axis(lambda row, at=at: np.interp(at, np.arange(len(row)), row), axis, expected)
    np.testing.assert_allclose(transformer(tr.Affine(), size)(Tensor(U)).data, expected, rtol=0, atol=1e-5)


def test_theta_can_be_fed_forward(rng):
    U = Tensor(rng.standard_normal((3, 2, 6, 5)).astype(np.float32))
    st = transformer(tr.Attention(), (4, 3))
    theta = st.theta(U)
    V = st.transform(U, theta)
    np.testing.assert_array_equal(V.data, st(U).data)
    features = F.concatenate([V.reshape(3, -1), theta], axis=1)
    features.sum().backward()
    assert np.any(st.localisation[3].bias.grad != 0)


def test_in_series_and_in_parallel(rng):
    class Network(nn.Module):
        def __init__(self):
            self.first = transformer(tr.Affine(), (6, 5))
            self.left = transformer(tr.Attention(), (4, 3))
            self.right = transformer(tr.Projective(), (4, 3))

        def forward(self, U):
            U = self.first(U)
            return F.concatenate([self.left(U), self.right(U)], axis=1)

    model = Network().astype(np.float64)
    for parameter in model.parameters():  # away from the identity, where the coordinates are whole pixels
        parameter.data += 0.05 * rng.standard_normal(parameter.shape)
    U = Tensor(rng.standard_normal((2, 2, 6, 5)), requires_grad=True)
    assert model(U).shape == (2, 4, 4, 3)
    gradcheck(lambda U, *p: model(U), [U, *model.parameters()], full=False, name="two levels of transformers")


def test_the_regression_layer_learns_from_the_identity(rng):
    U = Tensor(rng.standard_normal((3, 2, 6, 5)).astype(np.float32))
    st = transformer(tr.Affine(), (6, 5))
    (st(U) * st(U)).sum().backward()
    assert all(np.all(np.isfinite(p.grad)) for p in st.parameters())
    assert np.any(st.localisation[3].weight.grad != 0)
    assert not np.any(st.localisation[1].weight.grad)  # behind zero weights, until the first update


@pytest.mark.parametrize("localisation", [
    nn.Sequential(nn.Flatten()), nn.Sequential(nn.Flatten(), nn.Dense(60, 5)), nn.Dense(60, 6, bias=False)])
def test_a_localisation_network_that_does_not_end_in_theta_is_refused(localisation):
    with pytest.raises(ValueError, match=r"SpatialTransformer: localisation should be a network that ends in Dense"):
        nn.SpatialTransformer(localisation, tr.Affine(), (4, 3))


def test_repr_names_the_family_and_the_localisation_network():
    text = repr(transformer(tr.Affine(), (4, 3)))
    assert "Affine" in text and "size=(4, 3)" in text and "Dense(60, 8)" in text


def test_repr_names_what_is_special():
    text = repr(transformer(tr.LearnedBasis((4, 3), 5), (4, 3), mode="bspline", padding_mode=0.5))
    assert "LearnedBasis((4, 3), 5)" in text and "mode='bspline'" in text and "padding_mode=0.5" in text
    assert "Displacement((4, 3), unit='pixels')" in repr(transformer(tr.Displacement((4, 3), unit="pixels"), (4, 3)))


def test_a_size_that_is_none_is_refused():
    for size in (28, (2.9, 3), (2, 3, 4)):
        with pytest.raises(ValueError, match="SpatialTransformer: size should be"):
            transformer(tr.Affine(), size)


LOCALISATION = nn.Sequential(nn.Flatten(), nn.Dense(20, 6))


@pytest.mark.parametrize("arguments, options, message", [
    ((LOCALISATION, tr.Affine, (3, 4)), {}, "transformation should be a family such as Affine"),
    ((None, tr.Affine(), (3, 4)), {}, "localisation should be a module, received None"),
    ((nn.Conv2d(1, 3, 3), tr.Displacement((3, 4)), (3, 4)), {}, "or in a convolution with 2 filters"),
    ((nn.Conv2d(1, 2, 3), tr.Translation(), (3, 4)), {}, r"ends in Dense\(..., 2\)"),
    ((nn.Conv2d(1, 2, 3), tr.Displacement((8, 9)), (4, 4)), {}, "was made for these points"),
    ((LOCALISATION, tr.Affine(), (3, 4)), {"mode": "bilnear"}, "mode should be"),
    ((LOCALISATION, tr.Affine(), (3, 4)), {"padding_mode": "zero"}, "padding_mode should be"),
    ((LOCALISATION, tr.Affine(), (3, 4)), {"flatten_depth": True}, "only a volume has a depth"),
])
def test_what_can_never_run_is_refused_at_once(arguments, options, message):
    with pytest.raises(ValueError, match=f"SpatialTransformer: .*{message}"):
        nn.SpatialTransformer(*arguments, **options)


class Network(nn.Module):
    """Heads declared in another order than used."""

    def __init__(self, heads=("theta",), activation=False):
        self.flatten = nn.Flatten()
        for name in heads:
            setattr(self, name, nn.Dense(20, 6))
        self.body = nn.Dense(20, 20)
        self.activation = activation

    def forward(self, U):
        theta = self.theta(self.body(self.flatten(U)))
        return F.tanh(theta) if self.activation else theta


def test_the_layer_that_gives_theta_is_found_by_what_fits():
    network = Network()
    U = np.random.default_rng(0).standard_normal((3, 1, 4, 5)).astype(np.float32)
    transformer = nn.SpatialTransformer(network, tr.Affine(), (4, 5))
    assert not network.theta.weight.data.any() and network.body.weight.data.any()
    np.testing.assert_array_equal(transformer(U).data, U)
    assert len(transformer.parameters()) == 4


def test_another_head_is_never_wiped():
    network = Network(("scores", "theta", "more"))
    with pytest.raises(ValueError, match="localisation should be .*, received one with 3 layers .*regression="):
        nn.SpatialTransformer(network, tr.Affine(), (4, 5))
    nn.SpatialTransformer(network, tr.Affine(), (4, 5), regression=network.theta)
    assert network.scores.weight.data.any() and network.more.weight.data.any() and not network.theta.weight.data.any()
    for wrong in (network.body, nn.Dense(20, 6), "theta", network):
        with pytest.raises(ValueError, match="SpatialTransformer: regression should be the layer of localisation"):
            nn.SpatialTransformer(network, tr.Affine(), (4, 5), regression=wrong)


def test_an_activation_behind_the_last_layer_is_seen():
    with pytest.raises(ValueError, match=r"localisation should be a network that ends in Dense\(..., 6\).*Tanh"):
        class Tanh(nn.Module):
            def forward(self, x):
                return F.tanh(x)

            def __repr__(self):
                return "Tanh()"

        nn.SpatialTransformer(nn.Sequential(nn.Flatten(), nn.Dense(20, 6), Tanh()), tr.Affine(), (4, 5))
    U = np.ones((3, 1, 4, 5), np.float32)
    transformer = nn.SpatialTransformer(Network(activation=True), tr.Affine(), (4, 5))
    with pytest.raises(ValueError, match="the first theta should be the identity of Affine.*an activation"):
        transformer(U)
    trained = nn.SpatialTransformer(Network(activation=True), tr.Affine(), (4, 5))
    trained.localisation.theta.weight.data += 0.1  # loaded or trained: no start to be checked
    trained(U)


@pytest.mark.parametrize("family", [tr.Translation(0.5), tr.Projective(),
                                    tr.ThinPlateSpline(3), tr.Displacement((4, 5))])
def test_every_family_starts_at_its_identity(family):
    network = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Dense(20, family.parameters), nn.Flatten()))
    transformer = nn.SpatialTransformer(network, family, (4, 5)).astype(np.float64)
    theta = transformer.theta(np.ones((2, 1, 4, 5)))
    np.testing.assert_allclose(theta.data, np.tile(np.ravel(family.identity()), (2, 1)), atol=1e-7)
