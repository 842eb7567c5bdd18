"""Do the tests notice a fault? One operator, constant or condition at a time is altered, and its file's tests run.

    python -m tests.mutation [FILE ...] --count 200 --seed 0 --minutes 45 --jobs 2 --report mutants.jsonl

The checkout is never altered: each job has a copy. The report is a line of JSON per mutant; the same command goes on
where it was cut off. A survivor is either an equivalent program or a test that is missing: a person decides.
"""

import argparse
import ast
import json
import os
import random
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

ROOT = Path(__file__).resolve().parents[1]

# Each file's tests, the quickest first. A kernel file without a row of its own has the tests of tests/kernels.
TESTS = {
    "nanostn/autograd.py": ["tests/test_autograd.py", "tests/test_tensor.py"],
    "nanostn/tensor.py": ["tests/test_tensor.py", "tests/test_broadcasting.py", "tests/test_autograd.py"],
    "nanostn/module.py": ["tests/test_module.py", "tests/test_layers.py"],
    "nanostn/optim.py": ["tests/test_optim.py"],
    "nanostn/activations.py": ["tests/test_activations.py"],
    "nanostn/losses.py": ["tests/test_losses.py"],
    "nanostn/normalisation.py": ["tests/test_normalisation.py"],
    "nanostn/pooling.py": ["tests/test_pooling.py"],
    "nanostn/convolution.py": ["tests/test_convolution.py"],
    "nanostn/dense.py": ["tests/test_dense.py"],
    "nanostn/sampler.py": ["tests/test_sampler_errors.py", "tests/test_sampler.py", "tests/test_antialias.py"],
    "nanostn/grid_generator.py": ["tests/test_grid_generator.py"],
    "nanostn/spline.py": ["tests/test_spline.py"],
    "nanostn/gradcheck.py": ["tests/test_gradcheck.py"],
    "nanostn/checks.py": ["tests/test_checks.py"],
    "nanostn/spatial_transformer.py": ["tests/test_spatial_transformer.py"],
    "nanostn/layers.py": ["tests/test_layers.py", "tests/test_module.py"],
    "nanostn/initialisers.py": ["tests/test_layers.py"],
    **{path.relative_to(ROOT).as_posix(): ["tests/test_transformations.py", "tests/test_piecewise_affine.py",
                                           "tests/test_displacement.py", "tests/test_learned_basis.py"]
       for path in sorted((ROOT / "nanostn/transformations").glob("*.py"))},
}
ENGINE = list(TESTS)
for kernel in sorted((ROOT / "kernels").glob("*.py")):
    own = f"tests/kernels/test_{kernel.stem}.py"
    TESTS[f"kernels/{kernel.name}"] = [own] * (ROOT / own).exists() + ["tests/kernels"]

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
        if isinstance(node, ast.FunctionDef) and (node.name == "__repr__" or "cuda_kernel" in "".join(
                ast.unparse(each) for each in node.decorator_list)):
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
            if name in ("annotation", "returns"):
                continue
            for each in child if isinstance(child, list) else [child]:
                if isinstance(each, ast.AST):
                    visit(each)

    visit(ast.parse(source))
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
    """With the compiled kernels: times of change are kept, so they stay valid."""
    shutil.copytree(root, target, ignore=shutil.ignore_patterns(".git", ".hypothesis", "runs", "*.h5"))


def run_tests(copy: Path, tests: list[str], limit: float) -> str:
    """'survived' where the tests pass, else what caught the mutant: 'failed' or 'time'."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen([sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not gpu",
                                *tests], cwd=copy, env=environment, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        return "time"
    finally:
        if process.poll() is None:  # an endless loop, or we are interrupted: the child and its own children
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code not in (0, 1, 2):
        return "failed" if code < 0 else f"error {code}"  # 4, 5: no tests found, which is no catch
    return "failed" if code else "survived"


def attempt(copy: Path, mutant: Mutant, tests: list[str], limit: float) -> str:
    path = copy / mutant.file
    original, stamp = path.read_bytes(), path.stat()
    try:
        path.write_text(mutated(original.decode(), mutant), encoding="utf-8")
        return run_tests(copy, tests, limit)
    finally:
        path.write_bytes(original)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE", help="default: the engine, nanostn/*.py, without kernels/")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=float, default=120, help="seconds for the tests of one mutant")
    parser.add_argument("--report", type=Path, help="results, a line of JSON each; read again to go on")
    options = parser.parse_args(arguments)
    unknown = [file for file in options.files if file not in TESTS]
    if unknown:
        parser.error(f"FILE should be one of the table TESTS, received {unknown[0]}")
    files = options.files or ENGINE
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
        for job in range(options.jobs):
            private_copy(ROOT, Path(folder, str(job)))
            copies.put(Path(folder, str(job)))
        for tests in {tuple(TESTS[file]) for file in files}:  # red tests would catch everything
            if (outcome := run_tests(Path(folder, "0"), list(tests), 600)) != "survived":
                print(f"without a mutant, {' '.join(tests)} should pass, received {outcome}", file=sys.stderr)
                return 2

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
        if outcome not in ("failed", "time"):
            print(f"{outcome}  {mutant.file}:{mutant.line}  {mutant.before} -> {mutant.after or '(dropped)'}")
    caught = sum(outcome in ("failed", "time") for _, outcome in results)
    print(f"{caught} of {len(results)} caught; {len(work) - len(results)} of {len(work)} not tried")
    return 0


if __name__ == "__main__":
    sys.exit(main())
