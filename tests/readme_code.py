"""Run the Python blocks of the README and of docs/, each by itself, with warnings as errors, beside a short run."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))


def main() -> None:
    blocks = [block for page in PAGES for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)]
    if not blocks:
        sys.exit("the README has no Python block to run")
    with tempfile.TemporaryDirectory() as folder:
        words = ["--config", f"{ROOT}/configs/digits_stn.py:smoke", "--workdir", "runs/digits_stn"]
        subprocess.run([sys.executable, f"{ROOT}/train.py", *words], check=True, cwd=folder)
        for block in blocks:
            subprocess.run([sys.executable, "-W", "error", "-c", block], check=True, cwd=folder)
    print(f"{len(blocks)} blocks of the README and docs run")


if __name__ == "__main__":
    main()
