"""Names that other libraries keep to themselves: each in one file of ours, listed here with what we expect of it.

A release of Numba that drops or changes one fails here, with the name of the file to mend. No other file may use any,
and what is used no longer has to leave the list. Needs the checkout.
"""

import ast
import importlib
import inspect
from pathlib import Path

import numba
import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("kernels", "nanostn", "datasets")
COMPILING, CUDA = "kernels/compiling/", "kernels/gpu/"

pytestmark = pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="reads the files of a checkout")

# The file, the name as it is reached ("()" is an instance), and the parameters that we give or take, in their order;
# None for what is not called. What follows "()" is an attribute of our objects, imported by no statement.
NAMES = [(COMPILING + file, name, parameters) for file, name, parameters in [
    ("blas.py", "numba.core.cgutils.alloca_once", "builder ty"),
    ("blas.py", "numba.core.cgutils.alloca_once_value", "builder value"),
    ("blas.py", "numba.core.cgutils.gep_inbounds", "builder ptr inds"),
    ("blas.py", "numba.core.cgutils.get_or_insert_function", "module fnty name"),
    ("blas.py", "numba.core.cgutils.pack_array", "builder values"),
    ("blas.py", "numba.core.cgutils.unpack_tuple", "builder tup"),
    ("caching.py", "numba.core.caching.FunctionCache", "py_func"),
    ("caching.py", "numba.core.caching.FunctionCache()._cache_file", None),
    ("caching.py", "numba.core.caching.FunctionCache()._cache_path", None),
    ("caching.py", "numba.core.caching.FunctionCache()._impl.filename_base", None),
    ("caching.py", "numba.core.caching.FunctionCache()._impl.locator.from_function", "py_func py_file"),
    ("caching.py", "numba.core.caching.FunctionCache()._impl.locator.get_cache_path", ""),
    ("caching.py", "numba.core.caching.FunctionCache()._impl.locator.get_source_stamp", ""),
    ("caching.py", "numba.core.caching.FunctionCache()._py_func", None),
    ("caching.py", "numba.core.caching.FunctionCache().load_overload", "sig target_context"),
    ("caching.py", "numba.core.caching.FunctionCache().save_overload", "sig data"),
    ("caching.py", "numba.core.caching.IndexDataCacheFile", "cache_path filename_base source_stamp"),
    ("caching.py", "numba.core.caching.IndexDataCacheFile._load_index", "self"),
    ("caching.py", "numba.core.ccallback.CFunc", "pyfunc sig locals options"),
    ("caching.py", "numba.core.ccallback.CFunc()._cache", None),
    ("caching.py", "numba.core.ccallback.CFunc().compile", ""),
    ("caching.py", "numba.core.registry.CPUDispatcher()._cache", None),
    ("caching.py", "numba.core.registry.cpu_target.target_context.codegen", ""),
    ("caching.py", "numba.core.registry.cpu_target.target_context.refresh", ""),
    ("caching.py", "numba.core.sigutils.normalize_signature", "sig"),
    ("linking.py", "numba.core.codegen.JITCodeLibrary", "codegen name"),
    ("linking.py", "numba.core.codegen.JITCodeLibrary._finalize_final_module", "self"),
    ("linking.py", "numba.core.codegen.JITCodeLibrary._finalized", None),
    ("linking.py", "numba.core.codegen.JITCodeLibrary._optimize_final_module", "self"),
    ("linking.py", "numba.core.compiler.Flags", ""),
    ("linking.py", "numba.core.compiler.compile_extra",
     "typingctx targetctx func args return_type flags locals library"),
    ("linking.py", "numba.core.registry.CPUDispatcher", "py_func locals targetoptions"),
    ("linking.py", "numba.core.registry.CPUDispatcher()._compiler.fold_argument_types", "args kws"),
    ("linking.py", "numba.core.registry.CPUDispatcher().get_call_template", "args kws"),
    ("linking.py", "numba.core.registry.CPUDispatcher().get_overload", "sig"),
    ("linking.py", "numba.core.registry.CPUDispatcher().targetdescr.options.parse_as_flags", "flags options"),
    ("linking.py", "numba.core.registry.CPUDispatcher().targetdescr.target_context.insert_user_function",
     "func fndesc libs"),
    ("linking.py", "numba.core.registry.CPUDispatcher().targetdescr.typing_context", None),
    ("linking.py", "numba.core.registry.CPUDispatcher().targetoptions", None),
    ("linking.py", "numba.core.types.misc.unliteral", "lit_type"),
    ("linking.py", "numba.core.typing.make_concrete_template", "name key signatures"),
    ("parallel.py", "numba.core.ccallback.CFunc().address", None),
    ("threads.py", "numba.core.compiler_lock.global_compiler_lock.acquire", ""),
    ("threads.py", "numba.core.compiler_lock.global_compiler_lock.release", ""),
]] + [
    (CUDA + "driver.py", "numba.cuda.dispatcher.get_current_device", ""),
    (CUDA + "simulator.py", "numba.cuda.simulator.cudadrv.devicearray.FakeCUDAArray", "ary"),
    (CUDA + "simulator.py", "numba.cuda.simulator.cudadrv.devicearray.FakeCUDAArray()._ary", None),
    ("nanostn/compilation.py", "numba.core.event.Listener.on_end", "self event"),
    ("nanostn/compilation.py", "numba.core.event.Listener.on_start", "self event"),
    ("nanostn/compilation.py", "numba.core.event.register", "kind listener"),
    ("nanostn/compilation.py", "numba.core.event.unregister", "kind listener"),
    ("nanostn/ptx_check.py", "numba.cuda.dispatcher.get_current_device", ""),  # asks whether driver.py's is there
]

INSTANCES = {
    "numba.core.caching.FunctionCache": lambda kind: kind(test_no_private_name_is_gone),
    "numba.core.ccallback.CFunc": lambda kind: kind(lambda x: x, ((numba.int64,), numba.int64), {}, {}),
    "numba.core.registry.CPUDispatcher": lambda kind: numba.njit(lambda x: x),
    "numba.cuda.simulator.cudadrv.devicearray.FakeCUDAArray": lambda kind: kind(None),
}

_NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}


def resolved(name):
    """What a dotted name stands for; AttributeError says which part of it is missing."""
    path, _, rest = name.partition("()")
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
            break
        except ModuleNotFoundError:
            continue
    for part in parts[end:]:
        found = getattr(found, part)
    if "()" in name:
        found = INSTANCES[path](found)
        for part in rest.strip(".").split("."):
            found = getattr(found, part)
    return found


@pytest.mark.parametrize(("file", "name", "expected"), NAMES, ids=[f"{file}-{name}" for file, name, _ in NAMES])
def test_no_private_name_is_gone(file, name, expected):
    if name.startswith("numba.cuda"):
        pytest.importorskip("numba.cuda")
    mend = f"{file} uses {name}: find out what does its work in Numba {numba.__version__}, and mend it there"
    try:
        found = resolved(name)
    except AttributeError as error:
        pytest.fail(f"{mend} ({error})")
    if expected is not None:
        parameters = list(inspect.signature(found).parameters.values())
        expected = expected.split()
        further = [each.name for each in parameters[len(expected):]
                   if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
        assert ([each.name for each in parameters[:len(expected)]], further) == (expected, []), mend


def test_blas_takes_32_bit_sizes_by_pointer():
    """SciPy's pointers are public, and their types are what `gemm` passes: a count of 64 bits would be read halved."""
    for kind in "sd":
        number = f"__pyx_t_5scipy_6linalg_11cython_blas_{kind} *"
        order = ["char *"] * 2 + ["int *"] * 3 + [number, number, "int *", number, "int *", number, number, "int *"]
        declared = importlib.import_module("scipy.linalg.cython_blas").__pyx_capi__[f"{kind}gemm"]
        assert f'"void ({", ".join(order)})"' in repr(declared), "mend gemm in kernels/compiling/blas.py"


TREES = {file.relative_to(ROOT).as_posix(): ast.parse(file.read_text(encoding="utf-8"))
         for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))}


def private(path):
    """Whether a dotted name of another library is not for its users: underscored, or inside Numba."""
    parts = path.split(".")
    if parts[0] in ("__future__", *FOLDERS):
        return False
    inside = len(parts) > 2 and parts[0] == "numba" and (parts[1] == "core" or parts[1] == "cuda")
    return inside or parts[:2] in (["numba", "np"], ["numba", "core"]) or any(part.startswith("_") for part in parts)


def imported(tree):
    """Dotted names of other libraries, wherever in the file they are imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))


def attributes(tree):
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_no_other_file_imports_a_private_name():
    known = {(file, name.partition("()")[0]) for file, name, _ in NAMES}
    for file, tree in TREES.items():
        for path in filter(private, imported(tree)):
            through = {f"{path}.{node.attr}" for node in ast.walk(tree) if isinstance(node, ast.Attribute)
                       and ast.unparse(node.value) == path.rpartition(".")[2]}
            for used in through | {path}:
                assert any(at == file and f"{name}.".startswith(f"{used}.") for at, name in known), \
                    f"{file} uses {used}: take what is public, or what the file has that is listed here"


def test_no_other_file_uses_a_private_attribute():
    """An underscored attribute that none of our own sources gives its objects belongs to another library."""
    own = _NAMED_TUPLES.union(*(
        {node.name} if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else
        {node.id} if isinstance(node, ast.Name) else
        {node.attr} if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "cls") else set()
        for tree in TREES.values() for node in ast.walk(tree)
        if not isinstance(getattr(node, "ctx", None), ast.Load)))
    for file, tree in TREES.items():
        listed = {part for at, name, _ in NAMES if at == file for part in name.split(".")}
        foreign = {name for name in attributes(tree) if name.startswith("_") and not name.startswith("__")}
        assert foreign - own <= listed, f"{file} uses attributes of other libraries"


@pytest.mark.parametrize(("file", "name"), [row[:2] for row in NAMES])
def test_the_list_can_only_shrink(file, name):
    """Each listed name is still used where it is said to be."""
    tree = TREES[file]
    words = attributes(tree) | {path.rpartition(".")[2] for path in imported(tree)}
    words |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    words |= {node.args[1].value for node in ast.walk(tree) if isinstance(node, ast.Call)
              and ast.unparse(node.func) == "hasattr" and isinstance(node.args[1], ast.Constant)}
    words |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert name.replace("()", "").rpartition(".")[2] in words, f"{file} need not be listed with {name} any more"
