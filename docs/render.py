"""Write the tables of README.md and docs/ anew from results/: `python docs/render.py`.

A table stands between the lines `<!-- table: NAME -->` and `<!-- end of table -->`; NAME is a key of TABLES below.
"""

import functools
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from vtnjax import experiments
from vtnjax.experiments.colocalisation.__main__ import PAPER as FOUND_BY_THE_PAPER

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
SEEDS = (0, 1, 2)
CLASSES = range(10)
FINE_GRAINED = ("vtn_table", "tasn_table")
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

FULLY_CONNECTED = ("FCN", "ST-FCN affine", "ST-FCN projective", "ST-FCN TPS", "ST-FCN linear")
CONVOLUTIONAL = ("CNN", "ST-CNN affine", "ST-CNN projective", "ST-CNN TPS", "ST-CNN linear")
TASKS = {"forward": "forward", "to coordinates": "gradient to the coordinates", "to both": "to coordinates and image"}


def record(name: str) -> dict[str, Any]:
    """The record `results/NAME.json`, whichever version wrote it."""
    return experiments.read_record(RESULTS / f"{name}.json")


def figures(name: str) -> dict[str, Any]:
    """What the record `results/NAME.json` measured."""
    return record(name)["figures"]


def runner(table: str) -> experiments.Runner:
    """The runs of a table, without overrides."""
    return experiments.Runner(table, experiments.TABLES[table](), (), ROOT / "runs", RESULTS / "experiments")


def results(table: str, variant: str) -> list[dict[str, Any]]:
    """The records of the seeds that were run; of runs with overrides, `variant` ends with `---config.key=value`."""
    found = [runner(table).result(variant, seed) for seed in SEEDS]
    return [each for each in found if each is not None]


def errors(table: str, variant: str) -> list[float]:
    """The test errors of the seeds that were run, in percent."""
    return [100 * (1 - each["figures"]["accuracy"]) for each in results(table, variant)]


def render(page: str) -> str:
    """A page with its tables made anew."""
    return BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]]()}\n{block[3]}", page)


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def _each(values):
    return ", ".join(f"{value:.1f}" for value in values)


def _mean(values):
    return f"{statistics.mean(values):.1f}" if values else ""


def _grid(table: str, rows: Sequence[str], show: Callable[[list[float]], str]) -> str:
    """A paper's table of several columns: a row for what was measured, and below it one for the paper's figures."""
    cells = experiments.TABLES[table]().rows
    columns = list(dict.fromkeys(column for name in rows for column in cells[name]))
    lines = []
    for name in rows:
        row = {column: cells[name].get(column) for column in columns}
        lines.append([name, *(show(errors(table, f"{cell.variant},short")) if cell else "" for cell in row.values())])
        paper = ["" if cell is None or cell.paper is None else str(cell.paper) for cell in row.values()]
        if any(paper):
            lines.append([f"{name}, the paper", *paper])
    return _markdown(["", *columns], lines)


def _column(table: str, suffix: str = "") -> str:
    """A table of one column: every row with a result."""
    cells = {name: next(iter(row.values())) for name, row in experiments.TABLES[table]().rows.items()}
    found = {name: errors(table, cell.variant + suffix) for name, cell in cells.items()}
    header = ["", "mean error", "each seed"]
    lines = [[name, _mean(each), _each(each)] for name, each in found.items() if each]
    if any(cell.paper is not None for cell in cells.values()):
        header.append("the paper")
        lines = [[*line, "" if cells[line[0]].paper is None else str(cells[line[0]].paper)] for line in lines]
    return _markdown(header, lines)


def _whole(table: str) -> str:
    """A table as its command prints it."""
    return experiments.render(runner(table), "", SEEDS)


def _digits() -> str:
    names = {"ST-FCN, affine: the command above": "st_fcn", "FCN: the same with `:model=fcn`": "fcn"}
    found = {name: errors("digits_stn", f"model={model}") for name, model in names.items()}
    return _markdown(
        ["network", "seeds 0, 1, 2", "mean"], [[n, f"{_each(e)} %", f"{_mean(e)} %"] for n, e in found.items()]
    )


def _colocalisation() -> str:
    lines = []
    for images, paper in FOUND_BY_THE_PAPER.items():
        found = [figures(f"experiments/colocalisation/{images}-{label}-0")["found"] for label in CLASSES]
        lines += [[images, *(f"{100 * share:.0f}" for share in found)], [f"{images}, the paper", *map(str, paper)]]
    return _markdown(["", *map(str, CLASSES)], lines)


def times(name: str, dtype: str = "float32") -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds by case, task and library of a file of `benchmarks/sampling.py`."""
    return {each["case"]: each["milliseconds"] for each in figures(name)["results"] if each["dtype"] == dtype}


def _milliseconds() -> str:
    lines = [
        [case, *(f"{found[task]['vtnjax']:.2f}" for task in TASKS)] for case, found in times("sampling-cpu").items()
    ]
    return _markdown(["case", *TASKS.values()], lines)


def _ratios(measured: dict[str, dict[str, dict[str, dict[str, float]]]]) -> str:
    """Times over those of PyTorch, of measurements side by side."""
    header = ["case", *(f"{label}, {which}" for label in TASKS.values() for which in measured)]
    lines = []
    for case in next(iter(measured.values())):
        found = [each[case][task] for task in TASKS for each in measured.values()]
        lines.append([case, *(f"{each['vtnjax'] / each['torch']:.2f}" for each in found)])
    return _markdown(header, lines)


def _steps() -> str:
    """Training steps of files of `benchmarks/device.py`."""
    measured = {**figures("device-gpu"), **figures("device-tasn-gpu")}
    found = {name: each for name, each in measured.items() if "images_per_second" in each}
    lines = [
        [name, f"{each['milliseconds']:.1f}", f"{each['images_per_second']:,.0f}", f"{each['step_gigabytes']:.1f}"]
        for name, each in found.items()
    ]
    return _markdown(["network", "ms a step", "images a second", "GB"], lines)


def _products() -> str:
    """The counts of `benchmarks/products.py`."""
    header = ["case", "kept, millions", "by products: MFLOP", "MB", "by gathers: MFLOP", "MB", "a TPU takes"]
    lines = []
    for name, each in figures("products-cpu").items():
        products, gathers = each["matmul"], each.get("gather") or each["lerp"]
        costs = [f"{by[unit]:,.1f}" for by in (products, gathers) for unit in ("megaflop", "megabytes")]
        taken = {"matmul": "products", "gather": "gathers"}[each["on_tpu"]]
        lines.append([name, f"{each['kept'] / 1e6:.2f}", *costs, taken])
    return _markdown(header, lines)


def _pod() -> str:
    """What a file of `benchmarks/pod.py` expects."""
    names = {
        "images a chip": ("images_a_chip", 1),
        "compared": ("compared", 1),
        "network, ms": ("computing_ms", 1),
        "all-reduce, ms": ("reducing_ms", 1),
        "features, ms": ("gathering_ms", 1),
        "step, ms": ("step_ms", 1),
        "GB a chip": ("chip_gigabytes", 1),
        "images/s, a host": ("images_a_second_of_a_host", 0),
        "MB/s read, a host": ("read_megabytes_a_second_of_a_host", 0),
        "MB/s to its chips": ("sent_megabytes_a_second_of_a_host", 0),
    }
    rows = figures("pod-cpu")["rows"]
    lines = [
        [f"{row[key]:,.{0 if isinstance(row[key], int) else digits}f}" for key, digits in names.values()]
        for row in rows
    ]
    return _markdown(list(names), lines)


def _beside_torch(name: str) -> str:
    """Milliseconds and ratios of a file of benchmarks that run beside PyTorch, such as `benchmarks/steps.py`."""
    lines = [
        [what, f"{each['vtnjax']:.1f}", f"{each['torch']:.1f}", f"{each['ratio']:.2f}"]
        for what, each in figures(name)["results"].items()
    ]
    return _markdown(["", "ms", "PyTorch's ms", "ratio"], lines)


def _verification() -> str:
    """The drawn matches of `benchmarks/verification.py`."""
    header = ["", "ms", "scikit-image's ms", "times as fast", "inliers", "scikit-image's inliers"]
    lines = []
    for name, each in figures("verification-cpu")["results"].items():
        times = [f"{each['vtnjax']:.1f}", f"{each['scikit-image']:.0f}", f"{each['faster']:.0f}"]
        lines.append([name, *times, *(f"{each[f'inliers, {who}']}" for who in ("vtnjax", "scikit-image"))])
    return _markdown(header, lines)


def _asmk() -> str:
    """Queries of `benchmarks/asmk.py`."""
    found = figures("asmk-cpu")["results"].items()
    header = ["", "ms, 1 word a feature", "ms, 5 words a feature", "GB"]
    lines = [[name, f"{each['ms, 1']:.0f}", f"{each['ms, 5']:.0f}", f"{each['gigabytes']:.2f}"] for name, each in found]
    return _markdown(header, lines)


def _attracts() -> str:
    """Test errors by what a warp is drawn to."""
    found = figures("what-attracts-cpu")
    return _markdown(["", "mean error", "each seed"], [[name, _mean(e), _each(e)] for name, e in found.items()])


def _convolutions() -> str:
    """Of steps beside PyTorch: how long the convolutions take, each by itself, and what is left of the step."""
    steps, lines = figures("steps-cpu")["results"], []
    for name, found in figures("convolutions-cpu")["results"].items():
        parts = ["vtnjax", "torch"]
        rest = [steps[name][who] - found[who] for who in parts]
        cells = [f"{ours:.0f} / {theirs:.0f}" for ours, theirs in ([found[who] for who in parts], rest)]
        lines.append([name, f"{steps[name]['vtnjax']:.0f} / {steps[name]['torch']:.0f}", *cells])
    return _markdown(["ms, ours / PyTorch's", "step", "convolutions", "the rest"], lines)


TABLES: dict[str, Callable[[], str]] = {
    "digits_stn": _digits,
    "stn_table1_fully_connected": lambda: _grid("stn_table1", FULLY_CONNECTED, _mean),
    "stn_table1_convolutional": lambda: _grid("stn_table1", CONVOLUTIONAL, _each),
    "two_digits": lambda: _column("two_digits"),
    "stn_addition": lambda: _column("stn_addition", ",short"),
    "stn_addition_long": lambda: _column("stn_addition", ",short---config.steps=12000"),
    "stn_volumes": lambda: _column("stn_volumes", ",short"),
    "colocalisation": _colocalisation,
    "composites": lambda: _column("composites"),
    "scenes_frozen": lambda: _column("scenes_frozen"),
    "attracts": _attracts,
    "scenes": lambda: _whole("scenes"),
    "scenes_retrieval": lambda: _whole("scenes_retrieval"),
    "hidden_digits": lambda: _column("hidden_digits"),
    "solar": lambda: _column("solar"),
    "attentions": lambda: _column("attentions"),
    "feature_maps": lambda: _grid("feature_maps", tuple(experiments.TABLES["feature_maps"]().rows), _each),
    **{name: functools.partial(_whole, name) for name in experiments.TABLES if name.startswith(FINE_GRAINED)},
    "milliseconds": _milliseconds,
    "ratios": lambda: _ratios({"first": times("sampling-cpu"), "second": times("sampling-cpu-2")}),
    "gpu_ratios": lambda: _ratios({dtype: times("sampling-gpu", dtype) for dtype in ("float32", "bfloat16")}),
    "composed": lambda: _beside_torch("composed-cpu"),
    "second_order": lambda: _beside_torch("second-order-cpu"),
    "whole_steps": lambda: _beside_torch("steps-cpu"),
    "convolutions": _convolutions,
    "gpu_steps": _steps,
    "products": _products,
    "pod": _pod,
    "verification": _verification,
    "asmk": _asmk,
}


def main() -> None:
    """The command."""
    for path in PAGES:
        path.write_text(render(path.read_text()))


if __name__ == "__main__":
    main()
