"""Co-localisation: the encoder and its run, the loss by hand, resuming, and the replay of the report."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nanostn import datasets
from nanostn.checkpoints import load
from nanostn.cli import main
from nanostn.datasets.colocalisation import attention_boxes
from nanostn.experiments import encoder, find, localisation_pictures, revive
from nanostn.models import build
from nanostn.runs import RunDirectory
from nanostn.tensor import Tensor

EXPERIMENT = find("co-localisation")
SMALL = ["--data", "digits", "--limit", "40", "--test-limit", "10", "--filters", "2", "--batch-size", "6"]
TRAIN = ["train", "co-localisation", *SMALL, "--steps", "50"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a run of three epochs, the last of ten steps, and the encoder that it has trained."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        given = datasets.digits
        patch.setattr(datasets, "digits", lambda count, seed=0: given(count // 100, seed))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("LOCALAPPDATA", str(folder / "cache"))
        patch.chdir(folder)
        assert main([*TRAIN, "--run-dir", "run"]) == 0
        yield folder


def encoder_run(folder):
    (path,) = (folder / "runs").glob("encoder-*")
    return path


def test_the_encoder_is_a_finished_run_of_distorted_mnist(runs):
    config = json.loads((encoder_run(runs) / "config.json").read_text())
    wanted = {"experiment": "distorted-mnist", "model": "cnn", "distortion": "E", "data": "digits", "limit": 40,
              "filters": 2}
    assert {key: config[key] for key in wanted} == wanted and (encoder_run(runs) / "result.json").exists()


def test_its_weights_are_in_the_checkpoint_and_stay(runs):
    trained = load(encoder_run(runs) / "checkpoint.h5")["model"]
    state = load(runs / "run" / "checkpoint.h5")["model"]
    assert len(trained) == 6
    for name, array in trained.items():
        np.testing.assert_array_equal(array, state[f"encode.cnn.{name}"])
    model = revive(runs / "run").model
    assert model.count_parameters() == 5947
    assert all(name.startswith("transformer.localisation") for name, _ in model.named_parameters())


def test_features_are_both_hidden_layers_and_the_scores():
    cnn = build("cnn", 28, filters=2)
    x = np.random.default_rng(0).random((3, 1, 84, 84), dtype=np.float32)
    made = encoder.Encoder(2)
    made.cnn.load_state(cnn.state())
    layers, value = [], Tensor(x.reshape(3, 1, 28, 3, 28, 3).mean(axis=(3, 5)))
    for layer in cnn.modules:
        value = layer(value)
        layers.append(value.numpy().reshape(3, -1))
    wanted = [weight * layers[i] for weight, i in zip(encoder.WEIGHTS, (2, 5, 7), strict=True)]
    assert [part.shape[1] for part in wanted] == [2 * 10 * 10, 2 * 2 * 2, 10]
    np.testing.assert_allclose(made(Tensor(x)).numpy(), np.concatenate(wanted, axis=1), rtol=1e-5, atol=1e-7)


def revived_model():
    model = EXPERIMENT.build_model(replace(EXPERIMENT.defaults, filters=2))
    model.transformer.localisation[8].weight.data[...] = 0.02
    return model


def test_the_loss_is_the_mean_over_pairs_and_moves_the_localisation_alone():
    rng = np.random.default_rng(1)
    x = rng.random((4, 1, 84, 84), dtype=np.float32)
    patches = np.array([[0.1, 0.5, -0.5]] * 4, np.float32)
    model = revived_model()
    loss, wrong = EXPERIMENT.loss(model, x, patches)
    e = model(Tensor(x)).numpy()
    random = model.encode(model.transformer.transform(Tensor(x), Tensor(patches))).numpy()
    hinges = [max(0, ((e[n] - e[m])**2).sum() - ((e[n] - random[n])**2).sum() + 1)
              for n in range(4) for m in range(4) if m != n]
    assert wrong is None and loss.item() == pytest.approx(np.mean(hinges), rel=1e-5)
    before = {name: array.copy() for name, array in model.encode.state().items()}
    loss.backward()
    assert any(np.any(parameter.grad) for parameter in model.parameters())
    for name, array in model.encode.state().items():
        np.testing.assert_array_equal(array, before[name])


def batches(start=0, epoch=1, seed=0):
    x = np.random.default_rng(0).random((100, 1, 3, 3), dtype=np.float32)
    settings = replace(EXPERIMENT.defaults, batch_size=8, seed=seed)
    return x, list(EXPERIMENT.batches(settings, (x, None, x, None), epoch, start, "cpu"))


def test_batches_follow_from_seed_epoch_and_step():
    x, made = batches()
    assert len(made) == EXPERIMENT.steps_per_epoch(EXPERIMENT.defaults, None)
    for batch, again in zip(made[7:], batches(start=7)[1], strict=True):
        for one, other in zip(batch, again, strict=True):
            np.testing.assert_array_equal(one, other)
    for other in (batches(seed=1)[1], batches(epoch=2)[1]):
        assert (made[0][0] != other[0][0]).any() and (made[0][1] != other[0][1]).any()
    for images, patches in made:
        assert len({image.tobytes() for image in images}) == 8
        boxes = attention_boxes(patches, crop=10**9)
        assert boxes.min() >= 0 and boxes.max() <= 84 and patches.dtype == np.float32


def test_the_whole_image_overlaps_too_little_and_the_true_crop_wholly():
    x = np.zeros((2, 1, 84, 84), np.float32)
    model = EXPERIMENT.build_model(replace(EXPERIMENT.defaults, filters=2))
    truth = np.array([[20.0, 30, 48, 58]] * 2)
    whole = EXPERIMENT.evaluate(model, x, truth)
    assert whole == {"test_error": 100.0, "test_iou": pytest.approx(1 / 9)}
    model.transformer.localisation[8].bias.data[...] = [1 / 3, 33.5 / 41.5 - 1, 43.5 / 41.5 - 1]
    found = EXPERIMENT.evaluate(model, x, truth + [[0] * 4, [15, 0, 15, 0]])  # 13 of 28 columns are shared
    assert found == {"test_error": 50.0, "test_iou": pytest.approx((1 + 13 / 43) / 2, abs=1e-5)}


def test_a_batch_of_one_image_has_no_pairs(runs, monkeypatch, capfd):
    monkeypatch.chdir(runs)
    assert main([*TRAIN, "--batch-size", "1", "--run-dir", "one"]) == 2
    assert "--batch-size should be 2 or more" in capfd.readouterr().err


def test_resume_to_the_same_bits_without_the_encoder_run(runs, monkeypatch, tmp_path):
    """Interrupted in the second epoch, and resumed where no encoder lies: it is in the checkpoint."""
    given = EXPERIMENT.batches

    def interrupting(settings, data, epoch, start, device):
        for step, batch in enumerate(given(settings, data, epoch, start, device)):
            if (epoch, step) == (1, 7):
                os.kill(os.getpid(), signal.SIGINT)
            yield batch

    monkeypatch.chdir(runs)
    monkeypatch.setattr(EXPERIMENT, "batches", interrupting)
    assert main([*TRAIN, "--run-dir", str(tmp_path / "parts")]) == 130
    monkeypatch.setattr(EXPERIMENT, "batches", given)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "co-localisation", "--run-dir", "parts", "--resume"]) == 0
    assert not (tmp_path / "runs").exists()
    one, other = (load(path / "checkpoint.h5")["model"] for path in (runs / "run", tmp_path / "parts"))
    assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_encoders_that_are_none(runs, monkeypatch, capfd):
    monkeypatch.chdir(runs)
    given = ["train", "distorted-mnist", *SMALL, "--steps", "1", "--distortion"]
    assert main([*given, "RTS", "--model", "cnn", "--run-dir", "larger"]) == 0
    assert main([*given, "R", "--model", "fcn", "--run-dir", "fcn"]) == 0
    RunDirectory.create("unfinished", RunDirectory.open(encoder_run(runs)).config)
    for encoder_dir, words in (("larger", "model cnn, distortion RTS, data digits, filters 2, finished"),
                               ("fcn", "model fcn, distortion R, data digits, filters 2, finished"),
                               ("unfinished", "distortion E, data digits, filters 2, not finished"),
                               ("run", "'run', experiment co-localisation, model st-attention"),
                               ("nowhere", "'nowhere', which has no config.json")):
        capfd.readouterr()
        assert main([*TRAIN, "--encoder", encoder_dir, "--run-dir", "refused"]) == 2
        said = capfd.readouterr().err
        assert words in said and "should be" in said and len(said.splitlines()) == 1
        assert not (runs / "refused").exists()
    run = RunDirectory.open(encoder_run(runs))
    with pytest.raises(ValueError, match="of mnist, --filters 2, received .*, data digits, filters 2, finished"):
        encoder.checked(run, replace(EXPERIMENT.defaults, data="mnist", filters=2))
    assert main([*TRAIN, "--encoder", str(encoder_run(runs)), "--run-dir", "named"]) == 0
    one, other = (load(runs / name / "checkpoint.h5")["model"] for name in ("run", "named"))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_run_directory_that_is_taken_is_refused_before_an_encoder_is_trained(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "result.json").write_text("{}")
    wanted = []
    monkeypatch.setattr(encoder, "run_of", lambda *arguments: wanted.append(arguments))
    assert main([*TRAIN, "--run-dir", "taken"]) == 2
    assert "which holds a run (result.json)" in capfd.readouterr().err and wanted == []


def test_an_encoder_that_is_interrupted_or_diverges_is_told_of(runs, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    other = [*TRAIN, "--run-dir", "other"]
    given = encoder.DISTORTED_MNIST.batches

    def interrupting(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        yield from given(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(encoder.DISTORTED_MNIST, "batches", interrupting)
        assert main(other) == 130
    said = capfd.readouterr()
    assert "saved, go on with: the same command" in said.err and not (tmp_path / "other").exists()
    path = encoder_run(tmp_path)
    RunDirectory.open(path).finish({"diverged": "at step 3"})
    assert main(other) == 2
    assert "not finished" in capfd.readouterr().err
    (path / "result.json").unlink()
    assert main(other) == 0
    said = capfd.readouterr().out
    assert "\nencoder: epoch   8/8" in said and "\nepoch   3/3" in said


def test_an_encoder_in_training_is_waited_for(runs, monkeypatch, capfd):
    pytest.importorskip("fcntl")
    monkeypatch.chdir(runs)
    before = (encoder_run(runs) / "checkpoint.h5").read_bytes()
    program = f"import time; from nanostn.runs import RunDirectory\n" \
              f"with RunDirectory.open({str(encoder_run(runs))!r}).locked():\n" \
              f"    print('held', flush=True); time.sleep(1)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True,
                          cwd=Path(__file__).parents[1]) as holder:
        assert holder.stdout.readline() == "held\n"
        began = time.monotonic()
        assert main([*TRAIN, "--seed", "1", "--steps", "1", "--run-dir", "second"]) == 0
        assert time.monotonic() - began > 0.5 and "waiting for the process that trains" in capfd.readouterr().out
    assert (encoder_run(runs) / "checkpoint.h5").read_bytes() == before


def test_the_report_replays_the_run(runs, monkeypatch):
    pytest.importorskip("matplotlib")
    from PIL import Image

    monkeypatch.chdir(runs)
    revived = revive("run")
    steps, boxes = localisation_pictures.course(revived)
    assert steps == [0, 20, 40, 50] and boxes.shape == (4, 100, 4)
    np.testing.assert_allclose(boxes[0], [[0, 0, 84, 84]] * 100, atol=1e-4)
    np.testing.assert_array_equal(boxes[-1], EXPERIMENT.boxes(revived.model, revived.images))
    assert "another device" not in localisation_pictures.pictures(revived)[0].text
    before = revived.model.transformer.localisation[8].bias.data.copy()
    revived.model.transformer.localisation[8].bias.data[1] += 0.1
    assert "ends up to 4 pixels beside" in localisation_pictures.pictures(revived)[0].text
    revived.model.transformer.localisation[8].bias.data[...] = before
    assert main(["report", "run"]) == 0
    page = (runs / "run" / "report" / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 2 and page.count("data:image/gif;base64,") == 1
    with Image.open(runs / "run" / "report" / "localisation.gif") as film:
        assert film.n_frames == 4
