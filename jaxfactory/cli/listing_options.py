"""The options of `jaxfactory scenarios`, in a module that is quick to import."""

from dataclasses import dataclass
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class ScenariosOptions:
    """List all scenarios, or describe the given ones."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names or paths of scenarios to describe: buttons, rewards and files."""
