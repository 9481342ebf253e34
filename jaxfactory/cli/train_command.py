"""``jaxfactory train``, in one process or as one of several."""

# ruff: noqa: T201 - the command line prints.

import atexit
import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jaxfactory._util import jax_setup, plugins
from jaxfactory._util.errors import UserError, require
from jaxfactory._util.signals import TrainingInterrupted
from jaxfactory.config import runs, sizing
from jaxfactory.distributed import gang as gangs
from jaxfactory.training import init_from
from jaxfactory.training.options import TrainOptions, as_config, parse_train


if TYPE_CHECKING:
    from jaxfactory.config.train import Config
    from jaxfactory.distributed.gang import Gang
    from jaxfactory.distributed.team import Together


def run(args: list[str]) -> int:
    """Train an agent, or resume a run; return the exit code.

    Raises:
        UserError: If the flags are wrong, or training raises it.
    """
    if sizing.wants_auto(args):
        refuse_auto(gangs.is_named(args, os.environ))
        args = _fill_in_sizes(args)
    if any(arg.startswith(("--init-from", "--init_from")) for arg in args):
        jax_setup.configure()  # Reading a run downloaded from the Hub starts JAX.
    options = parse_train(args)
    config = as_config(options)
    check_early(config)
    gang = gangs.find(
        options.coordinator, options.num_processes, options.process_id, os.environ
    )
    config = _fitted(config, options, args, several=gang is not None)
    if gang is not None:
        return _train_together(options, config, gang)
    run_dir = options.run or runs.new_run_dir(config.env.scenario)
    try:
        return _train(options, config, run_dir)
    finally:
        if options.run is None:
            runs.remove_empty(run_dir)


def _fitted(
    config: "Config", options: TrainOptions, args: list[str], *, several: bool
) -> "Config":
    """Return settings whose environments fit into memory; print it if they are fewer.

    Only where neither a flag nor an existing run has set their number, and one process
    trains: several would choose different numbers.
    """
    from jaxfactory.envs.doom import capacity

    resumed = options.run is not None and runs.is_run(options.run)
    chosen = bool(several or resumed or options.replay_config) or any(
        arg.partition("=")[0] in ("--num-envs", "--num_envs") for arg in args
    )
    config, note = capacity.fitted(config, chosen)
    if note:
        print(note)
    return config


def refuse_auto(several: bool) -> None:
    """Refuse numbers that each process would choose for itself.

    Raises:
        UserError: If there are several processes.
    """
    if several:
        raise UserError(
            "--num-envs auto and --num-workers auto work in one process only; give "
            "the number of environments of each process, as in --num-envs 64"
        )


def check_early(config: "Config") -> None:
    """Report mistakes before the slow start of JAX.

    Raises:
        UserError: If the environment or a package is missing.
    """
    from jaxfactory.envs import family

    family.check(config.env, video=bool(config.watch.video_every))
    if config.watch.wandb:
        require("wandb", extra="wandb", what="--wandb")


def _train(options: TrainOptions, config: "Config", run_dir: Path) -> int:
    from jaxfactory.distributed.team import SOLO
    from jaxfactory.envs import family

    config = init_from.recorded(config, run_dir)
    if text := _finished(config, run_dir):
        print(text)
        return 0
    if note := family.resolve(config.env).map_warning():
        print(note)
    jax_setup.configure()
    return _run(options, config, run_dir, SOLO)


def _finished(config: "Config", run_dir: Path) -> str:
    """Return a message if nothing is left to train."""
    from jaxfactory.checkpoints import host_file

    saved = runs.checkpoint_dirs(run_dir, "latest")
    if not saved or int(saved[-1].name) < config.total_frames:
        return ""
    try:
        host_file.read(saved[-1])
    except (OSError, ValueError):
        return ""  # Damaged: training resumes from the one before.
    return (
        f"the run {run_dir} already has {int(saved[-1].name):,} frames; "
        "give a larger --total-frames to resume it"
    )


def _train_together(options: TrainOptions, config: "Config", gang: "Gang") -> int:
    """Train in one of several processes."""
    jax_setup.configure()
    from jaxfactory.distributed import runtime
    from jaxfactory.envs import family

    with (
        _leaving_at_once(gang.number),
        runtime.team_of(gang, options.step_timeout, options.devices) as team,
    ):
        first = team.number == 0
        run_dir = options.run
        if run_dir is None and first:
            run_dir = runs.new_run_dir(config.env.scenario)
        try:
            # Process 0 decides: the others may have no access to its files.
            run_dir = Path(team.share(str(run_dir))[0])
            text = team.share(_finished(config, run_dir) if first else "")[0]
            if text and first:
                print(text)
            if text:
                return 0
            if first and (note := family.resolve(config.env).map_warning()):
                print(note)
            return _run(options, config, run_dir, team)
        finally:
            if options.run is None and first and run_dir is not None:
                runs.remove_empty(run_dir)


@contextlib.contextmanager
def _leaving_at_once(number: int) -> Iterator[None]:
    """Let this process end without JAX's own end, which waits for the others."""
    code = 0
    try:
        yield
    except TrainingInterrupted as error:
        code = 128 + error.signum
        if number:
            raise SystemExit(code) from error  # Process 0 says so.
        raise
    except SystemExit as leaving:  # Process 0 reports the error.
        code = int(leaving.code or 0)
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            code = 128 + getattr(error, "signum", 2)
        else:
            code = error.code if isinstance(error, UserError) else 1
        raise
    finally:
        # The last one to be registered is called first, before JAX's.
        atexit.register(_leave, code)


def _leave(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _run(
    options: TrainOptions, config: "Config", run_dir: Path, team: "Together"
) -> int:
    from jaxfactory.metrics.terminal_writer import TerminalWriter
    from jaxfactory.training import loop

    if options.replay_config is not None and not team.number:
        _compare_versions(options.replay_config)

    state = loop.train(
        config,
        run_dir,
        writer=TerminalWriter(
            run_dir, config.total_frames, policies=config.population.num_policies
        ),
        callbacks=[plugins.load(name, "--callback") for name in options.callback],
        devices=options.devices,
        team=team,
    )
    if team.number:
        return 0
    early = ""
    if state.frames < config.total_frames:
        what = "a callback" if options.callback else "--train-for-minutes"
        early = f" (stopped by {what})"
    print(
        f"trained for {state.frames:,} frames{early}; "
        f"see the score with: jaxfactory evaluate --run {run_dir}"
    )
    return 0


def _compare_versions(replayed: Path) -> None:
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


def _fill_in_sizes(args: list[str]) -> list[str]:
    jax_setup.configure()
    import jax

    cores = sizing.usable_cores()
    sizes = sizing.choose(cores, gpu=jax.default_backend() != "cpu")
    print(
        f"auto: {sizes.num_envs} environments, {sizes.num_workers} workers "
        f"({sizes.reason})"
    )
    return sizing.fill_in(args, sizes)
