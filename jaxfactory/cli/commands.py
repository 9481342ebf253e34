"""The commands of the command line: each parses its flags and prints the results.

Every command takes its arguments and returns the exit code.
"""

# ruff: noqa: T201 - the command line prints.

import dataclasses
import warnings
from typing import TYPE_CHECKING

from jaxfactory._util import plugins
from jaxfactory._util.errors import require
from jaxfactory._util.plain_files import printable
from jaxfactory.config import runs
from jaxfactory.config.flags import parse
from jaxfactory.config.train import EvaluateOptions
from jaxfactory.training import init_from
from jaxfactory.training.options import as_config, parse_train


if TYPE_CHECKING:
    from pathlib import Path

    from jaxfactory.config.train import Config
    from jaxfactory.hub.push import PushOptions
    from jaxfactory.training.options import TrainOptions


def train(args: list[str]) -> int:
    """Train an agent, or resume a run."""
    from jaxfactory.config import sizing

    if sizing.wants_auto(args):
        args = _fill_in_sizes(args)
    if any(arg.startswith(("--init-from", "--init_from")) for arg in args):
        _prepare_jax()  # Reading a run downloaded from the Hub starts JAX.
    options = parse_train(args)
    config = as_config(options)
    from jaxfactory.envs import family

    # Report mistakes before the slow start of JAX.
    family.check(config.env, video=bool(config.watch.video_every))
    if config.watch.wandb:
        require("wandb", extra="wandb", what="--wandb")
    run_dir = options.run or runs.new_run_dir(config.env.scenario)
    try:
        return _train(options, config, run_dir)
    finally:
        if options.run is None:
            runs.remove_empty(run_dir)


def _train(options: "TrainOptions", config: "Config", run_dir: "Path") -> int:
    from jaxfactory.envs import family

    config = init_from.recorded(config, run_dir)
    saved = runs.checkpoint_dirs(run_dir, "latest")
    if saved and int(saved[-1].name) >= config.total_frames:
        print(
            f"the run {run_dir} already has {int(saved[-1].name):,} frames; "
            "give a larger --total-frames to resume it"
        )
        return 0
    if note := family.resolve(config.env).map_warning():
        print(note)
    _prepare_jax()
    from jaxfactory.metrics.terminal_writer import TerminalWriter
    from jaxfactory.training import loop

    if options.replay_config is not None:
        _compare_versions(options.replay_config)

    state = loop.train(
        config,
        run_dir,
        writer=TerminalWriter(run_dir, config.total_frames),
        callbacks=[plugins.load(name, "--callback") for name in options.callback],
    )
    early = ""
    if state.frames < config.total_frames:
        what = "a callback" if options.callback else "--train-for-minutes"
        early = f" (stopped by {what})"
    print(
        f"trained for {state.frames:,} frames{early}; "
        f"see the score with: jaxfactory evaluate --run {run_dir}"
    )
    return 0


def _compare_versions(replayed: "Path") -> None:
    """Warn of versions that differ from those of the run of a config.json."""
    from jaxfactory._util import versions
    from jaxfactory.models import precision

    sessions = versions.recorded(replayed.parent)
    here = versions.current(precision.kernels_here())
    if len(sessions) > 1:
        print(
            f"note: the run {replayed.parent} was resumed with other versions; its "
            f"first session is compared, see {replayed.parent / versions.FILE}"
        )
    if not sessions:
        print(f"note: {replayed.parent} has no {versions.FILE} to compare with")
    elif different := versions.differences(sessions[0], here):
        warnings.warn(
            f"the run of {replayed} had {', '.join(different)}: its numbers may not be "
            "repeated exactly",
            stacklevel=2,
        )


def evaluate(args: list[str]) -> int:
    """Run evaluation episodes, print the score, and publish the agent if asked to."""
    options = parse(EvaluateOptions, EvaluateOptions(), args, "evaluate")
    run = options.run or runs.find_newest_run()
    runs.load_config(run)
    if options.push_to_hub:
        from jaxfactory.hub import push as hub

        hub.check_login(options.push_to_hub)  # Fail before the evaluation, not after.
        options = dataclasses.replace(options, render_mp4=True)
    _prepare_jax()
    from jaxfactory.evaluation.evaluate import run as run_evaluation

    run_evaluation(dataclasses.replace(options, run=run))
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
    _prepare_jax()
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
    _prepare_jax()
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
    _prepare_jax()
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
    _prepare_jax()
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


def _fill_in_sizes(args: list[str]) -> list[str]:
    from jaxfactory.config import sizing

    _prepare_jax()
    import jax

    cores = sizing.usable_cores()
    sizes = sizing.choose(cores, gpu=jax.default_backend() != "cpu")
    print(
        f"auto: {sizes.num_envs} environments, {sizes.num_workers} workers "
        f"({sizes.reason})"
    )
    return sizing.fill_in(args, sizes)


def _prepare_jax() -> None:
    from jaxfactory._util import jax_setup

    jax_setup.configure()
