"""The Inception network: counts from the table, sizes, gradients, PyTorch's answers, a handful of images learned."""

import numpy as np
import pytest

from nanostn import Tensor, gradcheck, nn, no_grad, save, weights
from nanostn.functional import cross_entropy
from nanostn.models import inception
from nanostn.models.inception import Inception, caffe_name
from nanostn.optim import Adam

# Figure 5 of the paper once more, column by column: #1x1, #3x3 reduce, #3x3, double #3x3 reduce, double #3x3, proj.
COLUMNS = """
3a  64  64  64  64  96  32
3b  64  64  96  64  96  64
3c   0 128 160  64  96   0
4a 224  64  96  96 128 128
4b 192  96 128  96 128 128
4c 160 128 160 128 160 128
4d  96 128 192 160 192 128
4e   0 128 192 192 256   0
5a 352 192 320 160 224 128
5b 352 192 320 192 224 128
"""


def narrow(dtype=np.float32, width=1 / 16, **options):
    return Inception(width, generator=np.random.default_rng(0), dtype=dtype, **options)


def images(rng, *shape, dtype=np.float32):
    return rng.standard_normal((*shape[:1], 3, *shape[1:])).astype(dtype)


def test_parameters_by_the_table():
    """Weights of the convolutions, and two numbers of batch normalisation for each of their filters."""
    convolutions, channels = [(3, 64, 49), (64, 64, 1), (64, 192, 9)], 192
    for row in COLUMNS.split("\n")[1:-1]:
        one, reduce, three, double_reduce, double, projection = map(int, row.split()[1:])
        convolutions += [(channels, one, 1), (channels, reduce, 1), (reduce, three, 9), (channels, double_reduce, 1),
                         (double_reduce, double, 9), (double, double, 9), (channels, projection, 1)]
        channels = one + three + double + (projection or channels)
    filters = sum(count for _, count, _ in convolutions)
    expected = sum(before * count * window for before, count, window in convolutions) + 2 * filters
    model = Inception()
    assert model.count_parameters() == expected == 10_260_224
    assert model.filters == channels == 1024 and (Inception(1 / 4).filters, Inception(1 / 2).filters) == (256, 512)
    assert sum(array.size for array in model.state().values()) == expected + 2 * filters
    assert Inception(bias=True).count_parameters() == expected + filters


def test_sides_and_channels():
    """112, 56, 28, 14, 7 of 224, by the layers' own arithmetic; here with an eighth of the filters."""
    model, x, sides = narrow(width=1 / 8), Tensor(np.zeros((1, 3, 224, 224), np.float32)), []
    with no_grad():
        for layer in (model.conv1, model.halve, model.conv2_reduce, model.conv2, model.halve, *model.blocks.values()):
            x = layer(x)
            sides.append(x.shape[2:])
        assert sides == [(n, n) for n in (112, 56, 56, 56, 28, 28, 28, 14, 14, 14, 14, 14, 7, 7, 7)]
        assert x.shape[1] == model.filters and model.blocks["4d"].filters == 16 + 24 + 24 + 16


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (127, 66)])
def test_any_side(rng, size):
    """It is halved five times and rounded up, whichever way it goes; cut before the last pooling there are maps."""
    x = images(rng, 2, *size)
    with no_grad():
        maps = narrow(pooled=False)(x)
        assert maps.shape[2:] == tuple(-(-n // 32) for n in size)
        np.testing.assert_allclose(narrow()(x).data, maps.data.mean(axis=(2, 3)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("width", [1 / 64, 0.1, 0.25, 0.5, 1.5])
def test_filters_are_multiples_of_8(width):
    for name, array in narrow(width=width).state().items():
        if name.endswith("convolution.weight"):
            assert array.shape[0] % 8 == 0 and array.shape[0] >= 8, name


@pytest.mark.parametrize("training", [True, False])
def test_gradients(rng, training):
    """Along random directions: of the images, and of the first, a middle and the last layer's parameters."""
    model = narrow(np.float64, width=1 / 64).train(training)
    found = dict(model.named_parameters())
    chosen = ["conv1.convolution.weight", "blocks.3c.double_2.normalisation.gamma", "blocks.4c.projection."
              "convolution.weight", "blocks.4e.three.normalisation.beta", "blocks.5b.one.convolution.weight"]
    x = Tensor(images(rng, 2, 64, 65, dtype=np.float64), requires_grad=True)
    gradcheck(lambda *_: model(x), [x, *(found[name] for name in chosen)], full=False, step=1e-7, tolerance=1e-4)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_like_pytorch(rng, training, dtype):
    """The same weights, statistics and images of 96 x 96; in float32 a rectifier or two may decide otherwise."""
    torch = pytest.importorskip("torch")
    from nanostn.bench import torch_side

    ours = narrow(dtype).train(training)
    for name, array in ours.state().items():
        array[...] *= 1 + 0.2 * rng.random(array.shape)
        array[...] += 0.1 * rng.random(array.shape) * ("normalisation" in name)
    table = {name: inception.Row(block.one.convolution.weight.shape[0] if block.one else 0,
                                 *(layer.convolution.weight.shape[0] for layer in
                                   (block.three_reduce, block.three, block.double_reduce, block.double_1)),
                                 inception.TABLE[name].pool,
                                 block.projection.convolution.weight.shape[0] if block.projection else 0)
             for name, block in ours.blocks.items()}
    stem = [layer.convolution.weight.shape[0] for layer in (ours.conv1, ours.conv2_reduce, ours.conv2)]
    theirs = torch_side.inception(table, tuple(stem)).to(getattr(torch, np.dtype(dtype).name)).train(training)
    buffers = [buffer for name, buffer in theirs.named_buffers() if not name.endswith("num_batches_tracked")]
    with torch.no_grad():
        state = list(ours.state().values())
        for there, array in zip([*theirs.parameters(), *buffers], state, strict=True):
            there.copy_(torch.from_numpy(array))
    x = images(rng, 3, 96, 96, dtype=dtype)
    here, there = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours(here), theirs(there)
    tolerance = {np.float32: 2e-4, np.float64: 1e-11}[dtype]
    np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=tolerance, atol=tolerance)
    dy = rng.standard_normal(y.shape).astype(dtype)
    y.backward(dy)
    z.backward(torch.tensor(dy))
    for a, b in [(here.grad, there.grad), *((p.grad, q.grad) for p, q in
                                            zip(ours.parameters(), theirs.parameters(), strict=True))]:
        difference = np.abs(a - b.numpy()).ravel()
        assert np.linalg.norm(difference) < (0.02 if dtype == np.float32 else 1e-9) * np.linalg.norm(b.numpy())
    for a, b in zip(state[-len(buffers):], buffers, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=tolerance, atol=tolerance)


def test_a_handful_of_images_is_learned(rng):
    generator = np.random.default_rng(1)
    model = nn.Sequential(narrow(), nn.Dense(64, 4, generator=generator))
    assert model[0].filters == 64
    x, labels = Tensor(images(rng, 8, 64, 64)), np.arange(8) % 4
    optimiser = Adam(model.parameters(), learning_rate=0.005)
    for _ in range(25):
        optimiser.zero_grad()
        loss = cross_entropy(model(x), labels)
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1 and (model(x).data.argmax(axis=1) == labels).all()


def test_weights_there_and_back(rng, tmp_path):
    """With what batch normalisation has seen, into a network that has learned nothing."""
    trained, x = narrow(), images(rng, 2, 64, 64)
    with no_grad():
        trained(x)
        save(tmp_path / "w.h5", {"model": trained.state()})
        other = Inception(1 / 16, generator=np.random.default_rng(9)).eval()
        weights.load(other, tmp_path / "w.h5")
        np.testing.assert_array_equal(other(x).data, trained.eval()(x).data)
    with pytest.raises(ValueError, match=r"of another shape \(conv1.convolution.weight \(8, 3, 7, 7\) for \(16, "):
        weights.load(narrow(width=1 / 4), tmp_path / "w.h5")


def test_names_of_caffe():
    names = [caffe_name(name) for name in narrow(bias=True).state()]
    assert len(set(names)) == len(names)
    assert {"conv1_7x7_s2.weight", "conv1_7x7_s2.bias", "conv1_7x7_s2_bn.weight", "conv2_3x3_reduce_bn.running_mean",
            "conv2_3x3_bn.bias", "inception_3a_1x1.weight", "inception_3c_double_3x3_2_bn.running_var",
            "inception_4d_3x3_reduce.bias", "inception_5b_pool_proj_bn.weight"} <= set(names)
    assert not [name for name in names if name.startswith(("inception_3c_1x1", "inception_4e_pool"))]


def test_messages(rng):
    for x in (np.zeros((2, 1, 64, 64)), np.zeros((3, 64, 64)), np.zeros((1, 3, 64, 63))):
        with pytest.raises(ValueError, match=r"Inception: x should be \(N, 3, H, W\) with H and W of 64 or more"):
            narrow()(x.astype(np.float32))
    with pytest.raises(ValueError, match="Inception: width should be a number from 0.015625 to 64, received 0"):
        Inception(0)
    with pytest.raises(ValueError, match="Inception: pooled should be True or False"):
        Inception(pooled=1)
