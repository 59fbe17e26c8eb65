"""The only place where the names in a config become objects."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from vtnjax import data, evaluate
from vtnjax._checks import check_choice
from vtnjax.recipes.batches import BATCHES, Batching, Spec
from vtnjax.recipes.inputs import INPUTS, Input, make_as_input, make_prepare
from vtnjax.recipes.names import look_up
from vtnjax.recipes.networks import BOUNDS, build_network, check_knobs, check_names, frozen_statistics, parameter_rates
from vtnjax.recipes.objectives import OBJECTIVES, CrossEntropy
from vtnjax.recipes.pictures import PICTURES, Picture
from vtnjax.recipes.ranking import Contrastive, Triplet
from vtnjax.train import Batches, Objective, Prepare, Rates, Where
from vtnjax.train import check_config as check_run
from vtnjax.train.config import Config, check_numbers, naming
from vtnjax.train.step import Step, make_train_step

DTYPES = ("float32", "bfloat16")
# The objectives of networks that describe images and name no classes.
_RANKINGS = tuple(name for name, kind in OBJECTIVES.items() if kind in (Contrastive, Triplet))
EVALUATIONS = {
    "classification": evaluate.Classification,
    "super_classes": evaluate.SuperClasses,
    "localisation": evaluate.Localisation,
    "retrieval": evaluate.Retrieval,
    "local_retrieval": evaluate.LocalRetrieval,
}


class Recipe(NamedTuple):
    """The objects that a config stands for.

    Attributes:
        train: the training set.
        test: the test set, as the tests see it.
        batches: the function `(seed, **share)` that makes endless batches, where the share is `process_index` and
            `process_count`.
        spec: the shape and dtype of each array of a batch, of all processes together.
        network: the function `(seed, *, pretrained=True)` that makes the network; without `pretrained` its weights are
            random ones.
        prepare: the function from a batch's images to the network's input in training.
        as_input: the function from a batch's images to the network's input in tests.
        as_picture: the function from the network's input back to images in [0, 1].
        objective: the loss that is minimised.
        evaluation: the figures that are measured on the test set.
        picture: the function `(images, out, titles, as_picture)` that draws the figure a run leaves.
        rates: the factor of each parameter's learning rate; None: 1 for all of them.
        frozen_statistics: the function that tells which BatchNorms keep their statistics; None: none of them.
        ema: the decay of the parameters' moving average, which is then evaluated; 0: there is none.
        micro_batches: into how many parts each device's share of a batch is cut.
    """

    train: data.Source
    test: data.Source
    batches: Callable[..., Batches]
    spec: Spec
    network: Callable[..., nnx.Module]
    prepare: Prepare
    as_input: Callable[[Array], Array]
    as_picture: Callable[[np.ndarray], Array]
    objective: Objective
    evaluation: evaluate.Evaluation
    picture: Picture
    rates: Rates | None
    frozen_statistics: Where | None
    ema: float
    micro_batches: int

    def training_step(self, graphdef: nnx.GraphDef, optimiser: optax.GradientTransformation) -> Step:
        """The training step of a network of the recipe, see `train.make_train_step`."""
        made, rates = (graphdef, optimiser, self.prepare, self.objective), self.rates
        frozen = None if rates is None else lambda path: rates(path)[0] == 0
        options = {"ema": self.ema, "micro_batches": self.micro_batches, "devices": jax.device_count()}
        return make_train_step(*made, frozen_statistics=self.frozen_statistics, frozen=frozen, **options)


class _Named(NamedTuple):
    input: Input
    batching: Batching
    objective: CrossEntropy | Contrastive | Triplet
    evaluation: evaluate.Evaluation
    picture: Picture


def check_config(config: Config) -> None:
    """Raise a ValueError in a sentence unless the names and the numbers of a config make sense; no data are read."""
    _read_names(config)


def read_recipe(config: Config, *, sources: tuple[data.Source, data.Source] | None = None) -> Recipe:
    """The objects that a config stands for.

    Args:
        config: the run's config.
        sources: the training and the test set; by default the sets that `config.dataset` names.

    Raises:
        ValueError: if a name is unknown, naming the nearest, or a value is wrong, naming its key.
        OSError: if its data cannot be read.
    """
    named = _read_names(config)
    train, test = sources or read_sources(config)
    if train.classes != test.classes:
        sets = f"{train.classes} and {test.classes}"
        raise ValueError(f"the training and the test set must have the same classes, not {sets}")
    first, classes = train[0], len(train.classes)
    _check_weights(config.class_weights, classes)
    named.batching.check(config.batch_size, classes, triplets=named.objective.triplets)
    as_input = make_as_input(named.input, config.dtype)
    evaluation = _of_set(named.evaluation, test, as_input)
    record = {
        "image": jax.ShapeDtypeStruct(named.input.stored(first["image"].shape), first["image"].dtype),
        "label": jax.ShapeDtypeStruct(np.shape(first["label"]), np.int32),
    }
    spec = named.batching.spec(config.batch_size, record)
    _check_parts(config.micro_batches, spec, named.batching.group)

    def batches(seed: int, **share: int) -> Batches:
        options: dict[str, Any] = {"seed": seed, "threads": config.data_threads, "augment": named.input.augment}
        return named.batching(train, config.batch_size, to_test=named.input.to_test, **options, **share)

    def network(seed: int, *, pretrained: bool = True) -> nnx.Module:
        shape = named.input.read(first["image"].shape)
        made = build_network(config, shape, classes, seed=seed, pretrained=pretrained)
        check_knobs(config, made)
        evaluation.check(made)
        return made

    return Recipe(
        train=train,
        test=named.input.to_test(test),
        batches=batches,
        spec=spec,
        network=network,
        prepare=make_prepare(named.input, config.dtype),
        as_input=as_input,
        as_picture=named.input.as_picture,
        objective=named.objective,
        evaluation=evaluation,
        picture=named.picture,
        rates=parameter_rates(config),
        frozen_statistics=frozen_statistics(config),
        ema=config.ema,
        micro_batches=config.micro_batches,
    )


def _read_names(config):
    """The objects that need no data, of a config whose names and numbers make sense."""
    check_run(config)
    check_choice("config.dtype", config.dtype, DTYPES)
    check_names(config)
    named = _Named(
        read_input(config),
        _make(config, "batches", BATCHES),
        _read_objective(config),
        _make(config, "evaluation", EVALUATIONS),
        read_picture(config),
    )
    check_numbers(config, BOUNDS)
    _check_ranking(config)
    return named


def read_input(config: Config) -> Input:
    """The input that `config.input` names."""
    return _make(config, "input", INPUTS)


def read_picture(config: Config) -> Picture:
    """What `config.picture` names."""
    picture, options = look_up("picture", config.picture, PICTURES)
    if options:
        raise ValueError(f"config.picture must have a name alone, not {options}")
    return picture


def _make(config, key, table, **beside):
    """The object that a part of a config names, made with its options and what else belongs to it."""
    kind, options = look_up(key, config[key], table)
    with naming(key):
        return kind(**options, **beside)


def _check_weights(weights, classes):
    if len(weights) not in (0, classes):
        raise ValueError(f"config.class_weights must be {classes} numbers, one a class, not {len(weights)}")


def _of_set(evaluation, test, as_input):
    """The evaluation of a test set; one with images of its own is told what the network takes."""
    with naming("evaluation"):
        evaluation = evaluation.of(test)
    return evaluation.prepared_by(as_input) if isinstance(evaluation, evaluate.OwnImages) else evaluation


def _check_parts(count, spec, group):
    """Raise a ValueError unless each device's share of a batch can be cut into parts of whole groups."""
    devices = jax.device_count()
    for name, array in spec.items():
        records = array.shape[0] // devices
        if count > 1 and records % (count * group):
            groups = f" whole groups of {group} images of a class," if group > 1 else ""
            raise ValueError(
                f"config.micro_batches must cut a device's {records} records of {name} into equal parts,{groups} not "
                f"into {count}"
            )


def _read_objective(config):
    """The objective, told how the classes count in it, if it knows of classes."""
    told = {"label_smoothing": config.label_smoothing, "class_weights": tuple(config.class_weights)}
    look_up("objective", config.objective, OBJECTIVES)  # a wrong name is told with the nearest
    if config.objective.name not in _RANKINGS:
        return _make(config, "objective", OBJECTIVES, **told)
    for name, value in told.items():
        if value:
            raise ValueError(
                f"config.{name} must be {'0' if name == 'label_smoothing' else 'empty'} for the objective "
                f"{config.objective.name!r}, which knows of no classes, not {value}"
            )
    return _make(config, "objective", OBJECTIVES)


def _check_ranking(config):
    """Raise a ValueError unless a network that describes images, tuples and their losses stand side by side."""
    wanted = {"network": ("retrieval",), "batches": ("tuples",), "objective": _RANKINGS, "evaluation": ("retrieval",)}
    fits = {key: config[key].name in names for key, names in wanted.items()}
    ranked = next((key for key in ("network", "batches", "objective") if fits[key]), None)
    wrong = next((key for key in wanted if not fits[key]), None)
    if ranked and wrong:
        must = " or ".join(map(repr, wanted[wrong]))
        raise ValueError(
            f"config.{wrong}.name must be {must} beside config.{ranked}.name={config[ranked].name!r}, not "
            f"{config[wrong].name!r}"
        )


def read_sources(config: Config, *, without: Collection[str] = ()) -> tuple[data.Source, data.Source]:
    """The training and the test set that a config names; `without` are `source_options` that are left aside."""
    options = {name: value for name, value in config.source_options.items() if name not in without}
    options = {"data_dir": config.data_dir or None, **options}
    train, test = (data.load_source(config.dataset, split, **options) for split in ("train", config.test_split))
    return train, test
