import sys
from pathlib import Path

# The plain-loop references that the operators' tests use.
sys.path.append(str(Path(__file__).parents[1] / "ops"))
