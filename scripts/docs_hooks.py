"""What the site's build does beyond mkdocs: include CONTRIBUTING.md in a page."""

from pathlib import Path
from typing import Any


MARK = "<!-- CONTRIBUTING.md is included here -->"
_FILE = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark by the file's text below its title, with links from docs/."""
    if MARK not in markdown:
        return markdown
    text = _FILE.read_text().partition("\n")[2].replace("](docs/", "](")
    return markdown.replace(MARK, text)
