"""The command line: `nanostn --help`. Each command is a function; what it needs is imported when it runs."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nanostn._version import version
from nanostn.checks import argument_error
from nanostn.console import Parser, guarded, natural, positive, use_device
from nanostn.experiments import EXPERIMENTS, find, revive
from nanostn.tables import TABLES
from nanostn.tables import find as find_table

_EXAMPLES = """\
start here:
  nanostn demo                                          two minutes: with a spatial transformer, and without
  nanostn train distorted-mnist --model st-cnn-affine   the paper's main experiment; add --help for its options
  nanostn report runs/distorted-mnist-...               what the transformer looks at, as a page of pictures
  nanostn verify                                        every gradient against finite differences

Exit codes: 0 done, 1 the run failed, 2 wrong arguments, data or files, 130 interrupted (143: SIGTERM).
"""

_DATA_DIR = "holds a folder for each data set, as mnist (default: $NANOSTN_DATA, else the user's cache)"


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["train"] and arguments[1:2] and arguments[1] in EXPERIMENTS:
        # an experiment has options of its own, so it reads them itself
        return find(arguments[1]).main(arguments[2:], f"nanostn train {arguments[1]}")
    parser = _parser()
    further: list[str] = []
    if arguments[:1] == ["table"] and "--" in arguments:
        further = arguments[arguments.index("--") + 1:]
        del arguments[arguments.index("--"):]
    options = parser.parse_args(arguments)
    if further:
        options.train_options = further
    if options.command is None:
        parser.print_help()
        return 0
    return options.run(options)


def _parser() -> Parser:
    parser = Parser(prog="nanostn", epilog=_EXAMPLES,
                    description="Spatial Transformer Networks (Jaderberg et al. 2015) from scratch on NumPy and Numba.")
    parser.add_argument("--version", action="version", version=f"nanostn {version}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def command(name: str, run: Callable[[argparse.Namespace], int] | None, help: str, epilog: str = "") -> Parser:
        added = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".", epilog=epilog)
        added.set_defaults(run=run)
        return added

    def place(added: Parser, data: bool = True) -> None:
        added.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
        added.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: all cores)")
        if data:
            added.add_argument("--data-dir", metavar="DIR", help=_DATA_DIR)

    info = command("info", _info, "versions, CPU threads, GPU, data found")
    info.add_argument("--data-dir", metavar="DIR", help=_DATA_DIR)
    info.add_argument("--kernels", action="store_true", help="list the kernels that are compiled, from the disk")
    info.add_argument("--model", metavar="NAME", help="only the names and shapes of a network's weights: EXPERIMENT, "
                                                      "EXPERIMENT:MODEL or inception")

    demo = command("demo", _demo, "a CNN and an ST-CNN on distorted digits, in about two minutes, without a download")
    place(demo, data=False)
    demo.add_argument("--run-dir", metavar="DIR", help="for both runs and the report (default: a new folder in runs/)")

    train = command("train", None, "train a network: nanostn train EXPERIMENT --help lists the options",
                    epilog="experiments:\n" + "".join(f"  {name:18}{text}\n" for name, text in EXPERIMENTS.items()))
    train.add_argument("experiment", metavar="EXPERIMENT", choices=EXPERIMENTS, help=", ".join(EXPERIMENTS))

    evaluate = command("evaluate", _evaluate, "test error of a trained network, from its checkpoint")
    evaluate.add_argument("run_dir", metavar="RUN_DIR", help="written by nanostn train")
    place(evaluate)

    report = command("report", _report, "pictures of runs: learning curves, sampling grids; one HTML page")
    report.add_argument("run_dirs", metavar="RUN_DIR", nargs="+", help="written by nanostn train")
    report.add_argument("--output", metavar="DIR", help="for page and pictures (default: report/ in RUN_DIR, of "
                                                         "several runs a new folder comparison beside the first)")
    place(report)

    table = command("table", _table, "the cells of one of the paper's tables: trained, resumed, shown",
                    epilog=_table_epilog())
    table.add_argument("name", metavar="NAME", help=", ".join(TABLES))
    table.add_argument("--only", nargs="+", default=(), metavar="NAME", help="rows and columns (default: all)")
    table.add_argument("--seeds", type=natural, nargs="+", default=(0,), metavar="N", help="(default: 0)")
    table.add_argument("--recipe", metavar="NAME", help="how to train, see below (default: the first)")
    table.add_argument("--epochs", type=positive, metavar="N", help="instead of the recipe's")
    table.add_argument("--steps", type=positive, metavar="N", help="the same in steps; a schedule is scaled to them")
    table.add_argument("--jobs", type=positive, default=1, metavar="N",
                       help="cells trained side by side, the threads divided among them (default: %(default)s)")
    table.add_argument("--folder", metavar="DIR", help="of the runs, the table and its page (default: runs/table-NAME)")
    table.add_argument("--show", action="store_true", help="train nothing")
    table.add_argument("--published", action="store_true", help="show the results that come with the package instead")
    table.add_argument("--runs", action="store_true", help="each run: error, steps, minutes, machine, command")
    place(table)
    table.set_defaults(train_options=())

    verify = command("verify", _verify, "operations and layers against finite differences, on a GPU against the CPU; "
                                        "exit code 1 if one fails")
    verify.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    verify.add_argument("--all", action="store_true", help="a line for each row, not for each group of rows")

    bench = command("bench", _bench, "times of the kernels, beside PyTorch's where that is installed")
    bench.add_argument("--only", metavar="NAME", help="one group of measurements")
    place(bench, data=False)

    data = command("data", _data, "list the data sets found, or fetch one")
    data.add_argument("action", choices=("list", "fetch"))
    data.add_argument("name", nargs="?", metavar="NAME", help="what to fetch, as the list names it")
    data.add_argument("--data-dir", metavar="DIR", help=_DATA_DIR)
    return parser


def _info(options: argparse.Namespace) -> int:
    if options.model is not None:
        return _info_model(options.model)
    from importlib import metadata

    import numba

    from nanostn import datasets

    def row(name: str, value: object) -> None:
        print(f"{name:12}{value}")

    row("nanostn", f"{version}  ({Path(__file__).resolve().parent})")
    row("python", f"{platform.python_version()}  {platform.system()} {platform.machine()}")
    for package in ("numpy", "numba", "scipy", "h5py", "matplotlib", "tqdm", "pooch", "numba-cuda"):
        try:
            row(package, metadata.version(package))
        except metadata.PackageNotFoundError:
            extra = "cuda" if package == "numba-cuda" else "app"
            row(package, f'not installed (optional: pip install "nanostn[{extra}]")')
    row("CPU", f"{os.cpu_count()} cores, {numba.get_num_threads()} threads for kernels")
    row("GPU", _gpu())
    row("data", datasets.data_directory(options.data_dir))
    for name, place in datasets.available(options.data_dir).items():
        row("", f"{name}: {place}")
    if "mnist" not in datasets.available(options.data_dir):
        row("", "mnist: not found (nanostn data fetch mnist)")
    if options.kernels:
        _info_kernels()
    return 0


def _gpu() -> str:
    """A real GPU by its name, the simulator as what it is, or why there is none."""
    from nanostn.kernels.gpu.device import device, state

    kind, words = state()
    if kind != "gpu":
        return f"none: {words}" if kind == "none" else words
    gpu = device()
    memory = f"{gpu.free_bytes() / 2**30:.1f} GiB free"
    return f"{words}, compute capability {gpu.capability[0]}.{gpu.capability[1]}, {memory}"


def _info_model(name: str) -> int:
    """Names, shapes and number of a network's parameters and buffers, as a file for `weights.load` has them."""
    if name == "inception":
        from nanostn.models.inception import Inception

        model: Any = Inception()
    else:
        name, _, chosen = name.partition(":")
        if name not in EXPERIMENTS:
            raise argument_error("info", "--model", f"inception or one of {', '.join(EXPERIMENTS)}", repr(name))
        experiment = find(name)
        chosen = chosen or experiment.defaults.model
        if chosen not in experiment.models:
            raise argument_error("info", "--model", f"{name}:NAME with one of {', '.join(experiment.models)}",
                                 repr(chosen))
        model = experiment.build_model(replace(experiment.defaults, model=chosen))
    state = model.state()
    width = max(map(len, state))
    for path, array in state.items():
        print(f"{path:<{width}}  {' x '.join(map(str, array.shape))}")
    total = model.count_parameters()
    print(f"{total:,} parameters, and {sum(array.size for array in state.values()) - total:,} numbers that are not "
          "trained")
    return 0


def _info_kernels() -> None:
    from nanostn.compilation import compiled_kernels

    try:
        found, folders = compiled_kernels()
    except RuntimeError as error:
        print(f"\n{error}")
        return
    files, functions = (max(map(len, names), default=0) + 2 for names in
                        ([kernel.topic for kernel in found], [kernel.function for kernel in found]))
    if found:
        print(f"\n{'file':<{files}}{'function':<{functions}}{'kB':>6}  argument types")
    for kernel in found:
        print(f"{kernel.topic:<{files}}{kernel.function:<{functions}}{kernel.size / 1000:6.0f}  {kernel.arguments}")
    size = sum(kernel.size for kernel in found)
    print("\nno kernel is compiled yet for these sources: the first step compiles what it needs and keeps it on disk"
          if not found else
          f"\n{len(found)} compiled, {size / 1e6:.1f} MB, for these sources, this Numba and this processor")
    for folder, held in folders.items():
        print(f"{folder}: {held / 1e6:.1f} MB in all, with what other sources, versions and processors left")


def _demo(options: argparse.Namespace) -> int:
    from nanostn.experiments import demo

    device = use_device("demo", options.device, options.threads)
    return demo.main(options.run_dir, device=device)


def _evaluate(options: argparse.Namespace) -> int:
    from nanostn.compilation import announced_compilation

    device = use_device("evaluate", options.device, options.threads)
    experiment, _, settings, model, images, labels = revive(options.run_dir, options.data_dir, device)
    print(f"{experiment.name}, {settings.model}, {settings.data}: {len(labels):,} test images", flush=True)
    with announced_compilation():
        outcome = dict(experiment.evaluate(model, images, labels))
    print("  ".join([f"test error {outcome.pop('test_error'):.2f} %",
                     *(name.removeprefix("test_").replace("_", " ")
                       + (f" {value:.2f} %" if name.endswith("_error") else f" {value:.4f}")
                       for name, value in outcome.items())]))
    return 0


def _report(options: argparse.Namespace) -> int:
    from nanostn import drawing, report
    from nanostn.compilation import announced_compilation

    device = use_device("report", options.device, options.threads)
    drawing.new_figure(1, 1)  # without matplotlib, say so before anything is done
    revived = [revive(run_dir, options.data_dir, device) for run_dir in options.run_dirs]
    with announced_compilation():
        page = report.write(revived, options.output)
    print(page)
    return 0


def _table_epilog() -> str:
    recipes = (f"  {name:18}{recipe_name:8}{recipe.epochs} epochs {' '.join(recipe.options)}\n"
               for name, table in TABLES.items() for recipe_name, recipe in table.recipes.items())
    return ("tables and recipes:\n" + "".join(recipes)
            + "\nWhat follows -- are further options of nanostn train, for all cells.")


def _table(options: argparse.Namespace) -> int:
    from nanostn.kernels.compiling.threads import get_threads
    from nanostn.tables import show
    from nanostn.tables.runner import Runner

    table = find_table(options.name)
    if options.published:
        results, shown = show.published(options.name), []
        if not results:
            print(f"no results of {options.name} come with this version")
    else:
        folder = Path(options.folder or Path("runs", f"table-{options.name}"))
        cells = table.cells(options.only, options.recipe, options.seeds)
        failed = False
        if not options.show:
            threads = options.threads or get_threads()
            if options.jobs > threads:
                raise argument_error("table", "--jobs", f"at most the {threads} threads there are", options.jobs)
            length = [f"--{name}={value}" for name in ("epochs", "steps") if (value := getattr(options, name))]
            data = [f"--data-dir={options.data_dir}"] if options.data_dir else []  # decides on MNIST or digits
            runner = Runner(table, folder, cells, length, [*data, *options.train_options])
            failed = runner.run(options.jobs, threads // options.jobs, ["--device", options.device])
        results, shown = show.finished(table, folder), [cells[0].recipe]
    for recipe in table.recipes:
        if recipe in (*shown, *(cell.recipe for cell in results)):
            print(show.as_text(table, results, recipe), end="\n\n")
    if options.runs:
        print(show.runs_as_markdown(results))
    if options.published:
        return 0
    for path in show.write(table, results, folder, options.data_dir):
        print(path)
    return 1 if failed else 0


def _verify(options: argparse.Namespace) -> int:
    from nanostn import verify

    return verify.main(use_device("verify", options.device, None), every=options.all)


def _bench(options: argparse.Namespace) -> int:
    from nanostn.bench import gpu, run

    if use_device("bench", options.device, None) == "cuda":
        return gpu.main(options.only)
    return run.main(threads=options.threads, only=options.only) or 0


def _data(options: argparse.Namespace) -> int:
    from nanostn import datasets

    if options.action == "list":
        if options.name is not None:
            raise ValueError(f"data list: NAME should be left out, received {options.name!r}; all data sets are listed")
        absent = {name: f"not found; nanostn data fetch {name}" for name in datasets.SOURCES}
        for name, place in (absent | datasets.available(options.data_dir)).items():
            print(f"{name:16}{place}")
        return 0
    if options.name is None:
        raise ValueError("data fetch: NAME should be given, received none; try: nanostn data fetch mnist")
    print(datasets.fetch(options.name, options.data_dir))
    return 0
