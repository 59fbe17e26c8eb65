import numpy as np

from vtnjax.data import HouseNumbers, write_house_numbers


def test_drawn_numbers_are_the_digits_of_their_boxes(tmp_path):
    write_house_numbers(tmp_path, counts={"test": 9})
    source = HouseNumbers(tmp_path, "test")
    assert len(source) == 9
    for index in range(len(source)):
        image = source[index]["image"].astype(int)[..., 0]
        rows, columns = np.nonzero(image > (image.min() + image.max()) / 2)
        assert rows.min() > 2
        assert rows.max() < 62
        assert columns.max() - columns.min() > 25
