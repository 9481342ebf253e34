"""Self-contained HTML pages in the style of the report."""

import importlib.resources
from typing import Any

from markupsafe import Markup


def text_of(path: str) -> str:
    """Return the text of a file of the package, as in "report/templates/report.css"."""
    return (importlib.resources.files("jaxfactory") / path).read_text()


def render(template: str, **context: Any) -> str:
    """Return a page; everything in it that is not `Markup` is escaped.

    Args:
        template: The template's path in the package.
        context: Its variables, besides ``style``.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    style = Markup(text_of("report/templates/report.css"))
    page = environment.from_string(text_of(template))
    return page.render(**context, style=style)
