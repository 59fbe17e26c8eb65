"""The command line: what is not understood is named, and what is understood reaches the config."""

import sys

import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

from vtnjax import train

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # by which ml_collections imports

FILE = """
from ml_collections import ConfigDict


def get_config(variant=""):
    return ConfigDict({"steps": 3, "boundaries": (0.5,), "photo": {"crop": 64, "flip": True}})
"""


def define_flags():
    train.forget_flags()
    config = config_flags.DEFINE_config_file("config", lock_config=True)
    workdir = flags.DEFINE_string("workdir", None, "")
    eval_only = flags.DEFINE_bool("eval_only", False, "")
    return config, workdir, eval_only


@pytest.fixture
def parse(tmp_path, monkeypatch):
    """Reads words of a command line; the flags are taken back in the end."""
    (tmp_path / "config.py").write_text(FILE)

    def read(*words, moved=None):
        found = define_flags()
        monkeypatch.setattr(sys, "argv", ["train.py", "--config", str(tmp_path / "config.py"), *words])
        train.parse_flags(sys.argv, moved=moved)
        return [flag.value for flag in found]

    yield read
    train.forget_flags()


def refusal(parse, *words):
    with pytest.raises(SystemExit) as caught:
        parse(*words)
    assert isinstance(caught.value.code, str)
    return caught.value.code


def test_help_tells_of_the_configs_variants(tmp_path, parse, capsys):
    (tmp_path / "config.py").write_text(f'"""Digits.\n\n- `smoke`: little data.\n"""\n{FILE}')
    with pytest.raises(SystemExit):
        parse("--help")
    shown = capsys.readouterr().out
    assert f"{tmp_path / 'config.py'}:\n\nDigits.\n\n- `smoke`: little data.\n" in shown


def test_help_of_a_config_without_a_docstring_tells_of_the_flags_alone(tmp_path, parse, capsys):
    (tmp_path / "config.py").write_text(FILE)
    with pytest.raises(SystemExit):
        parse("--help")
    assert "None" not in capsys.readouterr().out.partition("--")[0]


def test_a_key_that_moved_is_answered_with_where_it_is(parse):
    with pytest.raises(SystemExit) as caught:
        parse("--config.pictures.crop=48", moved={"pictures": "photo"})
    assert caught.value.code == "train.py: the config has no key 'pictures.crop': it is now config.photo.crop"


def test_flags_of_every_form_are_read(parse):
    config, workdir, eval_only = parse(
        "--config.photo.flip=False", "--workdir", "x", "--eval_only", "--config.steps", "5"
    )
    assert (config.photo.flip, workdir, eval_only, config.steps) == (False, "x", True, 5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config.photo.flip", "False"], "'False' belongs to no flag; did you mean --config.photo.flip=False?"),
        (["--eval_only", "no"], "'no' belongs to no flag; did you mean --eval_only=no?"),
        (["eval_only"], "'eval_only' belongs to no flag; did you mean --eval_only?"),
        (["workdir=x"], "'workdir=x' belongs to no flag; did you mean --workdir=x?"),
        (["\u2014eval_only"], "'\u2014eval_only' belongs to no flag; did you mean --eval_only?"),
        (["config.steps=3"], "'config.steps=3' belongs to no flag; did you mean --config.steps=3?"),
        (["--", "--eval_only"], "'--eval_only' belongs to no flag; did you mean --eval_only?"),
        (["--workdir=x", "y"], "'y' belongs to no flag"),
        (["--workdir=x", "y", "z"], "'y' belongs to no flag; 'z' belongs to no flag"),
    ],
)
def test_words_that_belong_to_no_flag_are_refused(parse, words, said):
    assert refusal(parse, *words) == f"train.py: {said}"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--config.foto.crop=48", "the config has no key 'foto'; did you mean 'photo'?"),
        ("--config.photo.crpo=48", "the config has no key 'photo.crpo'; did you mean 'crop'?"),
        ("--config.stepz=48", "the config has no key 'stepz'; did you mean 'steps'?"),
        ("--noconfig.photo.flp", "the config has no key 'photo.flp'; did you mean 'flip'?"),
        ("--config.steps.x=3", "config.steps has no keys of its own, but config.steps.x was given"),
        ("--config.photo.crop.x=3", "config.photo.crop has no keys of its own, but config.photo.crop.x was given"),
        ("--config.boundaries.x=3", "config.boundaries has no keys of its own, but config.boundaries.x was given"),
        ("--config.=3", "the config has no key ''"),
    ],
)
def test_a_wrong_key_at_any_depth_is_named_with_the_nearest(parse, word, said):
    assert refusal(parse, word) == f"train.py: {said}"


def test_a_second_run_in_one_interpreter_has_its_own_flags_and_config(parse):
    first, *_ = parse("--config.boundaries=(0.25,)", "--config.photo.crop=1", "--eval_only")
    second, workdir, eval_only = parse("--config.boundaries=(0.75,)")
    assert (first.boundaries, second.boundaries) == ((0.25,), (0.75,))
    assert (second.photo.crop, workdir, eval_only) == (64, None, False)


def test_a_key_that_the_config_lacks_ends_the_run_with_a_sentence():
    config = ConfigDict({"optimizer": "sgd", "photo": {"size": 8}})
    with (
        pytest.raises(
            SystemExit, match=r"^train.py: the config lacks the key 'optimiser'; did you mean 'optimizer'\?$"
        ),
        train.sentences(),
    ):
        _ = config.optimiser
    with pytest.raises(SystemExit, match=r"^train.py: the config lacks the key 'crop'$"), train.sentences():
        _ = config.photo.crop


def test_a_missing_attribute_of_anything_else_is_no_sentence():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"), train.sentences():
        _ = (1).nothing  # pyright: ignore[reportAttributeAccessIssue]
