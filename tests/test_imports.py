"""Who may import whom, read from the sources: no arrow points back, and nothing is imported by a bare folder name."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nanostn

PACKAGE = Path(nanostn.__file__).parent
FOLDERS = {"nanostn": PACKAGE}
for sub in ("kernels", "datasets"):
    inside = PACKAGE / sub
    FOLDERS[f"nanostn.{sub}"] = inside if inside.is_dir() else PACKAGE.parent / sub

# The layers, lowest first: a module may import what is in its own layer or below. Within the layers there are no
# cycles either.
LAYERS = [
    ["nanostn.kernels", "nanostn.kernels.compiling"],
    ["nanostn.kernels.gpu"],
    ["nanostn.kernels.products"],
    ["nanostn.kernels.sampling"],
    ["nanostn.kernels.convolution"],
    ["nanostn.kernels.networks"],
    ["nanostn._version", "nanostn.checks"],
    ["nanostn.arrays", "nanostn.overwrites"],
    ["nanostn.autograd"],
    ["nanostn.arithmetic", "nanostn.entries", "nanostn.variable"],
    ["nanostn.tensor"],
    ["nanostn.gradcheck"],
    ["nanostn.module"],  # below the operations: a transformation family may hold a Parameter
    ["nanostn.activations", "nanostn.arranging", "nanostn.convolution", "nanostn.dense", "nanostn.elementwise",
     "nanostn.losses", "nanostn.normalisation", "nanostn.pooling", "nanostn.reductions", "nanostn.transformations",
     "nanostn.grid_generator", "nanostn.sampler", "nanostn.spline", "nanostn.functional"],
    ["nanostn.datasets", "nanostn.initialisers", "nanostn.layers", "nanostn.spatial_transformer",
     "nanostn.nn", "nanostn.optimisers", "nanostn.schedules", "nanostn.optim", "nanostn.checkpoints"],
    ["nanostn.models"],
    ["nanostn"],  # training, drawing, verification: the applications
    ["nanostn.experiments"],
    ["nanostn.tables"],
    ["nanostn.cli", "nanostn.__main__"],
]


def modules():
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            inner = path.relative_to(folder)
            if package == "nanostn" and inner.parts[0] in ("kernels", "datasets"):
                continue
            parts = [package, *inner.with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name):
    """The modules of nanostn that a module imports, wherever in the file, and every other import by its name.

    But for what a type checker alone reads.
    """
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body
                 if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join(up + ([node.module] if node.module else []))
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in MODULES else base


def layer(name):
    best = max((prefix for group in LAYERS for prefix in group if name == prefix or name.startswith(prefix + ".")),
               key=len)
    return next(i for i, group in enumerate(LAYERS) if best in group)


@pytest.mark.parametrize("name", MODULES)
def test_arrows_point_down(name):
    if name == "nanostn":
        return  # the package's front door imports the public names
    for imported in imports(name):
        if imported in MODULES and imported != "nanostn":
            assert layer(imported) <= layer(name), f"{name} imports {imported}"


def test_no_import_cycles():
    graph = {name: {i for i in imports(name) if i in MODULES and i != name and i != "nanostn"} for name in MODULES}
    del graph["nanostn"]
    while graph:
        free = [name for name, needs in graph.items() if not needs & graph.keys()]
        assert free, f"a cycle among {sorted(graph)}"
        for name in free:
            del graph[name]


@pytest.mark.parametrize("name", MODULES)
def test_imports_are_ours_or_declared(name):
    allowed = sys.stdlib_module_names | {"nanostn", "numpy", "numba", "scipy", "h5py", "threadpoolctl"}
    extras = {"nanostn.bench.torch_side": {"torch"}, "nanostn.kernels.compiling.blas": {"llvmlite"},
              "nanostn.kernels.gpu.driver": {"cuda"}, "nanostn.datasets.fetch": {"requests"}}.get(name, set())
    if not name.startswith(("nanostn.kernels", "nanostn.functional", "nanostn.nn")):
        extras = extras | {"matplotlib", "tqdm", "PIL", "pooch"}
    for imported in imports(name):
        assert imported.split(".")[0] in allowed | extras, f"{name} imports {imported}"
        assert imported.split(".")[0] not in ("kernels", "datasets"), f"{name} imports {imported} by the bare name"


def test_importing_is_light():
    heavy = ["matplotlib", "torch", "numba.cuda", "cuda.bindings", "h5py", "PIL", "pooch", "tqdm", "scipy.linalg"]
    code = f"import sys, nanostn; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                           cwd=PACKAGE.parent)
    assert shown.stdout.strip() == "[]"
