"""README.md and docs/ say what `results/` holds, in tables and in sentences, and name everything that there is."""

import ast
import builtins
import importlib.util
import re
import shlex

import pytest
from docs_figures import MEASURED, WITHOUT_A_FILE, of_configs
from docs_records import ROOT, render

from vtnjax import experiments, nn, ops, recipes
from vtnjax.experiments.__main__ import parse

PAGES = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in render.PAGES]
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
WIDEST_CELL, LONGEST_README = 100, 220
# Rendered tables, code, and the targets of links.
NOT_PROSE = re.compile(r"<!-- table:.*?<!-- end of table -->|```.*?```|`[^`]*`|(?<=\])\([^)]*\)", re.DOTALL)
UNIT = "(?:%|points|times|degrees|ms|s|GB|GFLOP|minutes|images a second)(?![a-z])"
FIGURE = re.compile(rf"\d+\.\d+|\d+(?= {UNIT})")
# `python ...` of a line, up to what a shell would end it with; a line that ends with a backslash goes on.
COMMAND = re.compile(r'\bpython ((?:-m vtnjax|train\.py|benchmarks/|docs/)(?:"[^"\n]*"|[^"&\n])*)')
PLACEHOLDERS = ("NAME", "TABLE", "...")
NUMBERED = re.compile(r"\b(?:section |STN |VTN |TASN |JAX |Python |Apache-)\d+\.\d+")


def words(text):
    return " ".join(text.split())


def load(name):
    """The module of a config."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", PAGES)
def test_tables_are_those_of_the_results(path):
    page = path.read_text()
    assert page == render.render(page), "python docs/render.py writes the tables anew"


def test_tables_are_made_of_records_of_this_version_too(tmp_path, monkeypatch):
    monkeypatch.setattr(render, "RESULTS", tmp_path)
    sampled = {"case": "a", "dtype": "float32", "milliseconds": {task: {"vtnjax": 2.5} for task in render.TASKS}}
    for name, figures in (
        ("experiments/digits_stn/model=st_fcn-0", {"accuracy": 0.9}),
        ("experiments/digits_stn/model=fcn-0", {"accuracy": 0.8}),
        ("experiments/digits_stn/model=fcn-2", {"accuracy": 0.6}),
        ("sampling-cpu", {"results": [sampled]}),
    ):
        seed = name.rpartition("-")[2]
        which = {"seed": int(seed)} if seed.isdigit() else {}
        experiments.write_record(tmp_path / f"{name}.json", "x", seconds=1.0, figures=figures, **which)
    shown = render.TABLES["digits_stn"]()
    assert "| 10.0 % | 10.0 % |" in shown
    assert "| 20.0, 40.0 % | 30.0 % |" in shown
    assert "| a | 2.50 | 2.50 | 2.50 |" in render.TABLES["milliseconds"]()


def test_every_table_stands_somewhere():
    names = [name for path in render.PAGES for _, name, _ in render.BLOCK.findall(path.read_text())]
    assert sorted(names) == sorted(render.TABLES)


@pytest.mark.parametrize("path", PAGES)
def test_figures_in_sentences_are_those_of_the_results(path):
    name = str(path.relative_to(ROOT))
    text = words(NOT_PROSE.sub("", path.read_text()))
    for fragment in [*MEASURED.get(name, list)(), *WITHOUT_A_FILE.get(name, [])]:
        assert fragment in text
        text = text.replace(fragment, "...")
    assert FIGURE.findall(NUMBERED.sub("", text)) == [], "tests/docs_figures*.py do not say where these come from"


@pytest.mark.parametrize("name", of_configs())
def test_figures_of_configs_are_those_of_the_results(name):
    assert of_configs()[name] in words((ROOT / "configs" / f"{name}.py").read_text())


@pytest.mark.parametrize("path", PAGES)
def test_cells_of_tables_are_short(path):
    rows = [line for line in path.read_text().splitlines() if line.startswith("|")]
    assert [cell for row in rows for cell in row.split("|") if len(cell.strip()) > WIDEST_CELL] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= LONGEST_README


@pytest.mark.parametrize("path", PAGES)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https:)([^)]+)\)", path.read_text()):
        file, _, anchor = target.partition("#")
        page = path.parent / file if file else path
        assert page.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
            assert anchor in [title.lower().replace(" ", "-") for title in titles], target


def commands(page):
    """The commands of a page, those in blocks and those in sentences."""
    inline = [words(span) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", page)]
    blocks = re.findall(r"^```\w+\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    found = [each for text in [*inline, *blocks] for each in COMMAND.findall(text.replace("\\\n", " "))]
    return [shlex.split(each) for each in found if not any(word in each for word in PLACEHOLDERS)]


def check_config(name, variant, given):
    """The config with its variant has every key that the command sets."""
    table = experiments.Table("", name, {})
    experiments.Runner("", table, tuple(given), ROOT / "runs", ROOT / "results").load(variant)


@pytest.mark.parametrize("path", PAGES)
def test_commands_are_ones_that_there_are(path):
    for script, *rest in commands(path.read_text()):
        given = [word for word in rest if word.startswith("--config.")]
        if [script, rest[:1]] == ["-m", ["vtnjax.experiments"]]:
            arguments, overrides, table = parse(rest[1:])
            assert list(overrides) == given
            first = next(iter(table.rows[(arguments.rows or list(table.rows))[0]].values()))
            check_config(table.config, first.variant + ",short" * arguments.short, given)
            continue
        if script == "train.py":
            name, _, variant = rest[rest.index("--config") + 1].partition(":")
            check_config(name.removeprefix("configs/").removesuffix(".py"), variant, given)
        module = rest[0].replace(".", "/") if script == "-m" else script.removesuffix(".py")
        source = next(each for end in (".py", "/__main__.py") if (each := ROOT / (module + end)).is_file()).read_text()
        for flag in {word for word in rest if word.startswith("--")} - {*given, "--config", "--help"}:
            assert re.search(rf'"(--)?{flag[2:]}"', source), f"{script} has no {flag}"


@pytest.mark.parametrize("path", PAGES)
def test_python_blocks_import_what_they_use(path):
    for block in re.findall(r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
        nodes = list(ast.walk(ast.parse(block)))
        names = [node for node in nodes if isinstance(node, ast.Name)]
        known = {node.id for node in names if not isinstance(node.ctx, ast.Load)} | set(dir(builtins))
        known |= {node.arg for node in nodes if isinstance(node, ast.arg)}
        known |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                known |= {(each.asname or each.name).partition(".")[0] for each in node.names}
        assert {node.id for node in names} <= known, block


def test_there_are_commands():
    assert sum(len(commands(path.read_text())) for path in render.PAGES) >= 30


@pytest.mark.parametrize("room", [ops, nn])
def test_docs_name_everything_public(room):
    cells = re.findall(r"^\| (`[^|]+`) \|", (ROOT / "docs" / "ops.md").read_text(), re.MULTILINE)
    names = re.findall(r"`(\w+)`", " ".join(cells))
    assert sorted(name for name in names if name in room.__all__) == sorted(room.__all__)
    assert set(names) <= {*ops.__all__, *nn.__all__}


TABLES = ("NETWORKS", "INPUTS", "BATCHES", "OBJECTIVES", "EVALUATIONS", "PICTURES", "TRUNKS", "FEATURE_WARPS", "HEADS")


@pytest.mark.parametrize("table", TABLES)
def test_docs_name_everything_that_a_config_may_name(table):
    named = re.findall(r"`(\w+)`", (ROOT / "docs" / "configs.md").read_text())
    assert set(getattr(recipes, table)) <= set(named)


def test_the_readme_names_every_config():
    section = (ROOT / "README.md").read_text().partition("\n## Configs\n")[2].partition("\n## ")[0]
    header, *names = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert header == "NAME"
    assert sorted(names) == CONFIGS


@pytest.mark.parametrize("name", CONFIGS)
def test_docstrings_of_configs_name_every_variant(name):
    config = load(name)

    def complaint(variant):
        with pytest.raises(ValueError, match="variant") as caught:
            config.get_config(variant)
        return str(caught.value).partition(";")[0]

    for key in complaint("?").partition("must be of ")[2].partition(", not ")[0].split(", "):
        values = re.search("must be one of (.*), not", complaint(f"{key}=?"))
        shown = f"{key}={values[1]}".replace("', '", "|").replace("'", "") if values else key
        assert f"`{shown}`" in words(config.__doc__)


def test_the_citation_names_every_paper_of_the_readme():
    papers = words((ROOT / "README.md").read_text().partition("## The papers")[2].partition("\n## ")[0])
    titles = re.findall(r"\[\*(.*?)\*\]\(https://arxiv", papers)
    cited = re.findall(r'^    title: "?(.*?)"?$', (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert len(titles) == papers.count("**") // 2
    assert titles == cited
