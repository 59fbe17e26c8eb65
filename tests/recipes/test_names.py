import pytest
from ml_collections import ConfigDict

from vtnjax import recipes
from vtnjax.recipes import names


def test_a_part_without_a_name_is_refused():
    with pytest.raises(ValueError, match=r"config.head.name must be one of 'pooled', 'flat', .*, not None"):
        names.look_up("head", ConfigDict({"width": 3}), recipes.HEADS)
