"""Run the Python blocks of the README, each by itself, with warnings as errors: `python tests/readme_code.py`."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def main() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    if not blocks:
        sys.exit("the README has no Python block to run")
    for block in blocks:
        subprocess.run([sys.executable, "-W", "error", "-c", block], check=True)
    print(f"{len(blocks)} blocks of the README run")


if __name__ == "__main__":
    main()
