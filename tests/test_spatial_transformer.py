"""The spatial transformer as a module: identity start, theta as an output, in series, in parallel, of any size."""

import numpy as np
import pytest

from nanostn import Tensor, gradcheck, nn
from nanostn import functional as F
from nanostn import transformations as tr

FAMILIES = [tr.Affine(), tr.Attention(), tr.Translation(1.0), tr.Projective(), tr.ThinPlateSpline(4)]


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
    np.testing.assert_allclose(st(U).data, U.data, atol=2e-6 if family.parameters < 10 else 2e-5)


@pytest.mark.parametrize("size", [(3, 4), (9, 11)])
def test_the_output_may_be_larger_or_smaller(size, rng):
    U = Tensor(rng.standard_normal((3, 2, 6, 5)).astype(np.float32))
    assert transformer(tr.Affine(), size)(U).shape == (3, 2, *size)


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


def test_a_size_that_is_none_is_refused():
    for size in (28, (2.9, 3), (2, 3, 4)):
        with pytest.raises(ValueError, match="SpatialTransformer: size should be"):
            transformer(tr.Affine(), size)
