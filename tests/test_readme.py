"""The README's Python runs and prints what it says, and the commands it names exist. Needs the checkout."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"
pytestmark = pytest.mark.skipif(not README.exists(), reason="reads the README of a checkout")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(blocks("python")) if README.exists() else 0))
def test_python_blocks_run(number):
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(blocks("python")[number], f"README block {number}", "exec"), {})
    said = re.findall(r"#> (.*)", blocks("python")[number])
    assert shown.getvalue().splitlines() == said


def test_the_first_screen_has_the_two_commands():
    head = README.read_text(encoding="utf-8").split("## ")[0].splitlines()
    assert "    pip install -e \".[app]\" && nanostn demo" in head
    assert "    pip install -e \".[test]\" && pytest -n auto" in head


def test_files_that_are_named_exist():
    text = README.read_text(encoding="utf-8")
    for path in set(re.findall(r"`((?:kernels|nanostn|datasets|tests)/[\w/]+(?:\.py|/))`", text)) | set(
            re.findall(r"\]\((?!http|#)([^)]+)\)", text)):
        assert (README.parent / path).exists(), path


def test_families_kernels_and_paddings_are_all_named():
    from nanostn import sampler, transformations

    text = README.read_text(encoding="utf-8")
    families = text.split("| family | theta |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", families, re.MULTILINE)) == {
        name for name in transformations.__all__ if name[0].isupper()} - {"Transformation"}
    for line, names in ((r"`mode` is .*?\n\n", sampler.MODES), (r"`padding_mode` is .*?\n\n", sampler.PADDINGS)):
        paragraph = re.search(line, text, re.DOTALL).group()
        assert all(f"`{name}`" in paragraph for name in names)


def test_options_of_train_that_are_named_exist(capsys):
    from nanostn.experiments import find

    lines = re.findall(r"nanostn train [^\n`|]+", README.read_text(encoding="utf-8"))
    assert lines
    for line in lines:
        _, _, experiment, *options = shlex.split(line, comments=True)
        if not experiment.islower():  # the general form
            continue
        with pytest.raises(SystemExit):
            find(experiment).main(["--help"])
        shown = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
        for option in options:
            if option.startswith("--"):
                assert option in shown, f"{option} in: {line}"


def test_published_figures_are_those_of_the_files():
    """The tables of results stand under a comment that names them, and are what the package's files come to."""
    from nanostn.tables import TABLES, show

    marked = re.findall(r"<!-- table ([\w-]+) (\w+) -->\n(.*?)\n\n", README.read_text(encoding="utf-8"), re.DOTALL)
    for name, recipe, table in marked:
        assert table == show.as_markdown(TABLES[name], show.published(name), recipe), (name, recipe)
    published = {(name, cell.recipe) for name in TABLES for cell in show.published(name)}
    assert {(name, recipe) for name, recipe, _ in marked} == published
