"""Generate the parts of the documentation that come from code and results.

    python scripts/make_docs.py

These are the command reference (docs/commands.md), from each command's --help; the
table in docs/scenarios.md, from `jaxfactory scenarios`; and the figures in
docs/performance.md and docs/scaling.md, from benchmarks/results. A test checks that the
first two are up to date.
"""

import contextlib
import io
import json
import os
import re
import statistics
from pathlib import Path
from typing import Any


DOCS = Path(__file__).resolve().parents[1] / "docs"
RESULTS = DOCS.parent / "benchmarks" / "results"
TABLE_BEGIN = "<!-- scripts/make_docs.py writes this -->\n"
TABLE_END = "<!-- and no more -->\n"

_COMMANDS_HEAD = """\
# Commands

The output of each command's `--help`. [Coming from Sample Factory](sample-factory.md)
compares the flags with Sample Factory's.

"""


def help_of(*arguments: str) -> str:
    """Return the program's output for some arguments, in 88 columns."""
    from jaxfactory.cli import main as cli

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
    """Return the names of all commands, in the program's order."""
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
    from jaxfactory.cli import listing
    from jaxfactory.scenarios import scenario_table as scenarios

    rows = [
        "| scenario | actions | rewards | time-out | map |",
        "|---|---|---|---|---|",
    ]
    for row in listing.table():
        scenario = scenarios.find(row.name)
        maps = scenario.wads or (scenario.load().scenario_path,)
        timeout = row.timeout
        if scenario.match is not None:
            timeout += f" ({row.players})"
        actions = f"{row.heads}: {row.buttons}"
        cells = (f"`{row.name}`", actions, row.rewards, timeout)
        names = " or ".join(Path(name).name for name in maps)
        rows.append("| " + " | ".join((*cells, names)) + " |")
    return "\n".join([*rows, "", *_learned("scenarios.json")]) + "\n"


def _learned(name: str) -> list[str]:
    data = _result(name)
    if data is None:
        return []
    rows = [
        "Training runs with the default preset on 2 cores: the raw return of the best "
        "checkpoint's evaluation, compared with random actions; of several seeds the "
        "mean +- its standard error, of one the mean +- the standard deviation over "
        f"episodes ([{name}](results/{name}) has the rest, "
        "[the table](results/scenarios.md) the published scores and the options used):",
        "",
        "| scenario | frames | seeds | raw return | random actions |",
        "|---|---|---|---|---|",
    ]
    for scenario, row in sorted(data.items()):
        drawn = "{mean:.2f} +- {std:.2f}".format(**row["random_raw_return"])
        means = [run["raw_return"]["mean"] for run in row["runs"]]
        spread = row["runs"][0]["raw_return"]["std"]
        if len(means) > 1:
            spread = statistics.stdev(means) / len(means) ** 0.5
        own = f"{statistics.mean(means):.2f} +- {spread:.2f}"
        cells = f"{row['frames']:,} | {len(means)} | {own} | {drawn}"
        rows.append(f"| `{scenario}` | {cells} |")
    return rows


def figures() -> str:
    """Return the tables of results in docs/performance.md."""
    parts = [
        _sampling("fps_tuned.json", "sampling"),
        # Of an earlier commit, and not measured again, because it has more contenders.
        _sampling("fps.json", "sampling before `--engine tuned`"),
        _training("train.json"),
        _updates("update.json"),
        # On a processor with AVX-512-BF16.
        _training("train_precision.json"),
        _updates("update_bfloat16.json"),
    ]
    return "\n".join(filter(None, parts))


def _sampling(name: str, title: str) -> str:
    data = _result(name)
    if data is None:
        return ""
    rows = [
        f"| {one['label']} | {one['median']:,.0f} | {one['ratio']:.2f} |"
        for one in data["contenders"].values()
    ]
    head = f"| {title} | frames/s, median | speedup |\n|---|---|---|"
    return "\n".join([head, *rows, "", f"{_source(name, data)}\n"])


def _training(name: str) -> str:
    data = _result(name)
    if data is None:
        return ""
    rows = [
        f"| {who} | {statistics.median(rates):,.0f} |"
        for who, rates in data["contenders"].items()
    ]
    head = "| training | frames/s, median |\n|---|---|"
    return "\n".join([head, *rows, "", f"{_source(name, data)}\n"])


def _updates(name: str) -> str:
    data = _result(name)
    if data is None:
        return ""
    rows = []
    for preset, measured in data["presets"].items():
        for what, contenders in measured["microseconds"].items():
            medians = {who: statistics.median(x) for who, x in contenders.items()}
            ours = medians.pop("jaxfactory")
            others = ", ".join(f"{who} {x:.0f}" for who, x in medians.items())
            rows.append(f"| {preset}: {what} | {ours:.0f} | {others} |")
    head = "| microseconds per sample, median | jaxfactory | others |\n|---|---|---|"
    return "\n".join([head, *rows, "", f"{_source(name, data)}\n"])


def scaling() -> str:
    """Return the tables of results in docs/scaling.md."""
    data = _result("scaling.json")
    if data is None:
        return ""
    rows = ["| frames/s of training | counting | Doom |", "|---|---|---|"]
    for split, one in data["training"]["counting"].items():
        doom = data["training"]["doom"][split]
        rates = f"{one['frames_per_second']:,.0f} | {doom['frames_per_second']:,.0f}"
        rows.append(f"| {split} | {rates} |")
    rows += ["", _source("scaling.json", data), ""]
    rows += [
        "| an update's collectives, per device | minibatches | summed up | exchanged | "
        "seconds | update |",
        "|---|---|---|---|---|---|",
    ]
    for split, found in data["updates"].items():
        for minibatches in ("1", "4"):
            one = found[minibatches]
            rows.append(
                f"| {split} | {minibatches} | {one['all_reduce_bytes'] / 1e6:.1f} MB | "
                f"{one['reduce_scatter_bytes'] / 1e6:.1f} MB | "
                f"{one['collective_seconds']:.3f} | {one['update_seconds']:.3f} s |"
            )
    return "\n".join([*rows, "", *_extrapolated(data["extrapolation"])]) + "\n"


def _extrapolated(data: dict[str, Any]) -> list[str]:
    measured, assumed = data["measured"], data["assumed"]
    rows = [
        "### Extrapolated",
        "",
        "This is a model, not a measurement. Its measured constants: a rollout of "
        f"{measured['frames']:,} frames takes {measured['rollout_seconds']:.2f} s and "
        f"its update {measured['update_seconds']:.2f} s on the machine above; "
        f"{measured['core_rate']:,.0f} frames/s of the engines per core "
        "([fps_tuned.json](results/fps_tuned.json)); "
        f"{measured['all_reduces']} collectives of "
        f"{measured['all_reduce_bytes'] / 1e6:.1f} MB in all per update. Its "
        "assumptions:",
        "",
        "- Machines like this one, each with the same batch, sync mode, one minibatch "
        "per epoch; all-reduces in a ring over "
        f"{assumed['network_bytes_per_second'] * 8e-9:.0f} Gbit/s and "
        f"{assumed['network_seconds'] * 1e6:.0f} microseconds per message; no machine "
        "is slower than the others.",
        f"- A machine with {assumed['gpu_machine_cores']} cores and up to 8 GPUs, "
        "async mode: the slower of engines and GPUs decides. A GPU does "
        f"{assumed['gpu_operations_per_second'] / 1e12:.0f} useful TFLOP/s on this "
        "small network, and "
        f"{assumed['gpu_link_bytes_per_second'] / 1e9:.0f} GB/s connect two of them. "
        "No GPU was measured.",
        "",
        "| machines | frames/s | of ideal | collectives |",
        "|---|---|---|---|",
    ]
    rows += [
        f"| {row['hosts']} | {row['frames_per_second']:,.0f} | "
        f"{100 * row['efficiency']:.0f} % | {row['collective_seconds']:.3f} s |"
        for row in data["hosts"]
    ]
    rows += [
        "",
        "| GPUs | the engines allow | the GPUs allow | frames/s |",
        "|---|---|---|---|",
    ]
    rows += [
        f"| {row['gpus']} | {row['engines_frames_per_second']:,.0f} | "
        f"{row['learning_frames_per_second']:,.0f} | "
        f"{row['frames_per_second']:,.0f} |"
        for row in data["gpus"]
    ]
    return rows


def _result(name: str) -> dict[str, Any] | None:
    file = RESULTS / name
    return json.loads(file.read_text()) if file.is_file() else None


def _source(name: str, data: dict[str, Any]) -> str:
    machine = data["machine"]
    hardware = f"{machine['cpu']}, {machine['cores']} cores"
    gpu = machine.get("gpu") or "no GPU"
    changes = " with changes" * machine["commit"].endswith("+changes")
    return (
        f"([{name}](results/{name}): {hardware}, {gpu}, "
        f"commit `{machine['commit'][:7]}`{changes}, {machine['date'][:10]})"
    )


def with_table(page: str, table: str) -> str:
    """Return a page with its generated part replaced."""
    before, begin, rest = page.partition(TABLE_BEGIN)
    _, end, after = rest.partition(TABLE_END)
    if not begin or not end:
        raise SystemExit("a page lacks the marks around its generated part")
    return f"{before}{begin}\n{table}\n{end}{after}"


def main() -> None:
    """Write all generated parts."""
    (DOCS / "commands.md").write_text(command_reference())
    parts = {
        "scenarios": scenario_table(), "performance": figures(), "scaling": scaling()
    }  # fmt: skip
    for name, part in parts.items():
        page = DOCS / f"{name}.md"
        page.write_text(with_table(page.read_text(), part))


if __name__ == "__main__":
    main()
