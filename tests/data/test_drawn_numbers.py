import numpy as np
import pytest

from vtnjax.data import HouseNumbers, write_house_numbers


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("svhn")
    write_house_numbers(folder, counts={"train": 24, "extra": 6, "test": 5})
    return folder


def test_drawn_numbers_are_the_digits_of_their_boxes(drawn):
    source = HouseNumbers(drawn, "test")
    for index in range(len(source)):
        image = source[index]["image"].astype(int)[..., 0]
        rows, columns = np.nonzero(image > (image.min() + image.max()) / 2)
        assert rows.min() > 2
        assert rows.max() < 62
        assert columns.max() - columns.min() > 25
