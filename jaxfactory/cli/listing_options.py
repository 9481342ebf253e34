"""What `jaxfactory scenarios` takes; apart, so that its help loads little."""

from dataclasses import dataclass
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class ScenariosOptions:
    """List the scenarios, or describe those that are named."""

    # Names or paths of scenarios to describe: buttons, rewards and files.
    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
