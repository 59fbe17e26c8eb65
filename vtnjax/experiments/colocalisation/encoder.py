"""The descriptors in which crops are compared: those of a digit classifier."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from flax import nnx
from jaxtyping import Array

from vtnjax import data, models, recipes, train
from vtnjax.experiments.checkout import find_checkout
from vtnjax.models.layers import CNN

_PARAMETERS = 54_000  # 32 filters a layer, the fewest of A.4
_CELLS = 4  # of the CNN's last layer on 28 x 28 pixels


def load_encoder(workdir: Path | None, say: Callable[[str], None]) -> Callable[[Array], Array]:
    """The descriptors of a trained CNN; without a workdir one is trained, or taken from where that was done before.

    Raises:
        ValueError: if the workdir holds no trained run of a CNN for digits of 28 x 28 pixels.
    """
    if workdir is None:
        root = find_checkout()
        workdir = root / "runs" / "colocalisation" / "encoder"
        say(f"no --encoder: training one in {workdir}, or taking it from there")
        command = [sys.executable, "train.py", "--config", "configs/digits_stn.py:model=cnn,distortion=none"]
        command += ["--config.steps=600", "--config.batch_size=64", "--config.learning_rate=0.001"]
        command += [f"--config.network.parameters={_PARAMETERS}"]
        subprocess.run([*command, "--workdir", str(workdir)], cwd=root, check=True)
    graphdef, state, _ = recipes.load_member(workdir, data.load_source("digits", "train"), train.data_mesh(), say)
    model = nnx.merge(graphdef, state.params, state.statistics)
    classifier = model.classifier if isinstance(model, models.STN) and model.transformer is None else None
    if not isinstance(classifier, CNN) or classifier.classifier.in_features != _CELLS * classifier.conv2.out_features:
        raise ValueError(f"--encoder must be a run of model=cnn,distortion=none, but {workdir} is of another network")
    return lambda crops: models.describe_crops(classifier, crops)
