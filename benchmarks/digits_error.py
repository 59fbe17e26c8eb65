"""How much does the spatial transformer help? Test errors of the default job and of the plain FCN, three seeds each.

    python benchmarks/digits_error.py

runs train.py six times (or goes on with runs that were stopped) and writes results/digits_stn.json and, of the first
run, results/digits_stn.png.
"""

import argparse
import datetime
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import jax

ROOT = Path(__file__).parent.parent
SEEDS = (0, 1, 2)


def train(model: str, seed: int, workdir: Path) -> dict[str, float]:
    """One run to its end: its last test figures and the seconds it took, 0 if it was finished before."""
    command = [sys.executable, str(ROOT / "train.py"), "--config", f"{ROOT}/configs/digits_stn.py:model={model}"]
    began = time.perf_counter()
    subprocess.run([*command, f"--config.seed={seed}", "--workdir", str(workdir)], check=True)
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    return {"step": last["step"], "error": 1 - last["test/accuracy"], "seconds": time.perf_counter() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/digits_error"), help="where the runs go")
    runs = parser.parse_args().runs
    figures = {m: [train(m, seed, runs / f"{m}-{seed}") for seed in SEEDS] for m in ("st_fcn", "fcn")}
    means = {model: statistics.mean(run["error"] for run in figures[model]) for model in figures}
    for model, mean in means.items():
        errors = ", ".join(f"{100 * run['error']:.1f}" for run in figures[model])
        print(f"{model:7} test error {100 * mean:.2f} % (seeds: {errors})")
    print(f"ratio {means['st_fcn'] / means['fcn']:.2f}")
    record = {
        "command": "python benchmarks/digits_error.py",
        "date": datetime.date.today().isoformat(),
        "device": jax.devices()[0].device_kind,
        "cores": len(os.sched_getaffinity(0)),
        "jax": jax.__version__,
        "runs": figures,
        "mean_error": means,
        "ratio": means["st_fcn"] / means["fcn"],
    }
    (ROOT / "results").mkdir(exist_ok=True)
    (ROOT / "results" / "digits_stn.json").write_text(json.dumps(record, indent=2) + "\n")
    shutil.copy(runs / "st_fcn-0" / "figures" / "test.png", ROOT / "results" / "digits_stn.png")


if __name__ == "__main__":
    main()
