"""The package list of pyproject.toml against the tree, and what must not be in it. Needs the checkout."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = ROOT / "pyproject.toml"

pytestmark = pytest.mark.skipif(not PYPROJECT.exists() or sys.version_info < (3, 11),
                                reason="reads pyproject.toml of a checkout, with tomllib")


def configuration():
    import tomllib

    return tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))


def test_every_folder_with_code_is_a_package_of_the_wheel():
    setuptools = configuration()["tool"]["setuptools"]
    expected = set()
    for package, folder in setuptools["package-dir"].items():
        for path in (ROOT / folder).rglob("*.py"):
            inner = path.parent.relative_to(ROOT / folder).parts
            expected.add(".".join((package, *inner)))
    assert set(setuptools["packages"]) == expected


def test_core_dependencies_are_the_five():
    names = {line.split(">")[0] for line in configuration()["project"]["dependencies"]}
    assert names == {"numpy", "numba", "scipy", "h5py", "threadpoolctl"}
    for line in configuration()["project"]["dependencies"]:
        assert ">=" in line and "<" not in line and "==" not in line


def test_the_top_level_is_small():
    visible = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    made = {"build", "dist", "nanostn.egg-info", "runs", "venv"}  # by installing, training; ignored by git
    assert visible - made == {"nanostn", "kernels", "datasets", "tests", "pyproject.toml", "README.md", "LICENSE"}
