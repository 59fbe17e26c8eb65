"""The site that `mkdocs build --strict` makes of docs/: its links, its search, and that it names everything public."""

import functools
import html.parser
import http.server
import importlib.util
import inspect
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import pytest

import vtnjax

ROOT = Path(__file__).parents[1]
ROOMS = [name for name in vtnjax.__all__ if inspect.ismodule(getattr(vtnjax, name))]
CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="the extra docs is not installed"),
]


class Page(html.parser.HTMLParser):
    """What a page links to, and the anchors in it."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.links += [given[name] for name in ("href", "src") if name in given]
        self.anchors |= {given[name] for name in ("id", "name") if name in given}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """Every page by its path; the page for what is not found is served from any folder, so its links are absolute."""
    found = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(found) > 30
    return found


def names(room):
    """What a room makes public."""
    module = getattr(vtnjax, room)
    defined = [name for name, each in vars(module).items() if getattr(each, "__module__", "") == module.__name__]
    return getattr(module, "__all__", [name for name in defined if not name.startswith("_")])


def test_every_link_leads_to_a_page_or_an_anchor_of_it(site, pages):
    count = 0
    for path, page in pages.items():
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path.relative_to(site)} links to {link}"
            if parts.fragment and target in pages and not parts.fragment.startswith("__"):
                assert urllib.parse.unquote(parts.fragment) in pages[target].anchors, f"{path} links to {link}"
            count += 1
    assert count > 1000


def test_no_page_needs_the_network(pages):
    loaded = [link for page in pages.values() for link in page.links if link.endswith((".js", ".css", ".woff2"))]
    assert loaded
    assert [link for link in loaded if urllib.parse.urlsplit(link).scheme] == []


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_has_an_anchor(site, pages, room):
    ends = {anchor.rpartition(".")[2] for anchor in pages[site / "api" / room / "index.html"].anchors}
    modules = {name for name in names(room) if inspect.ismodule(getattr(getattr(vtnjax, room), name))}
    assert names(room)
    assert set(names(room)) - modules <= ends
    assert all((site / "api" / name / "index.html").is_file() for name in modules)


def test_every_config_and_every_notebook_is_shown(site, pages):
    configs = {path.stem for path in (ROOT / "configs").glob("*.py")}
    assert configs <= pages[site / "every-config" / "index.html"].anchors
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert site / "notebooks" / path.stem / "index.html" in pages


def test_the_search_finds_every_page_and_every_op(site, pages):
    entries = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    found = {entry["location"].partition("#")[0] for entry in entries}
    assert found == {f"{path.parent.relative_to(site)}/".replace("./", "") for path in pages}
    titles = " ".join(entry["title"] for entry in entries)
    assert [name for name in vtnjax.ops.__all__ if name not in titles] == []


@pytest.fixture
def address(site):
    """Where the site is served."""
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_follows_links_and_searches_without_an_error(address):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page, complaints = browser.new_page(), []
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("response", lambda answer: complaints.append(answer.url) if answer.status >= 400 else None)
        page.goto(address)
        for link in [each.get_attribute("href") for each in page.locator("nav.md-nav--primary a.md-nav__link").all()]:
            page.goto(urllib.parse.urljoin(address, link))
            assert page.locator("h1").first.inner_text()
        page.locator("input.md-search__input").fill("affine_grid")
        first = page.locator(".md-search-result__item a[href*='#vtnjax.ops.affine_grid']").first
        first.wait_for(state="attached")
        browser.close()
    assert complaints == []
