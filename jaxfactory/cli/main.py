"""The ``jaxfactory`` command: train, evaluate, report, push, pull and the others.

JAX and everything that needs it are imported inside the commands, so that help,
version and mistakes answer at once.
"""

# ruff: noqa: T201 - this is the module that speaks to the user.

import contextlib
import dataclasses
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jaxfactory
from jaxfactory._util import plugins
from jaxfactory._util.errors import (
    UserCodeError,
    UserError,
    did_you_mean,
    disk_sentence,
    require,
)
from jaxfactory._util.plain_files import printable
from jaxfactory._util.signals import raise_signals
from jaxfactory.config import runs
from jaxfactory.config.flags import parse
from jaxfactory.config.train import EvaluateOptions
from jaxfactory.training import init_from
from jaxfactory.training.options import as_config, parse_train


_HELP = """\
usage: jaxfactory COMMAND [OPTIONS]

Train, watch and score agents on ViZDoom.

commands:
  train       train an agent, or go on with a run
  evaluate    play a trained agent's episodes and print its score
  sweep       train one run for each combination of options in a file
  report      write an HTML page about a run, or one that compares runs
  push        publish a run's agent on the Hugging Face Hub
  pull        make a run of an agent on the Hugging Face Hub
  scenarios   list the scenarios, or describe some
  import-sample-factory
              make a run of an agent that Sample Factory trained

options:
  -h, --help  show this help, or a command's: jaxfactory train --help
  --version   show the version
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        0, 1 if an engine failed, 2 for a mistake of the user, or 128 plus the number of
        the signal that stopped it.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        with raise_signals(), _plain_warnings():
            return _dispatch(args)
    except UserError as error:
        print(f"jaxfactory: {printable(str(error))}", file=sys.stderr)
        if isinstance(error, UserCodeError):
            print(error.trace(), end="", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        # A TrainingInterrupted says how to go on; a second Ctrl-C says nothing.
        if str(error):
            print(f"jaxfactory: {error}", file=sys.stderr)
        return 128 + getattr(error, "signum", 2)
    except BrokenPipeError:
        # `jaxfactory scenarios | head`: leave quietly, and keep Python from flushing
        # into the closed pipe when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        sentence = disk_sentence(error)
        if not sentence:
            raise
        print(f"jaxfactory: {printable(sentence)}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if not _is_engines(error):
            raise
        print(f"jaxfactory: {error}", file=sys.stderr)
        return 1


def _is_engines(error: RuntimeError) -> bool:
    """Whether an engine failed, which only a command that loads the pool can meet."""
    core = sys.modules.get("jaxfactory._core")
    return core is not None and isinstance(error, core.EngineError)


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings as sentences, without the line of source that gave them."""

    def text(message: Warning | str, category: type[Warning], *place: Any) -> str:
        if issubclass(category, UserWarning):
            return f"jaxfactory: {printable(str(message))}\n"
        return before(message, category, *place)

    before = warnings.formatwarning
    warnings.formatwarning = text
    try:
        yield
    finally:
        warnings.formatwarning = before


def _dispatch(args: list[str]) -> int:
    commands: dict[str, Callable[[list[str]], int]] = {
        "train": _train,
        "evaluate": _evaluate,
        "report": _report,
        "sweep": _sweep,
        "push": _push,
        "pull": _pull,
        "scenarios": _scenarios,
        "import-sample-factory": _import_sample_factory,
    }
    if not args or args[0] in ("-h", "--help"):
        print(_HELP, end="")
        return 0
    if args[0] == "--version":
        print(f"jaxfactory {jaxfactory.__version__}")
        return 0
    name, rest = args[0], args[1:]
    if name not in commands:
        kind = "option" if name.startswith("-") else "command"
        hint = did_you_mean(name, [*commands, "--help", "--version"])
        raise UserError(
            f"there is no {kind} {name!r}{hint or '; see `jaxfactory --help`'}"
        )
    return commands[name](rest)


def _train(args: list[str]) -> int:
    from jaxfactory.config import sizing

    if sizing.wants_auto(args):
        args = _fill_in_sizes(args)
    if any(arg.startswith(("--init-from", "--init_from")) for arg in args):
        _prepare_jax()  # What is pulled from the Hub is read with it.
    options = parse_train(args)
    config = as_config(options)
    from jaxfactory.envs import family

    # Mistakes come before JAX is loaded for nothing.
    family.check(config.env, video=bool(config.watch.video_every))
    if config.watch.wandb:
        require("wandb", extra="wandb", what="--wandb")
    run_dir = options.run or runs.new_run_dir(config.env.scenario)
    config = init_from.recorded(config, run_dir)
    saved = runs.checkpoint_dirs(run_dir, "latest")
    if saved and int(saved[-1].name) >= config.total_frames:
        print(
            f"the run {run_dir} already has {int(saved[-1].name):,} frames; "
            "give a larger --total-frames to go on"
        )
        return 0
    if note := family.resolve(config.env).map_warning():
        print(note)
    _prepare_jax()
    from jaxfactory.metrics.terminal_writer import TerminalWriter
    from jaxfactory.training.loop import train

    state = train(
        config,
        run_dir,
        writer=TerminalWriter(run_dir, config.total_frames),
        callbacks=[plugins.load(name, "--callback") for name in options.callback],
    )
    early = (
        ", where a callback stopped it" if state.frames < config.total_frames else ""
    )
    print(
        f"trained for {state.frames:,} frames{early}; "
        f"see the score with: jaxfactory evaluate --run {run_dir}"
    )
    return 0


def _evaluate(args: list[str]) -> int:
    options = parse(EvaluateOptions, EvaluateOptions(), args, "evaluate")
    run = options.run or runs.find_newest_run()
    runs.load_config(run)
    if options.push_to_hub:
        from jaxfactory.hub import push

        push.check_login(options.push_to_hub)  # Before the episodes, not after them.
        options = dataclasses.replace(options, render_mp4=True)
    _prepare_jax()
    from jaxfactory.evaluation.evaluate import run as run_evaluation

    run_evaluation(dataclasses.replace(options, run=run))
    if options.push_to_hub:
        repo, message = options.push_to_hub, options.commit_message
        _publish(
            push.PushOptions(
                run=run, repo=repo, private=options.private, commit_message=message
            )
        )
    return 0


def _push(args: list[str]) -> int:
    from jaxfactory.hub import push

    options = parse(push.PushOptions, None, args, "push")
    runs.load_config(options.run)
    _prepare_jax()
    _publish(options)
    return 0


def _publish(options: "hub.PushOptions") -> None:
    from jaxfactory.hub import push

    pushed = push.push(options)
    if not pushed.video:
        print(
            "without a video: there is none of this evaluation; "
            f"jaxfactory evaluate --run {options.run} --render-mp4 makes one"
        )
    print(f"published {options.run} ({pushed.score}) as {pushed.url}")
    print(f"others get it with: jaxfactory pull {options.repo}")


def _pull(args: list[str]) -> int:
    from jaxfactory.hub import pull

    options = parse(pull.PullOptions, None, args, "pull")
    _prepare_jax()
    run, frames, notes = pull.pull(options)
    print(f"pulled {options.repo}, trained for {frames:,} frames, into {run}")
    for note in notes:
        print(f"note: {printable(note)}")
    print(f"watch it with: jaxfactory evaluate --run {run} --render-mp4")
    more = f"--total-frames {max(2 * frames, 1)}"
    print(f"go on training with: jaxfactory train --run {run} {more}")
    return 0


def _report(args: list[str]) -> int:
    from jaxfactory.report import report

    report.run(parse(report.ReportOptions, report.ReportOptions(), args, "report"))
    return 0


def _sweep(args: list[str]) -> int:
    from jaxfactory.sweep import sweep

    return sweep.run(parse(sweep.SweepOptions, sweep.SweepOptions(), args, "sweep"))


def _scenarios(args: list[str]) -> int:
    from jaxfactory.cli.listing_options import ScenariosOptions

    options = parse(ScenariosOptions, ScenariosOptions(), args, "scenarios")
    from jaxfactory.cli import listing

    listing.show(options.names)
    return 0


def _import_sample_factory(args: list[str]) -> int:
    from jaxfactory.sample_factory import convert

    options = parse(convert.ImportOptions, None, args, "import-sample-factory")
    # JAX is started only when the run is written, and reads its settings then.
    _prepare_jax()
    found = convert.convert(
        options.experiment, options.scenario, options.run, policy=options.policy
    )
    print(f"read {found.file}, trained for {found.frames:,} frames")
    for note in found.notes:
        print(f"note: {printable(note)}")
    print(f"written to {found.run}, an agent that plays {found.scenario}")
    print(f"see its score with: jaxfactory evaluate --run {found.run}")
    more = f"--total-frames {max(2 * found.frames, 1)}"
    print(f"go on training with: jaxfactory train --run {found.run} {more}")
    return 0


def _fill_in_sizes(args: list[str]) -> list[str]:
    from jaxfactory.config import sizing

    _prepare_jax()
    import jax

    cores = len(os.sched_getaffinity(0))
    sizes = sizing.choose(cores, gpu=jax.default_backend() != "cpu")
    print(
        f"auto: {sizes.num_envs} environments, {sizes.num_workers} workers "
        f"({sizes.reason})"
    )
    return sizing.fill_in(args, sizes)


def _prepare_jax() -> None:
    from jaxfactory._util import jax_setup

    jax_setup.configure()
