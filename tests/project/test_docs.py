"""The documentation builds, is not stale, and what it says to type works."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys

import docs_pages
import pytest
from docs_pages import DOCS, PAGES, ROOT, blocks, run_page, words
from hub_server import TOKENS, HubServer

import jaxfactory
from jaxfactory._util import jax_setup
from jaxfactory.cli import commands, main
from jaxfactory.config import presets


BLOCKS = [block for page in PAGES for block in blocks(page)]
EXPERIMENTS = ROOT / "tests" / "data" / "sample_factory"
SAMPLE_FACTORY = EXPERIMENTS / "gru"
# The agents of others that the course page pulls, and what stands for them.
PULLED = {
    "edbeeching/doom_health_gathering_supreme_2222": SAMPLE_FACTORY,
    "edbeeching/doom_deathmatch_bots_2222": EXPERIMENTS / "deathmatch",
}
COMMANDS = [
    pytest.param(block, command, id=f"{block}:{command[:40]}")
    for block in BLOCKS
    if block.language == "sh"
    for command in block.commands
]


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def make_docs():
    return load_script("make_docs")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site, in which every warning is an error."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        # The theme's note about a future version of mkdocs.
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return out


def test_the_site_has_every_page(site):
    for page in PAGES:
        assert (site / page.with_suffix(".html").name).is_file(), page.name


def test_the_site_needs_no_network(site):
    """No page loads a script, a style, a font or a picture from another server."""
    loads = re.compile(
        r"<(?:script|link|img|iframe|source|video)\b[^>]*(?:src|href)=\"?(?:https?:)?//"
    )
    for page in site.glob("**/*.html"):
        assert not loads.findall(page.read_text()), page
    for style in site.glob("**/*.css"):
        assert not re.findall(r"url\([\"']?(?:https?:)?//|@import", style.read_text())


def test_the_site_can_be_searched_from_disk(site):
    """The index is a script, and pages have a Worker that works for file:// URLs."""
    assert (site / "search" / "search_index.js").stat().st_size > 50_000
    assert "iframe-worker.js" in (site / "index.html").read_text()
    assert (site / "javascripts" / "iframe-worker.js").is_file()


def test_the_contributing_page_includes_the_file(site):
    page = (site / "contributing.html").read_text()
    assert page.count("Recipe 3") >= 1
    assert "is included here" not in page


def test_the_command_reference_is_the_programs_own_help(make_docs):
    """Word for word; the frames around it may be another version's."""

    def plain(text):
        return re.sub(r"[^\x21-\x7e]+|-{5,}", " ", text).split()

    said = (DOCS / "commands.md").read_text()
    assert plain(said) == plain(make_docs.command_reference())
    assert {"train", "evaluate", "scenarios"} <= set(make_docs.commands())


def test_the_scenarios_are_those_of_the_table(make_docs):
    page = (DOCS / "scenarios.md").read_text()
    assert page == make_docs.with_table(page, make_docs.scenario_table())


@pytest.mark.parametrize(("block", "command"), COMMANDS)
def test_every_command_exists(block, command, monkeypatch, tmp_path):
    """Every flag is known and every value understood, without running anything."""
    monkeypatch.chdir(tmp_path)
    _, parts = words(command)
    program, *rest = parts
    if program == "jaxfactory":
        parse(rest)
    elif program == "python":
        check_script(rest)
    elif program == "make" and rest:
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert rest[0] in targets
    else:
        assert program in docs_pages.OTHERS, f"{block}: {program} is unknown"


def parse(arguments):
    """Let the command line read the arguments, and stop before it acts on them."""
    reached = []

    def stop(kind, default, args, command, *rest):
        reached.append(real(kind, default, args, command, *rest))
        raise SystemExit(0)

    with pytest.MonkeyPatch.context() as patch:
        from jaxfactory.config import flags
        from jaxfactory.config.train import Config
        from jaxfactory.training import options as train_options

        real = flags.parse
        for module in (commands, flags):
            patch.setattr(module, "parse", stop)
        # No run is there to begin from.
        patch.setattr(train_options.init_from, "scenario_of", lambda source: "basic")
        patch.setattr(train_options, "_begun_from", lambda source, base, *rest: base)
        # Nor is there a run to repeat.
        patch.setattr(train_options.runs, "read_config", lambda file: Config())
        patch.setattr(jax_setup, "configure", lambda: None)
        try:
            code = main.main([*arguments])
        except SystemExit as ended:
            code = ended.code
    assert not code
    shown = {"--help", "-h", "--version"} & set(arguments)
    assert reached or shown or not arguments


def check_script(arguments):
    """The script is there, and knows the flags or hands them to `train`."""
    script, *rest = arguments
    known = (ROOT / script).read_text()
    if "any flag of train" in (ROOT / "benchmarks/README.md").read_text():
        known += (DOCS / "commands.md").read_text()
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{script} has no {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_flag_that_the_text_names_exists(page):
    """Where two programs stand side by side, ours is in the second column."""
    text = page.read_text()
    if page.stem == "sample-factory":
        rows = [line.split(" | ") for line in text.splitlines() if line[:1] == "|"]
        text = "\n".join(cells[1] for cells in rows if len(cells) > 1)
    known = (DOCS / "commands.md").read_text()
    for script in [*ROOT.glob("benchmarks/*.py"), *ROOT.glob("scripts/*.py")]:
        known += script.read_text()
    of_others = {"--logdir", "--shm-size", "--cpus", "--gpus", "--no-deps"}
    for flag in {*re.findall(r"(?<![\w-])--[a-z][\w-]+", text)} - of_others:
        assert flag in known or "_" in flag, flag


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language == "python"], ids=str
)
def test_every_program_is_python(block):
    """It compiles, and names nothing of jaxfactory's that is not there."""
    tree = ast.parse(block.program)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "jaxfactory":
                assert hasattr(jaxfactory, node.attr), f"{block}: {node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "jaxfactory":
            for alias in node.names:
                assert hasattr(jaxfactory, alias.name), f"{block}: {alias.name}"


@pytest.fixture
def hub(tmp_path_factory):
    """A Hub on loopback that the pages' user is logged in to; its environment."""
    TOKENS["hf_docs"] = ("user", "write")
    with HubServer() as server:
        for repo, experiment in PULLED.items():
            _publish_sample_factory(server, repo, experiment)
        yield {
            "HF_ENDPOINT": server.endpoint,
            "HF_TOKEN": "hf_docs",
            "HF_HOME": str(tmp_path_factory.mktemp("hf")),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
    del TOKENS["hf_docs"]


def _publish_sample_factory(server, repo, experiment):
    """Put an agent that Sample Factory trained where the course page pulls one from."""
    files = [*experiment.glob("*.json"), *experiment.glob("checkpoint_p0/*.pth")]
    server.make(repo, {str(f.relative_to(experiment)): f.read_bytes() for f in files})


FAST = [page for page in PAGES if any("fast" in b.marks for b in blocks(page))]


@pytest.mark.vizdoom
@pytest.mark.parametrize("page", FAST, ids=lambda page: page.stem)
def test_the_fast_commands_run(page, tmp_path):
    run_page([b for b in blocks(page) if "fast" in b.marks], tmp_path, {})


@pytest.mark.slow
@pytest.mark.vizdoom
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_runs(page, hub, tmp_path):
    # What the pages take for granted: an agent of one's own to bring along.
    shutil.copytree(SAMPLE_FACTORY, tmp_path / "train_dir" / "my_experiment")
    run_page(blocks(page), tmp_path, hub)


def test_the_marks_are_known():
    for block in BLOCKS:
        for mark in block.marks:
            known = ("fast", "parse", "append", "replace")
            assert mark.split()[0] in known, f"{block}: {mark}"
        assert block.language in {"sh", "python", "text", "toml", "ini"}, str(block)


@pytest.fixture(scope="module")
def notebook():
    return json.loads((DOCS / "course.ipynb").read_text())


def test_the_notebook_is_the_course_page(notebook):
    """Cell by cell; only the sentence about its own outputs is not in the page."""
    make_notebook = load_script("make_notebook")
    page = make_notebook.cells((DOCS / "course.md").read_text())
    shown = [
        make_notebook.Cell(cell["cell_type"], "".join(cell["source"]))
        for cell in notebook["cells"]
        if cell["id"] != "outputs"
    ]
    assert shown == page


def test_the_notebook_was_executed(notebook):
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    text = json.dumps([cell["outputs"] for cell in cells])
    assert not [
        output
        for cell in cells
        for output in cell["outputs"]
        if output["output_type"] == "error"
    ]
    # Every command printed something, and none a complaint.
    assert all(cell["outputs"] for cell in cells if "!" in cell["source"][0])
    assert "jaxfactory: " not in text
    assert not re.findall(r"Traceback|/(?:root|home|tmp|work)/|\\u001b", text)


def test_the_notebook_s_commands_exist(notebook, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    values = {"{FRAMES}": "4000000", "{BOT_FRAMES}": "1", "{STRONGER}": "user/repo",
              "{BOTS_AGENT}": "user/repo"}  # fmt: skip
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    lines = [line for cell in cells for line in cell["source"] if line[0] == "!"]
    assert len(lines) > 5
    for line in lines:
        program, *rest = words(line.removeprefix("!"))[1]
        assert program == "jaxfactory"
        parse([values.get(word, word) for word in rest])


def sentences():
    """Return every string of the program, with \\0 where values are put in."""
    found = []
    for path in (ROOT / "jaxfactory").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                values = (getattr(part, "value", "\0") for part in node.values)
                found.append("".join(v if isinstance(v, str) else "\0" for v in values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    sources = [path.read_text() for path in (ROOT / "csrc").rglob("*.cc")]
    return found + [re.sub(r'"\s*\n\s*"', "", source) for source in sources]


def test_troubleshooting_quotes_what_the_program_says():
    """The first column of tables of error messages quotes strings of the source."""
    said = sentences()
    tables = re.compile(r"^\| the message contains.*\n((?:\|.*\n)+)", re.MULTILINE)
    quoted = []
    for page in PAGES:
        for table in tables.findall(page.read_text()):
            for row in table.splitlines()[1:]:
                quoted += re.findall(r"`(.+?)`", row.split(" | ")[0])
    assert len(quoted) > 30
    for text in quoted:
        parts = [part.strip() for part in text.split("...")]
        assert any(all(part in one for part in parts) for one in said), text


def test_every_preset_is_in_the_troubleshooting_table():
    table = (DOCS / "troubleshooting.md").read_text()
    (row,) = (line for line in table.splitlines() if "there is no preset" in line)
    for name in presets.PRESETS:
        assert f"`{name}`" in row, name


def test_the_api_reference_is_complete():
    """Every public name is documented, once, and nothing else."""
    page = (DOCS / "api.md").read_text()
    listed = re.findall(r"^::: jaxfactory\.(\w+)$", page, re.MULTILINE)
    assert sorted(listed) == sorted({*jaxfactory.__all__} - {"__version__"})
    assert "`jaxfactory.__version__`" in page


# Paths as code: with a folder and a suffix, or a folder that ends with a slash.
_PATH = re.compile(r"`([\w.-]+(?:/[\w.-]+)+/?|[\w.-]+/)`")


@pytest.mark.parametrize(
    ("page", "least"),
    [
        ("docs/architecture.md", 45),
        ("CONTRIBUTING.md", 25),
        ("docs/contributing.md", 5),
    ],
)
def test_the_paths_that_a_page_names_exist(page, least):
    named = _PATH.findall((ROOT / page).read_text())
    # A name in Gymnasium's registry, a group of metrics, and what a build makes.
    named = [name for name in named if name not in {"losses/", "site/"}]
    named = [name for name in named if not name.endswith("-v0")]
    assert len(named) >= least
    for name in named:
        assert (ROOT / name).exists(), f"{page} names {name}"


def test_the_architecture_page_has_the_packages_in_the_order_of_imports():
    page = (DOCS / "architecture.md").read_text()
    table = page.partition("order of imports")[2].partition("\n## ")[0]
    rows = [re.findall(r"`jaxfactory/(\w+)", line.split("|")[1])
            for line in table.splitlines() if line.startswith("| `")]  # fmt: skip
    listed = [name for row in rows for name in row]
    folder = ROOT / "jaxfactory"
    there = {path.name for path in folder.iterdir() if (path / "__init__.py").is_file()}
    there |= {path.stem for path in folder.glob("[a-z]*.py")}
    assert set(listed) == there
    layers = load_layers()
    assert listed == [name for name in layers if name in there]


def load_layers():
    """Return ORDER of the test that checks the imports, without running that test."""
    tree = ast.parse((ROOT / "tests" / "project" / "test_layers.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ORDER":
            return ast.literal_eval(node.value)
    raise AssertionError("test_layers.py has no ORDER")


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_the_readme_s_links_lead_somewhere():
    """Those to files; a reader of the repository follows them."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text())
    assert len(links) > 10
    for link in links:
        assert (ROOT / link).is_file(), link
