"""What `mkdocs build` needs beyond its settings: files outside docs/ are pages too, and links lead to them."""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
OUTSIDE = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "notebooks/*.ipynb", "results/*.*")
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


@event_priority(100)  # before the plugin that makes pages of notebooks
def on_files(files: Files, config: Any) -> Files:
    """Add what lies outside docs/, where the repository has it: the README becomes the first page."""
    for path in sorted(path for pattern in OUTSIDE for path in ROOT.glob(pattern)):
        where = path.relative_to(ROOT).as_posix()
        files.append(File(where, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn each link from the repository's folders to the site's, which has the pages of docs/ at its root."""
    folder = Path(page.file.abs_src_path or "").parent

    def moved(link: re.Match[str]) -> str:
        path = (folder / link[1]).resolve()
        if not path.is_relative_to(ROOT) or not path.exists():
            return link[0]
        target = path.relative_to(ROOT)
        inside = target.relative_to("docs") if target.parts[0] == "docs" else target
        return Path(os.path.relpath(inside, Path(page.file.src_uri).parent)).as_posix()

    return LINK.sub(moved, markdown)
