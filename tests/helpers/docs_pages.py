"""The blocks of the documentation's pages, and how their commands are run in a test.

A page's text is never altered for a test: commands are run as they stand, with a few
settings appended that make them small (the last one given counts), and a comment before
a block may say more. docs/contributing.md describes the marks.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from places import ROOT


DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.glob("*.md") if not path.is_symlink())

# A network and a batch that take seconds and learn nothing.
_TINY = (
    "--num-steps", "8", "--conv-channels", "4", "4", "4", "--hidden-size", "16",
    "--core-size", "16", "--num-minibatches", "2",
)  # fmt: skip
SMALL = {
    "train": ("--total-frames", "512", "--num-envs", "4", *_TINY),
    "evaluate": ("--episodes", "2", "--num-envs", "2"),
}
# Programs that are named in the pages and not run by the tests.
OTHERS = {"make", "pip", "source", "tensorboard", "hf", "cd", "git"}

_MARK = re.compile(r"<!-- test: (.*?) -->", re.DOTALL)
_BLOCK = re.compile(
    r"(?P<marks>(?:<!-- (?:test|notebook): .*?-->\n)*)"
    r"```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_FILE = re.compile(r"# ([\w/.-]+\.(?:py|toml|cfg))$")


class Block(NamedTuple):
    """A fenced block of a page.

    Attributes:
        marks: What comments before it say: ``["fast", "append --num-envs 8"]``.
        line: Where it begins.
    """

    page: Path
    line: int
    language: str
    text: str
    marks: tuple[str, ...]

    @property
    def file(self) -> str | None:
        """The name that it is saved under, from its first line."""
        found = _FILE.match(self.text.partition("\n")[0])
        return found[1] if found else None

    @property
    def commands(self) -> list[str]:
        """The commands of a block of the shell, one a string."""
        joined = self.text.replace("\\\n", " ")
        lines = (line.strip() for line in joined.splitlines())
        return [line for line in lines if line and not line.startswith("#")]

    def appended(self, command: str) -> list[str]:
        """Flags that its marks append to a command, or to all: "append train --x"."""
        flags: list[str] = []
        for mark in self.marks:
            if mark.startswith("append "):
                given = shlex.split(mark)[1:]
                if given[0] == command:
                    flags += given[1:]
                elif given[0].startswith("-"):
                    flags += given
        return flags

    @property
    def program(self) -> str:
        """Its text with what its marks replace."""
        text = self.text
        for mark in self.marks:
            if mark.startswith("replace "):
                old, _, new = mark.removeprefix("replace ").partition(" -> ")
                assert old in text, f"{self}: {old!r} is not in it"
                text = text.replace(old, new)
        return text

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in their order."""
    text = page.read_text()
    # What only the notebook has, has a test of its own.
    text = re.sub(r"^<!-- notebook\n.*?^-->$", _blank, text, flags=re.DOTALL | re.M)
    found = []
    for match in _BLOCK.finditer(text):
        marks = tuple(_MARK.findall(match["marks"]))
        line = text.count("\n", 0, match.start("language")) + 1
        found.append(Block(page, line, match["language"], match["text"], marks))
    return found


def _blank(match: re.Match) -> str:
    return "\n" * match[0].count("\n")


def words(command: str) -> tuple[dict[str, str], list[str]]:
    """Return a command's assignments (``A=b command``) and its words."""
    parts = shlex.split(command, comments=True)
    assigned = {}
    while parts and re.fullmatch(r"[A-Z_]+=.*", parts[0]):
        name, _, value = parts.pop(0).partition("=")
        assigned[name] = value
    return assigned, parts


def small(parts: list[str], appended: list[str]) -> list[str]:
    """Return the arguments of a jaxfactory command, made small."""
    name, *rest = parts
    if "--help" in rest or "-h" in rest:
        return parts
    return [name, *rest, *SMALL.get(name, ()), *appended]


def run_page(page_blocks: list[Block], folder: Path, environment: dict[str, str]):
    """Save a page's files and run its commands and programs in their order."""
    for block in page_blocks:
        if block.file:
            place = folder / block.file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(block.program)
        if "parse" in block.marks:
            continue
        if block.language == "sh":
            for command in block.commands:
                assigned, parts = words(command)
                if parts[0] == "jaxfactory":
                    appended = block.appended(parts[1])
                    arguments = small(parts[1:], appended)
                    program = [sys.executable, "-m", "jaxfactory", *arguments]
                    _run(program, folder, environment | assigned, block)
        elif block.language == "python":
            place = folder / (block.file or "program.py")
            place.write_text(block.program)
            _run([sys.executable, str(place)], folder, environment, block)


def _run(program, folder, environment, block):
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(filter(None, paths))
    done = subprocess.run(
        program,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
    )
    said = f"{block}: {shlex.join(program)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    assert done.returncode == 0, said
