"""Do warps help? Fields for groups of channels, with a learned estimator or not; sampling images by attention.

    python benchmarks/warps.py two_digits --jobs 2
    python benchmarks/warps.py composites --data_dir fashion-mnist --jobs 2
    python benchmarks/warps.py hidden_digits --jobs 2
    python benchmarks/warps.py attentions --seeds 1 --jobs 2

runs train.py for every row and seed (or goes on with runs that were stopped) and writes results/TABLE.json,
each row with its command; `--rows` replaces these and keeps the others. `--split validation` is for tuning, and
`--config.key=value` goes to train.py: then it only prints.
"""

import argparse
import concurrent.futures
import datetime
import json
import os
import queue
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import jax

ROOT = Path(__file__).parent.parent
TABLES = {
    "two_digits": {
        "nothing": "model=none",
        "one affine warp": "model=affine",
        "an affine warp a channel": "model=affine_channels",
        "VTN, one field": "model=vtn_one",
        "VTN, a field a channel": "model=vtn_two",
        "VTN, a field a channel, E = 0": "model=vtn_two,frozen",
        "FCN (42 x 42)": "model=fcn",
        "CNN (42 x 42)": "model=cnn",
        "ST-FCN (42 x 42)": "model=st_fcn",
        "2xST-FCN (42 x 42)": "model=2xst_fcn",
    },
    "composites": {
        "nothing": "warp=none",
        "STN": "warp=stn",
        "an affine warp a group": "warp=affine_groups",
        "SSN": "warp=ssn",
        "deformable convolution": "warp=deformable",
        "VTN": "warp=vtn",
        "VTN, one group": "warp=vtn_one",
        "VTN, E = 0": "warp=vtn,frozen",
        "VTN, temperature 10": "warp=vtn,temperature=10",
        "VTN without mixing": "warp=vtn,ablation=mixing",
        "VTN without grouping": "warp=vtn,ablation=grouping",
        "VTN without probabilities": "warp=vtn,ablation=probability",
        "nothing, balanced batches": "warp=none,batches=balanced",
        "VTN, balanced batches": "warp=vtn,batches=balanced",
        "nothing, consistency of unit features": "warp=none,consistency=unit",
        "VTN, consistency of unit features": "warp=vtn,consistency=unit",
        "VTN, the same, triplets of their own": "warp=vtn,consistency=unit,triplets=own",
        "VTN, consistency averaged": "warp=vtn,consistency=mean",
        "VTN, consistency as Eq. 4": "warp=vtn,consistency=eq4",
    },
    "hidden_digits": {
        "plain, low resolution": "method=low",
        "plain, high resolution": "method=high",
        "uniform": "method=uniform",
        "SSN": "method=ssn",
        "TASN, the master-net alone": "method=master",
        "TASN": "method=tasn",
    },
    "attentions": {
        "features, X": "attention=features,predict=part",
        "XX'X": "attention=plain,predict=part",
        "N(X)X'X": "attention=spatial,predict=part",
        "N(X)N(X)'X": "attention=spatial_both,predict=part",
        "N(XX'X)": "attention=output,predict=part",
        "N(XX')X": "attention=relation,predict=part",
        "N(N(X)X')X": "attention=both,predict=part",
        "self-attention": "attention=self,predict=part",
    },
}
# The others' configs have their names.
CONFIGS = {"attentions": "hidden_digits"}


def run(
    table: str, variant: str, seed: int, workdir: Path, overrides: list[str], shares: queue.Queue[set[int]]
) -> dict[str, float]:
    """One run to its end on a share of the cores: the step, the test error and the seconds of its steps."""
    config = f"{ROOT}/configs/{CONFIGS.get(table, table)}.py:{variant}"
    command = [sys.executable, str(ROOT / "train.py"), "--config", config]
    command += [f"--config.seed={seed}", "--workdir", str(workdir), *overrides]
    share = shares.get()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    os.sched_setaffinity(process.pid, share)
    status = process.wait()
    shares.put(share)
    if status:
        raise subprocess.CalledProcessError(status, command)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    config = json.loads((workdir / "config.json").read_text())
    rates = [line["train/images_per_second"] for line in lines if "train/images_per_second" in line]
    seconds = sum(config["log_every"] * config["batch_size"] / rate for rate in rates)
    return {"seed": seed, "step": lines[-1]["step"], "error": 1 - lines[-1]["test/accuracy"], "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--data_dir", default="", help="the folder with Fashion-MNIST, for composites")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds (default 3)")
    parser.add_argument("--rows", nargs="*", help="only these rows")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each on its share of the cores")
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--runs", type=Path, default=Path("runs/warps"), help="where the runs go")
    arguments, more = parser.parse_known_args()
    unknown = [name for name in arguments.rows or () if name not in TABLES[arguments.table]]
    if unknown:
        parser.error(f"{arguments.table} has no row {unknown[0]!r}; its rows are {', '.join(TABLES[arguments.table])}")
    overrides = [f"--config.data_dir={arguments.data_dir}", *more]
    cores = sorted(os.sched_getaffinity(0))
    shares: queue.Queue[set[int]] = queue.Queue()
    jobs = min(arguments.jobs, len(cores))
    for number in range(jobs):
        shares.put(set(cores[number::jobs]))
    pool = concurrent.futures.ThreadPoolExecutor(jobs)
    started = {}
    for name, variant in TABLES[arguments.table].items():
        if arguments.rows and name not in arguments.rows:
            continue
        full = variant if arguments.split == "test" else f"{variant},split=validation"
        folder = arguments.runs / "-".join([arguments.table, full, *more]).replace("/", "_")
        started[name] = [
            pool.submit(run, arguments.table, full, seed, folder / str(seed), overrides, shares)
            for seed in range(arguments.seeds)
        ]
    kept = arguments.split == "test" and not more
    path = ROOT / "results" / f"{arguments.table}.json"
    rows = json.loads(path.read_text())["rows"] if arguments.rows and path.exists() else {}
    command = ["python", "benchmarks/warps.py", arguments.table, "--seeds", str(arguments.seeds)]
    command += ["--jobs", str(arguments.jobs), *(["--rows", *arguments.rows] if arguments.rows else [])]
    circumstances = {
        "command": shlex.join(command),
        "date": datetime.date.today().isoformat(),
        "device": jax.devices()[0].device_kind,
        "cores_of_a_run": len(cores) / jobs,
        "jax": jax.__version__,
    }
    for name, futures in started.items():
        runs = [future.result() for future in futures]
        errors = [each["error"] for each in runs]
        row = {"variant": TABLES[arguments.table][name], "runs": runs, "mean_error": statistics.mean(errors)}
        row |= circumstances
        shown = ", ".join(f"{100 * error:.1f}" for error in errors)
        print(f"{name:45} {100 * row['mean_error']:5.1f} %  ({shown})  {runs[0]['seconds']:.0f} s", flush=True)
        rows[name] = row
        if kept:  # after each row: a table takes hours
            path.write_text(json.dumps({"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
