#!/usr/bin/env bash
# All that is measured on an accelerator: samplers beside PyTorch's and a kernel of Pallas, then whole training steps.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 benchmarks/sampling.py --rounds 3
python3 benchmarks/pallas_sampler.py --rounds 3
python3 benchmarks/device.py --rounds 5
