import pytest
from config_files import get_config, read

from vtnjax import data


def test_triplets_of_their_own_come_beside_shuffled_batches():
    recipe = read(get_config("composites", "smoke,consistency=unit,triplets=own"), "composites", "smoke")
    batches = recipe.batches(0)
    assert isinstance(batches, data.WithTriplets)
    found = {name: (array.shape, array.dtype) for name, array in next(batches).items()}
    assert found == {name: (spec.shape, spec.dtype) for name, spec in recipe.spec.items()}


def balanced(each, triplets=None):
    own = {} if triplets is None else {"name": "with_triplets", "triplet_batch": triplets}
    return {"batches": {"images_per_class": each, **own}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"batch_size": 16},
            r"config.batch_size must be at most 12, config.batches.images_per_class \(2\) .* 6 classes, not 16",
        ),
        (balanced(1), "config.batches.images_per_class must be at least 2 and less than config.batch_size, 8, or"),
        (balanced(8), "less than config.batch_size, 8, or the consistency loss has no triplets, not 8"),
        (balanced(5), "config.batches.images_per_class must divide the batch of 8, not 5"),
        (balanced(0), "config.batches: images_per_class must be a whole number of at least 1, not 0"),
        (balanced(2, 16), "config.batches.triplet_batch must be at most 12, "),
        (balanced(2, -8), "config.batches: triplet_batch must be a whole number of at least 1, not -8"),
        ({"input": {"crop": 80}}, "config.input: crop must be from 1 to size, 72, not 80"),
    ],
)
def test_batches_that_cannot_be_are_named_by_the_configs_keys(changes, said):
    config = get_config("cub_vtn", "smoke")
    config.update(changes)
    with pytest.raises(ValueError, match=said):
        read(config, "cub_vtn", "smoke")


def test_without_a_consistency_loss_a_batch_may_have_an_image_of_each_class():
    config = get_config("cub_vtn", "smoke,ablation=consistency")
    config.update({"batches": {"images_per_class": 1}, "batch_size": 6})
    batch = next(read(config, "cub_vtn", "smoke").batches(0))
    assert sorted(batch["label"]) == list(range(6))
