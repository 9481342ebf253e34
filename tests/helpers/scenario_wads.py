"""Which scenarios have their maps on this machine."""

import pytest

from jaxfactory._util.errors import UserError
from jaxfactory.scenarios import scenario_table


def wad_is_here(name: str) -> bool:
    try:
        scenario_table.find_wad(scenario_table.find(name).load())
    except UserError:
        return False
    return True


def needs_wad(name: str):
    return pytest.mark.skipif(not wad_is_here(name), reason=f"the wad of {name}")
