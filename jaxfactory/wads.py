"""Map files: where they may lie, and what is in them.

The packages that bring them are only looked for, never imported.
"""

import importlib.util
import itertools
import os
import struct
import zipfile
import zlib
from pathlib import Path

from jaxfactory.errors import UserError
from jaxfactory.game_config import GameConfig


WAD_PATH_VARIABLE = "JAXFACTORY_WAD_PATH"

# Distribution, the package that it installs, and the folder in it.
_PACKAGES = (
    ("vizdoom", "vizdoom", "scenarios"),
    ("envpool-assets", "envpool_assets", "vizdoom/maps"),
    ("sample-factory", "sf_examples", "vizdoom/doom/scenarios"),
)
PACKAGES = tuple(name for name, *_ in _PACKAGES)
_ASSETS = "pip install envpool-assets"
# For its maps alone: what it depends on is large, and wants an older NumPy.
_FIELD = "pip install --no-deps sample-factory"
# Map files that the vizdoom package has not, and what brings them.
_BROUGHT_BY = {
    "D3_battle.wad": _ASSETS,
    "D4_battle2.wad": _ASSETS,
    "two_colors_easy.wad": _FIELD,
    "two_colors_hard.wad": _FIELD,
    "ssl2.wad": _FIELD,
    "dwango5.wad": _FIELD,
    "freedm.wad": _FIELD,
}
# The same map files under the names that another package gives them.
_OTHER_NAMES = {"battle.wad": "D3_battle.wad", "battle2.wad": "D4_battle2.wad"}


def vizdoom_folder() -> Path:
    """Return where the vizdoom package lies.

    Raises:
        UserError: If it is not installed.
    """
    folder = _package_folder("vizdoom")
    if folder is None:
        raise UserError("the vizdoom package is missing; pip install vizdoom")
    return folder


def wheel_scenarios() -> Path:
    """Return the folder of the vizdoom package's own scenarios."""
    return vizdoom_folder() / "scenarios"


def iwad() -> Path:
    """Return the file of the game itself, which maps are added to."""
    folder = vizdoom_folder()
    # As DoomGame does: the original game's data where the user has put them there.
    original = folder / "doom2.wad"
    return original if original.is_file() else folder / "freedoom2.wad"


def _package_folder(name: str) -> Path | None:
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations)))


def _folders(cfg: Path) -> list[Path]:
    """Return the folders that are searched, in order."""
    extra = [Path(p) for p in os.environ.get(WAD_PATH_VARIABLE, "").split(":") if p]
    installed = {
        name: folder / inside
        for name, package, inside in _PACKAGES
        if (folder := _package_folder(package)) is not None
    }
    field = [installed.pop("sample-factory")] if "sample-factory" in installed else []
    return list(dict.fromkeys([cfg.parent, *installed.values(), *extra, *field]))


def find_wad(config: GameConfig) -> Path:
    """Return the map file of a scenario.

    Raises:
        UserError: If it is nowhere; the sentence says where it was looked for and
            which package brings it.
    """
    wanted = [Path(name) for name in config.wads or [config.scenario_path] if name]
    if not wanted:
        raise UserError(
            f"{config.path} names no doom_scenario_path, so there is no map"
        )
    folders = _folders(config.path)
    for name in wanted:
        for folder in folders:
            for candidate in (folder / name, folder / name.name):
                if candidate.is_file():
                    return candidate.resolve()
    looked = ", ".join(str(folder) for folder in folders)
    command = brought_by(config)
    remedy = f"`{command}` brings it; or " if command else ""
    raise UserError(
        f"the map {' or '.join(name.name for name in wanted)} of {config.path.name} is "
        f"not in {looked}; {remedy}put it into one of them or set {WAD_PATH_VARIABLE} "
        "to its folder"
    )


def brought_by(config: GameConfig) -> str:
    """Return the command that brings a scenario's map, "" where none is known."""
    names = [Path(name).name for name in config.wads or [config.scenario_path]]
    return next((_BROUGHT_BY[name] for name in names if name in _BROUGHT_BY), "")


def brings(name: str) -> str:
    """Return the command that brings a map file, "" where none is known."""
    return _BROUGHT_BY.get(first_name(name), "")


def first_name(name: str) -> str:
    """Return the one name of a map file that packages give several."""
    return _OTHER_NAMES.get(name, name)


def home(wad: Path) -> str:
    """Return the package that a map file lies in, or else its folder."""
    for name, package, _ in _PACKAGES:
        folder = _package_folder(package)
        if folder is not None and wad.is_relative_to(folder.resolve()):
            return name
    return str(wad.parent)


def find_map(config: GameConfig, iwad: Path) -> Path:
    """Return the map file of a scenario, once it is sure that it holds the map.

    The engine itself says nothing: it plays some other map then.

    Raises:
        UserError: If the file is missing or broken, or its map is nowhere in it.
    """
    wad = find_wad(config)
    lumps, maps = _contents(wad)
    # The maps of an archive are files of their own beside its other lumps.
    if config.map.upper() not in {*lumps, *maps, *_contents(iwad)[0]}:
        names = ", ".join(name.lower() for name in maps[:_NAMED]) or "none"
        raise UserError(f"there is no map {config.map} in {wad.name}; it has {names}")
    return wad


# Maps that a message names at most.
_NAMED = 40
# The largest collections of maps that people play have some tens of thousands.
_MAX_LUMPS = 1 << 20
# What an archive's members may have unpacked, together.
_MAX_UNPACKED = 1 << 30


def _contents(wad: Path) -> tuple[list[str], list[str]]:
    """Return the names of a map file's lumps, and of the maps among them, upper case.

    What a file is decide its first bytes and not its name, as for the engine.

    Raises:
        UserError: If it is neither a WAD file nor an archive (PK3), or is damaged.
    """
    try:
        with wad.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise UserError(f"{wad} cannot be read ({error.strerror})") from error
    if magic[:2] == b"PK":
        return [], _archived_maps(wad)
    lumps = _lumps(wad)
    maps = [a for a, b in itertools.pairwise(lumps) if b in ("THINGS", "TEXTMAP")]
    return lumps, maps


def _archived_maps(pk3: Path) -> list[str]:
    """Return the maps of an archive: it keeps each as ``maps/NAME.wad``.

    Raises:
        UserError: If the archive is damaged, would unpack to too much, or keeps a map
            that is none.
    """
    try:
        with zipfile.ZipFile(pk3) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > _MAX_UNPACKED:
                raise UserError(
                    f"{pk3} is refused: it would unpack to more than "
                    f"{_MAX_UNPACKED >> 20} MiB"
                )
            maps = [
                member
                for member in members
                if member.filename.lower().startswith("maps/")
                and member.filename.lower().endswith(".wad")
            ]
            for member in maps:
                with archive.open(member) as file:
                    if file.read(4) not in _MAGIC:
                        raise UserError(
                            f"{pk3} is damaged: {member.filename[:80]!r} in it is not "
                            "a map file (WAD)"
                        )
    except (
        zipfile.BadZipFile, OSError, RuntimeError, EOFError, ValueError, zlib.error,
        NotImplementedError, struct.error,
    ) as error:  # fmt: skip
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{pk3} is not a map archive (PK3), or it is cut short"
        ) from error
    return [Path(member.filename).stem.upper() for member in maps]


_MAGIC = (b"IWAD", b"PWAD")


def _lumps(wad: Path) -> list[str]:
    """Return the names in a WAD file's directory (https://doomwiki.org/wiki/WAD)."""
    with wad.open("rb") as file:
        header = file.read(12)
        magic, count, start = struct.unpack("<4sii", header.ljust(12, b"\0"))
        size = file.seek(0, os.SEEK_END)
        entries = []
        whole = magic in _MAGIC and len(header) == 12 and min(count, start) >= 0
        whole = whole and count <= _MAX_LUMPS and start + 16 * count <= size
        if whole:
            file.seek(start)
            entries = list(struct.iter_unpack("<ii8s", file.read(16 * count)))
        # (A lump of no bytes, as a map's name is, may lie anywhere.)
        if not whole or any(
            length < 0 or (length and not 0 <= at <= size - length)
            for at, length, _ in entries
        ):
            raise UserError(f"{wad} is not a map file (WAD), or it is cut short")
        return [name.split(b"\0")[0].decode("latin-1").upper() for *_, name in entries]
