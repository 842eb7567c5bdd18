"""Weights from files: the same numbers back from each format, by other names; one sentence for what is not right."""

import json
import struct

import h5py
import numpy as np
import pytest

from nanostn import nn, save, weights


def network(seed=0):
    generator = np.random.default_rng(seed)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, generator=generator), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(),
                          nn.Dense(3, 4, generator=generator))
    model[1].running_mean[...], model[1].running_var[...] = generator.normal(size=3), generator.uniform(1, 2, 3)
    return model


def safetensors(arrays, **header):
    """The bytes of a file with these arrays; of `header` what is to be otherwise."""
    names = {np.dtype(dtype): name for name, dtype in weights.DTYPES.items() if name not in ("BF16", "BOOL")}
    entries, data = {"__metadata__": {"format": "np"}}, b""
    for name, array in arrays.items():
        place = [len(data), len(data) + array.nbytes]
        entries[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": place}
        data += array.tobytes()
    for name, entry in header.items():
        entries[name] = {**entries.get(name, {}), **entry}
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def same(model, state):
    return all(np.array_equal(model.state()[name], array) for name, array in state.items())


@pytest.mark.parametrize("form", ["save", "run", "flat", "groups", "safetensors"])
def test_there_and_back(form, tmp_path):
    state, path = network().state(), tmp_path / ("w.safetensors" if form == "safetensors" else "w.h5")
    if form == "safetensors":
        path.write_bytes(safetensors(state))
    elif form in ("save", "run"):
        save(path, state if form == "save" else {"model": state, "progress": {"steps": 3}, "random": "..."})
    else:
        with h5py.File(path, "w") as file:
            for name, array in state.items():
                file.create_dataset(name.replace(".", "/") if form == "groups" else name, data=array,
                                    compression="gzip" if array.ndim > 1 else None)
    model = network(1)
    assert not same(model, state)
    weights.load(model, str(path))
    assert same(model, state) and state["1.running_mean"].any()


def test_whoever_wrote_it(tmp_path):
    """The format's own package, where it is there."""
    numpy = pytest.importorskip("safetensors.numpy")
    state, path = network().state(), tmp_path / "w.safetensors"
    numpy.save_file(state, path)
    model = network(1)
    weights.load(model, path)
    assert same(model, state)
    path.write_bytes(safetensors(state))
    assert all(np.array_equal(array, state[name]) for name, array in numpy.load_file(path).items())


@pytest.mark.parametrize("dtype", ["<f8", "<f2", "<i4", "u1"])
def test_numbers_are_converted(dtype, tmp_path):
    state = {name: np.round(3 * np.abs(array)).astype(dtype) for name, array in network().state().items()}
    (tmp_path / "w").write_bytes(safetensors(state))
    model = network(1)
    weights.load(model, tmp_path / "w")
    assert same(model, state) and model[0].weight.dtype == np.float32


def test_halves_of_float32(tmp_path):
    """BF16: sign, exponent and the first 7 bits."""
    state = {name: np.round(array).astype(np.float32) for name, array in network().state().items()}
    halves = {name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in state.items()}
    (tmp_path / "w").write_bytes(safetensors(halves, **{name: {"dtype": "BF16"} for name in state}))
    model = network(1)
    weights.load(model, tmp_path / "w")
    assert same(model, state)


def test_other_names_and_a_layer_left_out(tmp_path):
    """As PyTorch would call them, with its counter, and a last layer for other classes."""
    def torch_names(name):
        return "net." + name.replace("gamma", "weight").replace("beta", "bias")

    state = network().state()
    theirs = {torch_names(name): array for name, array in state.items()}
    theirs |= {"net.4.weight": np.ones((7, 3)), "net.4.bias": np.ones(7), "net.1.num_batches_tracked": np.array(5)}
    (tmp_path / "w").write_bytes(safetensors(theirs))
    for names in (torch_names, {name: torch_names(name) for name in state}):
        model = network(1)
        last = model[4].weight.data.copy()
        weights.load(model, tmp_path / "w", names=names, leave_out=["4"])  # of ours; the file's under its name
        assert same(model, {name: array for name, array in state.items() if not name.startswith("4.")})
        assert np.array_equal(model[4].weight.data, last)
    without = nn.Sequential(*network(1).modules[:4])
    weights.load(without, tmp_path / "w", names=torch_names, leave_out=["net.4"])  # which only the file has
    assert np.array_equal(without[0].weight.data, state["0.weight"])
    with pytest.raises(ValueError, match="leave_out should be names or layers of the model or .*, received '5'"):
        weights.load(model, tmp_path / "w", names=torch_names, leave_out=["5"])


def test_all_that_does_not_fit_in_one_sentence_and_nothing_is_changed(tmp_path):
    state = network().state()
    before = network(1).state()
    theirs = {**state, "0.weight": np.zeros((3, 2, 1, 1)), "9.a": np.zeros(1), "9.b": np.zeros(1), "9.c": np.zeros(1),
              "9.d": np.zeros(1)}
    del theirs["1.gamma"]
    (tmp_path / "w").write_bytes(safetensors(theirs))
    model = network(1)
    with pytest.raises(ValueError) as error:
        weights.load(model, tmp_path / "w")
    for words in ("weights.load:", "1 missing (1.gamma)", "4 superfluous (9.a, 9.b, 9.c, ...)",
                  "1 of another shape (0.weight (3, 2, 1, 1) for (3, 2, 3, 3))"):
        assert words in str(error.value)
    assert same(model, before)


BROKEN = {
    "shorter than a length": (lambda file: file[:5], "header has"),
    "no header": (lambda file: struct.pack("<Q", 10**15) + file[8:], "header has 1,000,000,000,000,000 bytes"),
    "truncated": (lambda file: file[:-1], "of which"),
    "longer": (lambda file: file + b"\0", "of which"),
    "no JSON": (lambda file: file[:9] + b"}" + file[10:], "no JSON"),
    "no text": (lambda file: file[:9] + b"\xff" + file[10:], "no JSON"),
    "a list": (lambda file: struct.pack("<Q", 2) + b"[]", "names no arrays"),
    "a deep one": (lambda file: struct.pack("<Q", 10**5) + b"[" * 10**5, "no JSON"),
    "twice": (lambda file: struct.pack("<Q", 17) + b'{"a": 1, "a": 2}' + b" ", "twice"),
}
ENTRIES = {
    "an unknown dtype": {"dtype": "F4"}, "no dtype": {"dtype": None}, "a list for a dtype": {"dtype": ["F32"]},
    "another dtype": {"dtype": "F64"}, "a negative size": {"shape": [-3]}, "half a size": {"shape": [1.5, 2]},
    "true for one": {"shape": [True, 3]}, "a huge shape": {"shape": [2**62, 2**62, 3]}, "no shape": {"shape": 3},
    "backwards": {"data_offsets": [12, 0]}, "negative": {"data_offsets": [-12, 0]},
    "three": {"data_offsets": [0, 1, 2]},
}
PLACES = {"overlapping": [0, 12], "beyond the file": [10**6, 10**6 + 12]}


@pytest.mark.parametrize("name", BROKEN)
def test_damaged_files(name, tmp_path):
    change, words = BROKEN[name]
    (tmp_path / "w.safetensors").write_bytes(change(safetensors(network().state())))
    with pytest.raises(ValueError, match=f"weights.load: path should be a file of weights.*w.safetensors.*{words}"):
        weights.load(network(), tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_that_do_not_agree(name, tmp_path):
    (tmp_path / "w").write_bytes(safetensors(network().state(), **{"0.bias": ENTRIES[name]}))
    with pytest.raises(ValueError, match="in which '0.bias' has no dtype, shape and place that agree"):
        weights.load(network(), tmp_path / "w")


@pytest.mark.parametrize("name", PLACES)
def test_places_in_the_file(name, tmp_path):
    (tmp_path / "w").write_bytes(safetensors(network().state(), **{"0.bias": {"data_offsets": PLACES[name]}}))
    with pytest.raises(ValueError, match="not where the one before it ends"):
        weights.load(network(), tmp_path / "w")


def test_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="should be a file of weights, received '.*nowhere', which is none"):
        weights.load(network(), tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        weights.load(network(), tmp_path)
    for contents in (b"", b"PK\x03\x04 and so on", b"\x89HDF\r\n\x1a\n" + bytes(100)):
        (tmp_path / "w").write_bytes(contents)
        with pytest.raises(ValueError, match="weights.load: path should be .* of something else, or damaged"):
            weights.load(network(), tmp_path / "w")
    save(tmp_path / "w", network().state())
    contents = bytearray((tmp_path / "w").read_bytes())
    contents[-1] ^= 1
    (tmp_path / "w").write_bytes(contents)
    with pytest.raises(ValueError, match="checksum is wrong"):
        weights.load(network(), tmp_path / "w")


def test_hdf5_that_claims_more_than_it_has(tmp_path):
    """Neither the space of an array that nothing was written to is taken, nor another file read."""
    path, state = tmp_path / "w.h5", network().state()
    with h5py.File(path, "w") as file:
        for name, array in state.items():
            file.create_dataset(name, data=array)
        file.create_dataset("huge", (10**6, 10**6), "f4", chunks=(100, 100))
        file["again"] = h5py.SoftLink("/0.weight")
    with pytest.raises(ValueError, match=r"1 superfluous \(huge\)"):
        weights.load(network(), path)
    with h5py.File(path, "w") as file:
        file.create_dataset("0.weight", (3, 2, 3, 3), "f4", external=[(str(tmp_path / "other"), 0, 216)])
    with pytest.raises(ValueError, match="'0.weight' is no array of numbers that lies in the file"):
        weights.load(network(), path)
    with h5py.File(path, "w") as file:
        file["0.weight"] = "text"
    with pytest.raises(ValueError, match="'0.weight' is no array of numbers"):
        weights.load(network(), path)


def test_arguments():
    with pytest.raises(ValueError, match="weights.load: model should be a module, received {}"):
        weights.load({}, "w")
    with pytest.raises(ValueError, match="weights.load: leave_out should be a list of names, received '4'"):
        weights.load(network(), "w", leave_out="4")
