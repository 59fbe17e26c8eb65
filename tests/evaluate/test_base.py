import pytest

from vtnjax import evaluate, recipes


class Named:
    figure, how = "overlap", ""

    def of(self, source):
        return self

    def check(self, model):
        pass


class Called(Named):
    def __call__(self, model, test):
        return {"overlap": 1.0}


def test_an_evaluation_names_its_figure_and_can_be_called():
    assert isinstance(Called(), evaluate.Evaluation)
    assert not isinstance(Named(), evaluate.Evaluation)
    assert not isinstance(lambda model, test: {}, evaluate.Evaluation)


@pytest.mark.parametrize("name", recipes.EVALUATIONS)
def test_those_of_configs_are_evaluations(name):
    assert isinstance(recipes.EVALUATIONS[name](), evaluate.Evaluation)
