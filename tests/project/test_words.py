"""What people read is plain English in the field's terms, without private idiom.

Each pattern is a phrase that this project once used in a meaning of its own, with the
plain word for it. Words of Doom itself ("player", "the game's rules") are fine.
"""

import ast
import contextlib
import json
import re
from pathlib import Path

import pytest

from jaxfactory.cli import main


ROOT = Path(__file__).resolve().parents[2]

# (pattern, what to write instead)
PHRASES = (
    (r"own return|own_return", "raw return"),
    (r"\ban raw\b", "a raw"),
    (r"\bleg table\b|\blegs?\b of (?:the|a) (?:run|training)", "phase, time breakdown"),
    (r"\bphase table\b|\btable of phases\b", "time breakdown"),
    (r"\bheld back most by\b|\bholds? the run back\b", "bottleneck"),
    (r"\b(?:a|whole|every|each|several|one|two|other) trainings?\b(?=[ .,;:)]+(?:with|"
     r"ends|can|takes|stops|after|is|on|goes|begins)\b)|\btrainings\b", "training run"),
    (r"\b(?:a|one|each|every) training (?:each|ends|begins|goes)\b", "training run"),
    (r"\bin a sentence\b|\bone sentence that\b|\bthe sentence (?:contains|names|says|"
     r"proposes|lists)\b|\bis a sentence\b", "error message, reported"),
    (r"\band (?:it )?says so\b|\bsays so (?:where|in)\b", "reported"),
    (r"\bmend(?:s|ed|ing)?\b|\bheal(?:s|ed)\b", "fix"),
    (r"\bthe corridor\b|\bthe house\b|\brooms\b|\bone room\b",
     "training loop, modules"),
    (r"\blives on for an?\b", "scores"),
    (r"\bours / it\b", "speedup"),
    (r"\bitself the controller\b|\bthemselves the engines' controller\b",
     "drives the ViZDoom engines directly, without DoomGame"),
    (r"\bkept young\b|\byoung rollouts?\b", "reducing staleness"),
    (r"\bused (?:up )?the clip's interval\b|\bclip's interval up\b", "clip range"),
    (r"\bthe policy that \*?acted\*? weighs\b|\bonly weighs the samples\b",
     "importance weights correct for the behavior policy"),
    (r"\bthe clip holds on\b|\bclip hold on\b", "relative to"),
    (r"\bwhere the defaults come from\b", "preset that supplies the defaults"),
    (r"\bthe policy thinks\b", "double-buffered sampling"),
    (r"\bfor such as\b", "for slow environments"),
    (r"\bwhere that one is now\b", "its new path"),
    (r"\boptimis(?:er|ers)\b", "optimizer"),
    (r"\b(?:\w*(?:normal|initial|vector|optim|amort|general)is(?:e|ed|es|ing|ation)"
     r"|behaviour\w*|colour\w*|neighbour\w*|favour\w*|labell\w+|misspelt|licence)\b",
     "normalize, behavior, color, favor, labeled, license: American spelling"),
    (r"\bfor ever\b", "forever"),
    (r"\bbring the optimizer\b", "include the optimizer state"),
    (r"\bmakes? (?:it )?a run of\b", "download into a run directory"),
    (r"\bsuch a one\b", "the one that"),
    (r"\bis told of\b|\bare told of\b", "receives"),
    (r"\bspectators?\b|\binformants?\b", "background evaluation, InfoBuilder"),
    (r"\bnarrowness\b", "exploration penalty"),
    (r"\b(?:go|goes|going|gone|went) on with (?:a|the|an?other|it|its|every|his) ?"
     r"(?:run|agent|training)?\b", "resume"),
    (r"\bbegins? (?:a (?:new )?run )?with the weights\b",
     "initialize from"),
    (r"\bof one's own\b|\bones own\b", "custom, the user's own"),
    (r"\bgames? (?:is|are) stepped\b|\bsteps? B games\b|\bsteps? (?:many|all) (?:the )?"
     r"games\b", "environments"),
    (r"\bplays? (?:T )?steps\b|\bplays? episodes\b|\bplays? the episodes\b|"
     r"\bplays? \d+ episodes\b|\bepisodes? (?:is|are) played\b|\bepisodes? to play\b|"
     r"\bplays? again\b", "runs episodes"),
    (r"\btakes? a look\b|\blooked at first\b|\bseconds between looks\b", "checks"),
    (r"\bbrought along\b|\bcomes? along\b", "imported, included"),
    (r"\bas the field\b|\bthe field's own\b|\bof the field\b", "as published"),
    (r"\bkernels of our own\b|\bunpickler\s+of its own\b", "custom kernels"),
    (r"\bin the midst of\b", "halfway through"),
    (r"\bstill hold(?:s)? down\b|\bholds? down which\b", "limits, checks"),
)  # fmt: skip
# What stays, and why: a message that names what it is about, in these files only.
ALLOWED: dict[str, tuple[str, ...]] = {}

PROSE = (
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md",
    "benchmarks/README.md", "docs/*.md", ".github/*.md", ".github/ISSUE_TEMPLATE/*.yml",
    "jaxfactory/report/templates/*",
)  # fmt: skip
PYTHON = ("jaxfactory/**/*.py", "examples/*.py", "benchmarks/*.py", "scripts/*.py")
CPP = ("csrc/**/*.cc", "csrc/**/*.h")


def files(patterns: tuple[str, ...]) -> list[Path]:
    found = {path for pattern in patterns for path in ROOT.glob(pattern)}
    return sorted(path for path in found if path.is_file())


def python_text(path: Path) -> str:
    """Return a Python file's docstrings and strings, one a line."""
    parts = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            values = (getattr(part, "value", None) for part in node.values)
            parts.append("".join(v if isinstance(v, str) else "{}" for v in values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            parts.append(node.value)
    return "\n\n".join(parts)


def cpp_text(path: Path) -> str:
    """Return a C++ file's string literals, adjacent ones joined."""
    source = re.sub(r"//[^\n]*", "", path.read_text())
    source = re.sub(r'"\s*\n\s*"', "", source)
    return "\n\n".join(re.findall(r'"((?:[^"\\\n]|\\.)*)"', source))


def notebook_text(path: Path) -> str:
    cells = json.loads(path.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def complaints(text: str, where: str = "") -> list[str]:
    """Return the phrases in a text that have a plain word, with that word."""
    # A line break in a paragraph is a space. Emphasis and code marks do not matter.
    text = re.sub(r"(?<!\n)\n[ \t]*(?!\n)", " ", text)
    found = []
    for pattern, plain in PHRASES:
        for match in re.finditer(pattern, text, re.IGNORECASE):
            if match[0] not in ALLOWED.get(where, ()):
                around = text[max(0, match.start() - 40) : match.end() + 40]
                found.append(f"{match[0]!r} in '...{around}...': write {plain}")
    return found


READERS = (
    *((path, Path.read_text) for path in files(PROSE)),
    *((path, python_text) for path in files(PYTHON)),
    *((path, cpp_text) for path in files(CPP)),
    (ROOT / "docs" / "course.ipynb", notebook_text),
)


@pytest.mark.parametrize(
    ("path", "read"), READERS, ids=[str(p.relative_to(ROOT)) for p, _ in READERS]
)
def test_what_people_read_is_plain(path, read):
    found = complaints(read(path), str(path.relative_to(ROOT)))
    assert not found, "\n".join(found)


def test_help_is_plain(capsys):
    """Of every command; texts that are put together while the program runs included."""
    with contextlib.suppress(SystemExit):
        main.main(["--help"])
    listed = capsys.readouterr().out
    commands = re.findall(r"^  ([a-z][a-z-]*)", listed.partition("commands:")[2], re.M)
    assert len(commands) >= 8
    for command in commands:
        with contextlib.suppress(SystemExit):
            main.main([command, "--help"])
        listed += "\n\n" + re.sub(r"[│╭╰─╮╯]", " ", capsys.readouterr().out)
    found = complaints(re.sub(r" +", " ", listed))
    assert not found, "\n".join(found)


def test_the_reader_counts_what_it_reads():
    assert len(files(PROSE)) > 30
    assert len(files(PYTHON)) > 110
    assert len(files(CPP)) > 40
    texts = [python_text(path) for path in files(PYTHON)]
    assert sum(map(len, texts)) > 200_000


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("the agent's own\nreturn", "raw return"),
        ("a third of the clip's interval up before", "clip range"),
        ("Going on with a run is", "resume"),
        ("the optimiser's state", "optimizer"),
        ("the pool steps many games at once", "environments"),
    ],
)
def test_a_phrase_is_found(text, plain):
    (found,) = complaints(text)
    assert found.endswith(plain)


def test_doom_s_own_words_are_fine():
    assert not complaints("The game ended: player 2 left the map. It plays a sound.")
