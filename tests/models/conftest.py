import sys
from pathlib import Path

# The plain-loop references that the operators' tests use, and how the modules' tests run a module.
sys.path += [str(Path(__file__).parents[1] / room) for room in ("ops", "nn")]
