"""Write the parts of the documentation that are taken from the program itself.

    python scripts/make_docs.py

Those are the command reference (docs/commands.md), from each command's own --help, and
the table in docs/scenarios.md, from the table behind `jaxfactory scenarios`. A test
compares, so that neither goes stale.
"""

import contextlib
import io
import os
import re
from pathlib import Path


DOCS = Path(__file__).resolve().parents[1] / "docs"
TABLE_BEGIN = "<!-- the table: scripts/make_docs.py writes it -->\n"
TABLE_END = "<!-- the table ends -->\n"

_COMMANDS_HEAD = """\
# Commands

What each command says with `--help`. [Coming from Sample Factory](sample-factory.md)
has the flags beside theirs.

"""


def help_of(*arguments: str) -> str:
    """Return what the program prints for some arguments, in 88 columns."""
    from jaxfactory import cli

    printed = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "88"
    try:
        with (
            contextlib.redirect_stdout(printed),
            contextlib.suppress(SystemExit),
        ):
            cli.main(arguments)
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    lines = re.sub("\x1b\\[[0-9;]*m", "", printed.getvalue()).splitlines()
    return "\n".join(line.rstrip() for line in lines).strip() + "\n"


def commands() -> list[str]:
    """Return the names of all commands, in the order in which the program has them."""
    listed = help_of("--help").partition("commands:\n")[2].partition("\n\n")[0]
    return re.findall(r"^  ([a-z][a-z-]*)", listed, flags=re.MULTILINE)


def command_reference() -> str:
    """Return docs/commands.md."""
    parts = [_COMMANDS_HEAD, f"```text\n{help_of('--help')}```\n"]
    parts += [
        f"\n## {name}\n\n```text\n{help_of(name, '--help')}```\n" for name in commands()
    ]
    return "".join(parts)


def scenario_table() -> str:
    """Return the table of docs/scenarios.md, the same on every machine."""
    from jaxfactory import scenarios

    rows = [
        "| scenario | actions | rewards | time-out | map |",
        "|---|---|---|---|---|",
    ]
    for row in _listed():
        scenario = scenarios.find(row.name)
        maps = scenario.wads or (scenario.load().scenario_path,)
        cells = (f"`{row.name}`", row.actions, row.rewards, row.timeout)
        names = " or ".join(Path(name).name for name in maps)
        rows.append("| " + " | ".join((*cells, names)) + " |")
    return "\n".join(rows) + "\n"


def _listed():
    from jaxfactory import scenarios

    if hasattr(scenarios, "table"):
        return scenarios.table()
    from jaxfactory import listing

    return listing.table()


def with_table(page: str, table: str) -> str:
    """Return a page with its table replaced."""
    before, begin, rest = page.partition(TABLE_BEGIN)
    _, end, after = rest.partition(TABLE_END)
    if not begin or not end:
        raise SystemExit("docs/scenarios.md has lost the marks around its table")
    return f"{before}{begin}\n{table}\n{end}{after}"


def main() -> None:
    """Write both."""
    (DOCS / "commands.md").write_text(command_reference())
    page = DOCS / "scenarios.md"
    page.write_text(with_table(page.read_text(), scenario_table()))


if __name__ == "__main__":
    main()
