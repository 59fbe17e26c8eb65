"""Cracks in photographs of solar cells: does sampling by attention find small things in real images?

    pip install "vtnjax[solar]" && python train.py --config configs/solar.py

The 2,624 cells of elpv-dataset (CC BY-NC-SA 4.0), 300 x 300 pixels, sound or defective. Variants, joined by commas, the
first value of each being the default:

- `method=tasn|master|ssn|low|high`: "low" and "high" are the plain trunk on images resized to 150 x 150 and on all
  pixels; "ssn" and "master" read images of 150 x 150 sampled by one attention map, by the saliency sampler's grid and
  by inverse CDF; "tasn" is the whole network with part-net and distillation;
- `split=test|validation`: which images are tested on; the validation images are for tuning;
- `smoke`: the same on drawn cells, in less than two minutes on two CPU cores.

A guess that every cell is sound has an error of 31.2 %. The rate was chosen of 1e-3 and 3e-3 with `split=validation`
(docs/results/tasn.md).
"""

from ml_collections import ConfigDict

from vtnjax.recipes import presets
from vtnjax.train.config import choose

SIZE, SMALL = 300, 150
SAMPLERS = {"low": "none", "high": "none", "ssn": "ssn"}


def get_config(variant: str = "") -> ConfigDict:
    chosen = choose(variant, method=("tasn", "master", "ssn", "low", "high"), split=("test", "validation"), smoke=False)
    method = chosen["method"]
    config = presets.run(
        network=presets.tasn(
            SAMPLERS.get(method, "inverse_cdf"),
            trunk={"name": "small", "widths": (16, 32, 64, 64)},
            attention_trunk={"name": "small", "widths": (16, 32, 64)},
            resolution=SIZE if method == "high" else SMALL,
            attention_size=SMALL // 2,
            parts=1 if method == "tasn" else 0,
        ),
        objective={"name": "distillation", **presets.DISTILLATION},
        picture={"name": "before_after"},
        dataset="solar",
        test_split=chosen["split"],
        pretrained="",
        attention_pretrained="",
        steps=600,
        batch_size=32,
        **presets.adam(1e-3),
        **presets.every(50, 200),
    )
    if chosen["smoke"]:
        config.source_options = ConfigDict({"drawn": True})
        config.network.attention_size, config.network.resolution = 48, 64
        presets.make_short(config, steps=6, log=2, test=3, batch_size=8)
    return config
