"""The report: a page that stands alone, and pictures of what the transformer does."""

import re
from dataclasses import asdict, replace

import numpy as np
import pytest

from nanostn import drawing, nn, report
from nanostn.cli import main
from nanostn.experiments import find, revive
from nanostn.finite import after_forward
from nanostn.models import build
from nanostn.runs import Revived, RunDirectory

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of one epoch: with a transformer and without."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("LOCALAPPDATA", str(folder / "cache"))
        for model in ("st-fcn-affine", "fcn"):
            assert main(["train", "distorted-mnist", "--data", "digits", "--limit", "16", "--test-limit", "15",
                         "--batch-size", "8", "--epochs", "2", "--distortion", "R", "--model", model,
                         "--run-dir", str(folder / model)]) == 0
        yield folder


def test_page_of_one_run(runs, capfd):
    assert main(["report", str(runs / "st-fcn-affine")]) == 0
    folder = runs / "st-fcn-affine" / "report"
    assert str(folder / "index.html") in capfd.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "learning-curves.png", "transformer.png"]
    page = (folder / "index.html").read_text()
    sources = re.findall(r'src="([^"]{30})', page)
    assert len(sources) == 2 and all(source.startswith("data:image/png;base64,") for source in sources)
    text = re.sub(r"base64,[^\"]*", "", page)  # where any four letters may turn up
    assert "http" not in text and "distorted-mnist, R, digits" in page


def test_page_of_several_runs(runs):
    page = report.write([revive(runs / "fcn"), revive(runs / "st-fcn-affine")], runs / "both")
    assert {path.name for path in page.parent.iterdir()} == {"index.html", "learning-curves.png", "transformer-2.png"}
    assert page.read_text().count("<tr>") == 3


def table_run(path, model="cnn", errors=(3.0, 2.0), data="digits", seed=0):
    experiment = find("distorted-mnist")
    settings = replace(experiment.defaults, model=model, distortion="R", data=data, seed=seed)
    run = RunDirectory.create(path, asdict(settings))
    run._write("metrics.csv", "epoch,steps,train_loss,train_error,test_error,seconds\n" + "".join(
        f"{epoch},{epoch * 5},0.5,{error},{error},1\n" for epoch, error in enumerate(errors, 1)))
    return Revived(experiment, run, settings, nn.Sequential(), None, None)


def test_a_diverged_run_is_one(tmp_path):
    revived = [table_run(tmp_path / "one"), table_run(tmp_path / "two", model="fcn")]
    revived[1].run.finish({"diverged": "at step 3"})
    page = report.write(revived, tmp_path / "both").read_text()
    assert page.count("<td>unfinished</td>") == 1 and page.count("<td>diverged</td>") == 1


def test_two_runs_of_one_model_are_told_apart(tmp_path):
    revived = [table_run(tmp_path / "one"), table_run(tmp_path / "two", seed=1, data="mnist"),
               table_run(tmp_path / "<three>", model="<fcn>")]
    page = report.write(revived, tmp_path / "all").read_text()
    for words in ("<td>cnn (one)</td>", "<td>cnn (two)</td>", "<td>&lt;fcn&gt;</td>", "<td>1</td>",
                  "<h1>distorted-mnist, R, digits; distorted-mnist, R, mnist</h1>"):
        assert words in page
    assert "<fcn>" not in page and "<three>" not in page
    legend = report.draw_curves(revived).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["cnn (one)", "cnn (two)", "<fcn>"]


def test_a_run_without_a_finished_epoch_has_no_curves(tmp_path):
    page = report.write([table_run(tmp_path / "run", errors=())])
    assert [path.name for path in page.parent.iterdir()] == ["index.html"] and "unfinished" in page.read_text()


def test_an_error_of_zero_is_drawn(tmp_path):
    for name, errors, scale in (("more", (2.0, 0.5), "log"), ("zero", (2.0, 0.0), "symlog"), ("all", (0,), "symlog")):
        figure = report.draw_curves([table_run(tmp_path / name, errors=errors)])
        assert figure.axes[0].get_yscale() == scale and figure.axes[1].get_yscale() == "log"
        assert drawing.png(figure, dpi=40).startswith(b"\x89PNG")
    assert figure.axes[0].get_ylim()[0] == 0


def test_what_the_transformer_does(runs):
    model = build("st-fcn-affine", 28)  # a new one: the identity
    images = np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32)
    (look,), found = report.look(model, images)
    assert look.grid.shape == (3, 28, 28, 2) and found.shape == (3,)
    assert np.allclose(look.grid[1, 0, 0], [-1, -1]) and np.allclose(look.grid[2, 0, -1], [1, -1])
    assert np.array_equal(look.U, images) and np.allclose(look.V, images, atol=1e-5)
    assert np.allclose(report.movement(look), 0, atol=1e-6)
    model.transformer.localisation[5].bias.data[2] = 0.25  # t_x: every point moves by it, in x alone
    (look,), _ = report.look(model, images)
    assert np.allclose(report.movement(look), 0.125, atol=1e-6)


@pytest.mark.parametrize("model, names, shapes", [
    ("st-st-cnn-affine", ["transformer.0", "transformer.1"], [(1, 42, 42), (1, 56, 56)]),
    ("conv-st-cnn-affine", ["3"], [(5, 17, 17)]), ("st-cnn-affine-theta", ["transformer"], [(1, 56, 56)])])
def test_every_transformer_of_a_variant_is_looked_at(model, names, shapes):
    """What one is given is what came out of that before it; its own output is what it makes in the network."""
    network = build(model, 42, filters=5)
    images = np.random.default_rng(0).random((3, 1, 42, 42), dtype=np.float32)
    made = []
    transformers = [module for _, module in network.named_modules() if isinstance(module, nn.SpatialTransformer)]
    for number, transformer in enumerate(transformers):
        transformer.localisation.modules[-1].bias.data[2] = 0.25 * (number + 1)
    with after_forward([("", module) for module in transformers], lambda name, V: made.append(V.data)):
        looks, found = report.look(network, images)
    assert [look.name for look in looks] == names and [look.V.shape[1:] for look in looks] == shapes
    for number, look in enumerate(looks):
        np.testing.assert_allclose(report.movement(look), 0.125 * (number + 1), atol=1e-6)
    if model != "st-cnn-affine-theta":  # which calls theta and transform, not the transformer
        np.testing.assert_array_equal([look.V for look in looks][-1], made[-1])
    if len(looks) == 2:
        np.testing.assert_array_equal(looks[1].U, looks[0].V)
    assert drawing.png(drawing.transformer_sheet(report.visible(looks[-1].U), looks[-1].grid,
                                                 report.visible(looks[-1].V)), dpi=40).startswith(b"\x89PNG")


def test_feature_maps_are_shown_as_their_mean():
    maps = np.array([[[[0, 2], [4, 6]], [[2, 2], [2, 2]]], [[[5, 5], [5, 5]], [[1, 1], [1, 1]]]], np.float32)
    np.testing.assert_allclose(report.visible(maps), [[[[0, 1 / 3], [2 / 3, 1]]], [[[0, 0], [0, 0]]]], atol=1e-6)
    images = maps[:, :1] / np.float32(6)
    assert np.array_equal(report.visible(images), images)  # images stay as they are
    np.testing.assert_allclose(report.visible(maps[:, :1])[0], images[0])  # sums over a depth are as bright as fits


def test_volumes_are_seen_along_their_depth():
    U = np.zeros((1, 1, 3, 2, 2))
    U[0, 0, :, 0, 1], U[0, 0, 1, 1, 1] = 1, 0.6
    np.testing.assert_allclose(report.visible(U), [[[[0, 1], [0, 0.2]]]])
    np.testing.assert_array_equal(report.visible(U[:, :, 1]), U[:, :, 1])


def test_picture_for_the_readme(runs, tmp_path):
    report.draw_example(revive(runs / "st-fcn-affine"), tmp_path / "example.png", digits=2)
    assert (tmp_path / "example.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="should be of a network with a transformer, received 'fcn'"):
        report.draw_example(revive(runs / "fcn"), tmp_path / "none.png")


def test_runs_that_are_none(tmp_path, capfd):
    assert main(["report", str(tmp_path)]) == 2
    assert "has no config.json" in capfd.readouterr().err
    (tmp_path / "config.json").write_text('{"experiment": "distorted-mnist"}')
    assert main(["report", str(tmp_path)]) == 2
    assert "has not reached its first" in capfd.readouterr().err
