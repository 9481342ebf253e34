"""Generate docs/course.ipynb from docs/course.md, and execute it.

    pip install '.[docs]'
    python scripts/make_notebook.py                        # full length: hours
    python scripts/make_notebook.py --frames 300000 --bot-frames 100000

Text becomes Markdown cells; each command (with a ``!``) and each Python block becomes a
code cell. Comments in the page mark differences: ``<!-- notebook: leave out -->``,
``<!-- notebook: replace A -> B -->``, and ``<!-- notebook ... -->`` around blocks that
only the notebook has.

The notebook is executed in its own folder, which is kept; repeating the command resumes
an interrupted execution. Publishing and pulling need a Hub. With ``--hub-here`` a local
stand-in is used; ``--stronger RUN`` and ``--bots-agent RUN`` are then the agents to
pull, runs of jaxfactory or experiments of Sample Factory, and a sentence at the top of
the notebook reports this.
"""

import argparse
import contextlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "course.md"
NOTEBOOK = ROOT / "docs" / "course.ipynb"
# The agents that are pulled: the option that names a stand-in, its name on the stand-in
# Hub, and the variable that tells the notebook of it.
PULLED = {
    "stronger": ("somebody/doom_health_gathering_supreme", "COURSE_STRONGER"),
    "bots_agent": ("somebody/doom_deathmatch_bots", "COURSE_BOTS_AGENT"),
}

_MARKS = r"(?P<marks>(?:<!-- (?:test|notebook): .*? -->\n)*)"
_FENCE = r"```(?P<language>\w+)\n(?P<code>.*?)^```$"
_PIECE = re.compile(
    rf"<!-- notebook\n(?P<only>.*?)^-->$|^{_MARKS}{_FENCE}", re.DOTALL | re.MULTILINE
)
_MARK = re.compile(r"<!-- notebook: (.*?) -->")


class Cell(NamedTuple):
    """A cell: ``"markdown"`` or ``"code"``, and its text."""

    kind: str
    source: str


def cells(page: str) -> list[Cell]:
    """Return the cells that a page makes."""
    found: list[Cell] = []
    position = 0
    for piece in _PIECE.finditer(page):
        _add_text(found, page[position : piece.start()])
        position = piece.end()
        if piece["only"] is not None:
            found += cells(piece["only"])
        else:
            _add_code(found, piece)
    _add_text(found, page[position:])
    return found


def _add_text(found: list[Cell], text: str) -> None:
    text = re.sub(r"\]\(([\w-]+)\.md(#[\w-]+)?\)", r"](\1.html\2)", text).strip()
    if text and found and found[-1].kind == "markdown":
        found[-1] = Cell("markdown", f"{found[-1].source}\n\n{text}")
    elif text:
        found.append(Cell("markdown", text))


def _add_code(found: list[Cell], piece: re.Match) -> None:
    code, language = piece["code"].strip("\n"), piece["language"]
    marks = _MARK.findall(piece["marks"])
    if "leave out" in marks or language not in ("sh", "python"):
        _add_text(found, f"```{language}\n{code}\n```")
        return
    for mark in marks:
        old, _, new = mark.removeprefix("replace ").partition(" -> ")
        if old not in code:
            raise SystemExit(f"{PAGE.name}: {old!r} is not in the block below its mark")
        code = code.replace(old, new)
    if language == "sh":
        found += [Cell("code", f"!{line}") for line in code.splitlines()]
    else:
        found.append(Cell("code", code))


def note(options: argparse.Namespace) -> str:
    """Return the note about how the notebook was executed."""
    parts = [
        "> Outputs: executed by `scripts/make_notebook.py`",
        f" with {options.frames:,} frames and {options.bot_frames:,} against bots.",
    ]
    if options.hub_here:
        names = " and ".join(f"`{repo}`" for repo, _ in PULLED.values())
        parts.append(
            " Without a network: a stand-in on the same machine took the Hub's place, "
            f"and the agents that are pulled, {names}, stand for the published ones."
        )
    return "".join(parts)


def make(options: argparse.Namespace):
    """Return the notebook, not yet executed."""
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    made = []
    for number, cell in enumerate(cells(PAGE.read_text())):
        new = new_markdown_cell if cell.kind == "markdown" else new_code_cell
        # Stable ids keep diffs small.
        made.append(new(cell.source, id=f"cell-{number:02}"))
    made.insert(1, new_markdown_cell(note(options), id="outputs"))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=made, metadata={"kernelspec": kernel})


def execute(notebook, options: argparse.Namespace) -> None:
    """Execute the notebook in the options' folder, saving it after each cell.

    What an earlier execution has done is not done again: of cells that only run
    commands the outputs are taken over.
    """
    import nbformat
    from nbclient import NotebookClient

    options.folder.mkdir(parents=True, exist_ok=True)
    unfinished = options.folder / "unfinished.ipynb"
    done = {}
    if unfinished.is_file():
        before = nbformat.read(unfinished, as_version=4)
        done = {cell.source: cell for cell in before.cells if cell.get("outputs")}
    elif any(options.folder.iterdir()):
        raise SystemExit(f"{options.folder} is not empty; give --folder a new one")
    scripts = str(Path(sys.executable).parent)
    os.environ["PATH"] = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    os.environ["COURSE_FRAMES"] = str(options.frames)
    os.environ["COURSE_BOT_FRAMES"] = str(options.bot_frames)
    place = {"metadata": {"path": str(options.folder)}}
    client = NotebookClient(notebook, timeout=None, resources=place)
    with _hub(options), client.setup_kernel():
        count = 0
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type != "code":
                continue
            count += 1
            if cell.source in done and cell.source.startswith("!"):
                cell.outputs = done[cell.source].outputs
                cell.execution_count = count
            else:
                client.execute_cell(cell, index, execution_count=count)
            nbformat.write(notebook, unfinished)


@contextlib.contextmanager
def _hub(options: argparse.Namespace) -> Iterator[None]:
    if not options.hub_here:
        yield
        return
    place = ROOT / "tests" / "hub_server.py"
    spec = importlib.util.spec_from_file_location("hub_server", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["hub_server"] = module
    spec.loader.exec_module(module)
    module.TOKENS.update(hf_user=("user", "write"), hf_other=("somebody", "write"))
    with module.HubServer() as server:
        os.environ |= {
            "HF_ENDPOINT": server.endpoint,
            "HF_HOME": str(options.folder.resolve() / ".hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_TOKEN": "hf_other",
        }
        for option, (repo, variable) in PULLED.items():
            os.environ[variable] = repo
            _publish(server, repo, getattr(options, option))
        os.environ["HF_TOKEN"] = "hf_user"
        yield


def _publish(server, repo: str, agent: Path) -> None:
    """Put a run of ours, or an experiment of Sample Factory's, on the stand-in Hub."""
    weights = sorted(agent.glob("checkpoint_p*/*.pth"))
    if not weights:
        subprocess.run(["jaxfactory", "push", str(agent), repo], check=True)
        return
    files = [*weights, *agent.glob("*.json")]
    content = {str(path.relative_to(agent)): path.read_bytes() for path in files}
    server.make(repo, content)


def cleaned(notebook):
    """Remove metadata that differs between executions."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    return notebook


def _joined(outputs: list) -> list:
    """Join the pieces of a program's output."""
    joined: list = []
    for output in outputs:
        if output.output_type != "stream":
            joined.append(output)
            continue
        text = output.text.replace("\r\n", "\n")
        # Remove overwritten lines and color codes.
        text = re.sub(r"[^\n]*\r", "", text)
        text = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", text)
        last = joined[-1] if joined else None
        if last is not None and last.get("name") == output.name:
            last.text += text
        else:
            joined.append(output)
            output.text = text
    return joined


def main() -> None:
    """Generate, execute and write the notebook."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=4_000_000)
    parser.add_argument("--bot-frames", type=int, default=20_000_000)
    parser.add_argument("--folder", type=Path, default=Path("course"))
    parser.add_argument("--hub-here", action="store_true")
    parser.add_argument("--stronger", type=Path, help="a run, with --hub-here")
    parser.add_argument("--bots-agent", type=Path, help="a run, with --hub-here")
    options = parser.parse_args()
    if options.hub_here and None in (options.stronger, options.bots_agent):
        parser.error("--hub-here needs --stronger RUN and --bots-agent RUN")
    import nbformat

    notebook = make(options)
    execute(notebook, options)
    nbformat.validate(notebook)
    NOTEBOOK.write_text(nbformat.writes(cleaned(notebook)) + "\n")


if __name__ == "__main__":
    main()
