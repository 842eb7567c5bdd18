"""Do the tests notice a fault? One operator, constant or condition at a time is altered, and its file's tests run.

    python -m tests.mutation [FILE ...] --count 200 --seed 0 --minutes 45 --jobs 2 --report mutants.jsonl

FILE may also be `engine` or `kernels`. What runs on a GPU only is left as it is. The checkout is never altered: each
job has a copy. The report is a line of JSON per mutant; the same command goes on where it was cut off. A survivor is
either an equivalent program or a test that is missing: a person decides. One that ran out of time is counted by itself:
it is in an endless loop, if the limit is several times what the tests take.
"""

import argparse
import ast
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import NamedTuple

from .mutation_table import ENGINE, KERNELS, ROOT, TESTS

# Where a function of kernels/ has any of these, outside of branches for arrays of the device, it runs on a GPU only.
_GPU = re.compile(r"\bcuda(_kernel)?\b|\b(device_function|over|block|on_device|launch)\(|kernel\[|_device\[")
_GPU_ONLY = {"Problem", "BLOCKS", "PROBLEM", "WAYS", "ADJACENT", "GRID", "(PLANE, BASIS, GRID)", "FEW", "PARTS", "EACH",
             "_EITHER", "_LARGE", "_TYPES", "_power", "_scatter", "_stack", "_transposed"}  # by name

# Kernels whose second argument decides on the number of threads, which by design changes no bit (tests/kernels).
_SPREAD = {"_forward", "_backward", "_reach", "_read_images", "_dweight", "_dx", "_dropout", "_relu", "_relu_dx",
           "_matmul", "_max_pool", "_max_pool_dx", "_avg_pool", "_avg_pool_dx", "_sgd", "_adam"}

# Added to caching.py of a copy. A mutant makes stale what imports it, not all of the folder, and keeps nothing on disk.
_CACHING = """

import os
import re


@functools.cache
def _with_imports(file: Path) -> str:
    found, left = {}, [file]
    while left:
        each = left.pop()
        if each not in found and each.is_file():
            found[each] = text = each.read_text(encoding="utf-8")
            for dots, module, names in re.findall(r"^ *from ([.]+)([\\w.]*) import (.*)", text, re.MULTILINE):
                inside = each.parents[len(dots) - 1] / module.replace(".", "/")
                left += [Path(f"{inside}.py"), *(inside / f"{name}.py" for name in re.findall(r"\\w+", names))]
    return _short(sorted((os.path.relpath(each, FOLDER), text) for each, text in found.items()))


Cache._version = lambda self, codegen: _short((_with_imports(Path(inspect.getfile(self._py_func))),
                                               numba.__version__, codegen.magic_tuple()))
if "NANOSTN_MUTANT" in os.environ:
    Cache.save_overload = lambda self, sig, data: None
"""

_BINARY = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
           ast.FloorDiv: ("//", "*"), ast.Mod: ("%", "//")}
_COMPARE = {ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
            ast.Eq: ("==", "!="), ast.NotEq: ("!=", "==")}


class Mutant(NamedTuple):
    file: str
    line: int
    start: int  # of the bytes that are replaced
    end: int
    before: str
    after: str


class _WithoutDevice(ast.NodeTransformer):
    """Of `if is_device(x): ... else: ...` and the like, what arrays of the CPU go through."""

    def visit_If(self, node):
        self.generic_visit(node)
        if ast.unparse(node.test).startswith("is_device("):
            return node.orelse or ast.Pass()
        return node

    def visit_IfExp(self, node):
        self.generic_visit(node)
        return node.orelse if ast.unparse(node.test).startswith("is_device(") else node


def _for_a_gpu(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign):
        return _GPU.search(ast.unparse(node)) is not None or ast.unparse(node.targets[0]) in _GPU_ONLY
    return isinstance(node, (ast.FunctionDef, ast.ClassDef)) and (
        node.name in _GPU_ONLY or _GPU.search(ast.unparse(node)) is not None)


def mutants(file: str, source: str) -> list[Mutant]:
    """All of them, in the order of the text."""
    raw, found = source.encode(), []
    starts = [0]
    for line in raw.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def begin(node):
        return starts[node.lineno - 1] + node.col_offset

    def finish(node):
        return starts[node.end_lineno - 1] + node.end_col_offset

    def add(node, start, end, after):
        found.append(Mutant(file, node.lineno, start, end, raw[start:end].decode(), after))

    def between(left, right, before, after):
        """Only the operator; brackets and blanks around it stay."""
        at = raw.find(before.encode(), finish(left), begin(right))
        if at >= 0:
            add(right, at, at + len(before), after)

    def visit(node):
        if isinstance(node, (ast.Raise, ast.JoinedStr)):  # the words of messages
            return
        if isinstance(node, ast.FunctionDef) and node.name == "__repr__":
            return
        if file.startswith("kernels/") and _for_a_gpu(node):
            return
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("argument_error"):
            return
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY and not isinstance(node.left, ast.JoinedStr):
            between(node.left, node.right, *_BINARY[type(node.op)])
        elif isinstance(node, ast.Compare):
            for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
                if type(operator) in _COMPARE:
                    between(left, right, *_COMPARE[type(operator)])
        elif isinstance(node, ast.BoolOp):
            words = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            for left, right in zip(node.values, node.values[1:], strict=False):
                between(left, right, *words)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
            add(node, begin(node), begin(node) + (1 if isinstance(node.op, ast.USub) else 3), "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
            after = repr(not node.value) if isinstance(node.value, bool) else repr(node.value + 1)
            add(node, begin(node), finish(node), after)
        elif isinstance(node, ast.Name) and node.id in ("min", "max"):
            add(node, begin(node), finish(node), "max" if node.id == "min" else "min")
        if isinstance(node, (ast.If, ast.IfExp, ast.While)):
            test = node.test
            add(test, begin(test), finish(test), f"(not ({raw[begin(test):finish(test)].decode()}))")
        for name, child in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list"):
                continue
            if name == "args" and isinstance(node, ast.Call):
                if ast.unparse(node.func).endswith("reshape"):
                    child = [each for each in child if ast.unparse(each) != "-1"]  # a word, not a number
                elif file.startswith("kernels/") and ast.unparse(node.func) in _SPREAD:
                    child = [child[0], *child[2:]]
            for each in child if isinstance(child, list) else [child]:
                if isinstance(each, ast.AST):
                    visit(each)

    visit(_WithoutDevice().visit(ast.parse(source)))
    return sorted(set(found), key=lambda each: (each.start, each.end, each.after))


def mutated(source: str, mutant: Mutant) -> str:
    raw = source.encode()
    return (raw[:mutant.start] + mutant.after.encode() + raw[mutant.end:]).decode()


def chosen(sites: dict[str, list[Mutant]], count: int, seed: int) -> list[Mutant]:
    """A file at a time in turn, uniform within the file."""
    draw = random.Random(seed)
    rows = [draw.sample(each, len(each)) for each in sites.values()]
    turns = [row[i] for i in range(max(map(len, rows), default=0)) for row in rows if i < len(row)]
    return turns[:count]


def private_copy(root: Path, target: Path) -> None:
    shutil.copytree(root, target, ignore=shutil.ignore_patterns(".git", ".hypothesis", "runs", "*.h5", "__pycache__"))
    with open(target / "kernels/compiling/caching.py", "a", encoding="utf-8") as caching:
        caching.write(_CACHING)


def share_compiled(copies: list[Path]) -> None:
    """What one copy has compiled without a mutant serves all."""
    for copy in copies:
        for file in (copy / "kernels").rglob("*.nb[ic]"):
            for other in copies:
                target = other / file.relative_to(copy)
                target.parent.mkdir(exist_ok=True)
                if not target.exists():
                    shutil.copy2(file, target)


def run_tests(copy: Path, tests: list[str], limit: float, keep: bool = False) -> str:
    """'survived' where the tests pass, 'failed' where they do not, 'time' where they had no end."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("NUMBA_CACHE_DIR", None)
    if not keep:  # of a kernel that is a mutant nothing
        environment["NANOSTN_MUTANT"] = "1"
    # A shell stands in between: a mutant may send signals to the parent of its process.
    process = subprocess.Popen(["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-m", "pytest", "-x", "-q",
                                "-p", "no:cacheprovider", "-m", "not gpu", *tests], cwd=copy, env=environment,
                               start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        return "time"
    finally:  # an endless loop, or we are interrupted, or a mutant leaves processes behind
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if code in (3, 4, 5):  # no tests found, and the like: no catch
        return f"error {code}"
    return "failed" if code else "survived"


def attempt(copy: Path, mutant: Mutant, tests: list[str], limit: float) -> str:
    path = copy / mutant.file
    original, stamp = path.read_bytes(), path.stat()
    try:
        path.write_text(mutated(original.decode(), mutant), encoding="utf-8")
        return run_tests(copy, tests, limit, keep=not mutant.file.startswith("kernels/"))
    finally:
        path.write_bytes(original)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE", help="of the table TESTS; default: engine kernels")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=float, default=600,
                        help="seconds for the tests of one mutant; several times what they take, compiling included")
    parser.add_argument("--report", type=Path, help="results, a line of JSON each; read again to go on")
    parser.add_argument("--unchecked", action="store_true", help="the tests are known to pass without a mutant")
    options = parser.parse_args(arguments)
    files = [file for name in options.files or ["engine", "kernels"]
             for file in {"engine": ENGINE, "kernels": KERNELS}.get(name, [name])]
    unknown = [file for file in files if file not in TESTS]
    if unknown:
        parser.error(f"FILE should be engine, kernels or one of the table TESTS, received {unknown[0]}")
    work = chosen({file: mutants(file, (ROOT / file).read_text(encoding="utf-8")) for file in files},
                  options.count, options.seed)
    done = {}
    if options.report and options.report.exists():
        for line in options.report.read_text(encoding="utf-8").splitlines():
            *mutant, outcome = json.loads(line)
            done[Mutant(*mutant)] = outcome
    finish = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        copies: Queue[Path] = Queue()
        folders = [Path(folder, str(job)) for job in range(options.jobs)]
        for each in folders:
            private_copy(ROOT, each)
            copies.put(each)

        def unmutated(test):
            copy = copies.get()
            try:
                return run_tests(copy, [test], 600, keep=True)
            finally:
                copies.put(copy)

        left = {mutant.file for mutant in work if mutant not in done}
        tests = sorted({test for file in left for test in TESTS[file]} if not options.unchecked else ())
        with ThreadPoolExecutor(options.jobs) as pool:
            for test, outcome in zip(tests, pool.map(unmutated, tests), strict=True):
                if outcome != "survived":  # red ones would catch everything
                    print(f"without a mutant, {test} should pass, received {outcome}", file=sys.stderr)
                    return 2
        share_compiled(folders)

        def one(mutant):
            if mutant in done or time.monotonic() > finish:
                return
            copy = copies.get()
            try:
                done[mutant] = attempt(copy, mutant, TESTS[mutant.file], options.limit)
            finally:
                copies.put(copy)
            if options.report:
                with open(options.report, "a", encoding="utf-8") as report:
                    report.write(json.dumps([*mutant, done[mutant]]) + "\n")

        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(one, work))
    results = [(mutant, done[mutant]) for mutant in work if mutant in done]
    for mutant, outcome in sorted(results):
        if outcome != "failed":
            print(f"{outcome}  {mutant.file}:{mutant.line}  {mutant.before} -> {mutant.after or '(dropped)'}")
    print(f"{'caught':>8}{'survived':>10}{'time':>6}{'error':>7}")
    for file in [*files, "all"]:
        outcomes = [outcome for mutant, outcome in results if file in (mutant.file, "all")]
        counts = [outcomes.count(name) for name in ("failed", "survived", "time")]
        print("{:8}{:10}{:6}{:7}  {}".format(*counts, len(outcomes) - sum(counts), file))
    print(f"{len(work) - len(results)} of {len(work)} not tried")
    return 0


if __name__ == "__main__":
    sys.exit(main())
