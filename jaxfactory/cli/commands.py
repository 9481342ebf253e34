"""The commands of the command line: each parses its flags and prints the results.

Every command takes its arguments and returns the exit code.
"""

# ruff: noqa: T201 - the command line prints.

import dataclasses
import json
from typing import TYPE_CHECKING

from jaxfactory._util import jax_setup
from jaxfactory._util.plain_files import printable
from jaxfactory.config import runs
from jaxfactory.config.flags import parse
from jaxfactory.config.train import EvaluateOptions


if TYPE_CHECKING:
    from jaxfactory.hub.push import PushOptions


def train(args: list[str]) -> int:
    """Train an agent, or resume a run."""
    from jaxfactory.cli import train_command

    return train_command.run(args)


def launch(args: list[str]) -> int:
    """Start several processes that train together on this machine."""
    from jaxfactory.cli import launcher

    return launcher.run(args)


def evaluate(args: list[str]) -> int:
    """Run evaluation episodes, print the score, and publish the agent if asked to."""
    options = parse(EvaluateOptions, EvaluateOptions(), args, "evaluate")
    run = options.run or runs.find_newest_run()
    runs.load_config(run)
    if options.push_to_hub:
        from jaxfactory.hub import push as hub

        hub.check_login(options.push_to_hub)  # Fail before the evaluation, not after.
        options = dataclasses.replace(options, render_mp4=True)
    jax_setup.configure()
    from jaxfactory.checkpoints.saved_run import BEST, policy_run
    from jaxfactory.evaluation.evaluate import run as run_evaluation

    whole, run = run, policy_run(run, options.policy)
    if run != whole:
        print(f"policy {run.name} of the run {whole}")
    result = run_evaluation(dataclasses.replace(options, run=run, policy=BEST))
    if run != whole and options.policy == BEST:
        # The population's own score, for reports and sweeps.
        text = json.dumps({**result, "policy": int(run.name)}, indent=2) + "\n"
        runs.write_atomically(whole / runs.EVALUATION, text)
    if options.push_to_hub:
        repo, message = options.push_to_hub, options.commit_message
        _publish(
            hub.PushOptions(
                run=run, repo=repo, private=options.private, commit_message=message
            )
        )
    return 0


def push(args: list[str]) -> int:
    """Publish a run's agent on the Hub."""
    from jaxfactory.hub.push import PushOptions

    options = parse(PushOptions, None, args, "push")
    runs.load_config(options.run)
    jax_setup.configure()
    _publish(options)
    return 0


def _publish(options: "PushOptions") -> None:
    from jaxfactory.hub import push as hub

    pushed = hub.push(options)
    if not pushed.video:
        print(
            "published without a video, because this evaluation has none; make one "
            f"with: jaxfactory evaluate --run {options.run} --render-mp4"
        )
    print(f"published {options.run} ({pushed.score}) as {pushed.url}")
    print(f"download it with: jaxfactory pull {options.repo}")


def pull(args: list[str]) -> int:
    """Download an agent from the Hub into a run directory."""
    from jaxfactory.hub import pull as hub

    options = parse(hub.PullOptions, None, args, "pull")
    jax_setup.configure()
    run, frames, notes = hub.pull(options)
    print(f"pulled {options.repo}, trained for {frames:,} frames, into {run}")
    for note in notes:
        print(f"note: {printable(note)}")
    print(f"evaluate and record it with: jaxfactory evaluate --run {run} --render-mp4")
    more = f"--total-frames {max(2 * frames, 1)}"
    print(f"resume training with: jaxfactory train --run {run} {more}")
    return 0


def report(args: list[str]) -> int:
    """Write an HTML report."""
    from jaxfactory.report import report as html

    html.run(parse(html.ReportOptions, html.ReportOptions(), args, "report"))
    return 0


def sweep(args: list[str]) -> int:
    """Train one run for each combination of settings."""
    from jaxfactory.sweep.sweep import SweepOptions, run

    return run(parse(SweepOptions, SweepOptions(), args, "sweep"))


def tournament(args: list[str]) -> int:
    """Run matches between agents, rate them, and write a page."""
    from jaxfactory.tournament.options import TournamentOptions

    options = parse(TournamentOptions, TournamentOptions(), args, "tournament")
    jax_setup.configure()
    from jaxfactory.tournament import tournament as round_robin

    round_robin.run(options)
    return 0


def scenarios(args: list[str]) -> int:
    """List or describe scenarios."""
    from jaxfactory.cli.listing_options import ScenariosOptions

    options = parse(ScenariosOptions, ScenariosOptions(), args, "scenarios")
    from jaxfactory.cli import listing

    listing.show(options.names)
    return 0


def import_sample_factory(args: list[str]) -> int:
    """Convert a Sample Factory agent into a run."""
    from jaxfactory.sample_factory import convert

    options = parse(convert.ImportOptions, None, args, "import-sample-factory")
    # JAX starts, and reads its settings, only when the run is written.
    jax_setup.configure()
    found = convert.convert(
        options.experiment, options.scenario, options.run, policy=options.policy
    )
    print(f"read {found.file}, trained for {found.frames:,} frames")
    for note in found.notes:
        print(f"note: {printable(note)}")
    print(f"written to {found.run}: an agent for {found.scenario}")
    print(f"see the score with: jaxfactory evaluate --run {found.run}")
    more = f"--total-frames {max(2 * found.frames, 1)}"
    print(f"resume training with: jaxfactory train --run {found.run} {more}")
    return 0
