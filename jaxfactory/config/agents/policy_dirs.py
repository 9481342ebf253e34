"""Directories of the policies of a population, below the population's run."""

from pathlib import Path


POLICIES = "policies"
# Of every run.
_CONFIG = "config.json"


def policy_dir(run_dir: Path, policy: int) -> Path:
    """Return the directory of one policy of a population, which is a run as well."""
    return run_dir / POLICIES / str(policy)


def is_population(run_dir: Path) -> bool:
    """Whether a run is one of several policies."""
    return (run_dir / POLICIES).is_dir()


def population_of(run_dir: Path) -> Path | None:
    """Return the run that a directory is one policy of; None if it is no policy's."""
    folder = run_dir.absolute().parent
    named = folder.name == POLICIES and run_dir.name.isdecimal()
    return (
        run_dir.parent.parent if named and (folder.parent / _CONFIG).is_file() else None
    )
