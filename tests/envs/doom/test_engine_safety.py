"""What engines are given and may do, and what other users' processes may not."""

import errno
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from engine_processes import broken, udp_ports

from jaxfactory import _core
from jaxfactory._util.errors import UserError
from jaxfactory.envs.doom import engine_sandbox
from jaxfactory.envs.doom.pool import EngineError
from jaxfactory.envs.pool import make_pool


pytestmark = pytest.mark.vizdoom

needs_landlock = pytest.mark.skipif(
    _core.landlock_version() == 0, reason="this kernel has no Landlock"
)
FILTERS = (
    Path("/proc/sys/kernel/seccomp/actions_avail").exists()
    and platform.machine() in ("x86_64", "aarch64")
)  # fmt: skip


def of_process(pid: int | str, what: str) -> str:
    return Path(f"/proc/{pid}/{what}").read_text()


def step(pool) -> None:
    pool.step(np.zeros((pool.num_envs, len(pool.spec.action.heads)), np.int32))


# --- What an engine is given


def test_engines_get_no_keys(monkeypatch):
    secrets = {
        "HF_TOKEN": "hf_secret", "WANDB_API_KEY": "secret", "PATH": "/tmp/secret",
        "AWS_SECRET_ACCESS_KEY": "secret", "SSH_AUTH_SOCK": "/tmp/secret",
        # These two the engine would obey: where maps are, and a library to load.
        "DOOMWADDIR": "/tmp/secret", "SDL_DYNAMIC_API": "/tmp/secret.so",
    }  # fmt: skip
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LC_NUMERIC", "C")
    for scenario in ("basic", "duel"):
        with make_pool(scenario, num_envs=2) as pool:
            pool.reset()
            for pid in pool.engine_pids:
                words = of_process(pid, "environ").split("\0")
                names = {word.partition("=")[0] for word in words if word}
                assert "LC_NUMERIC" in names
                assert names <= {
                    *("LD_LIBRARY_PATH", "LD_PRELOAD", "LANG", "LANGUAGE", "TZ"),
                    "JAXFACTORY_MATCH_PORTS",
                } | {name for name in names if name.startswith("LC_")}
                assert "secret" not in "".join(words)


def test_what_the_environment_is_made_of():
    given = {"TZ": "UTC", "LC_ALL": "C", "LANG": "C", "LC": "1", "XLC_A": "1", "A": "b"}
    assert engine_sandbox.environment(given) == ["TZ=UTC", "LC_ALL=C", "LANG=C"]


def test_engines_gain_no_rights_and_leave_no_core_dump():
    with make_pool("basic", num_envs=1) as pool:
        pool.reset()
        pid = pool.engine_pids[0]
        assert re.search(r"NoNewPrivs:\s+1", of_process(pid, "status"))
        limits = of_process(pid, "limits")
        assert re.search(r"Max core file size +0 +0 ", limits)


# --- What an engine may touch


def test_what_an_engine_may_read(tmp_path):
    folder = tmp_path / "vizdoom"
    (folder / "scenarios").mkdir(parents=True)
    (tmp_path / "vizdoom.libs").mkdir()
    store = tmp_path / "store"
    store.mkdir()
    for name in ("engine", "a.wad", "lib.so"):
        (store / name).touch()
    (folder / "vizdoom").symlink_to(store / "engine")
    (folder / "scenarios" / "a.wad").symlink_to("../../store/a.wad")
    (tmp_path / "vizdoom.libs" / "lib.so").symlink_to(store / "lib.so")
    arguments = [
        *("-iwad", "/d/doom2.wad", "-file", "/m/a.wad", "/m/b.wad", "b.wad"),
        *("-config", "/home/x", "+map", "/home/y", "-file", "/m/c.wad"),
    ]
    found = engine_sandbox.readable(
        str(folder / "vizdoom"), arguments, "/opt/libraries::here:/opt/more"
    )
    own = {str(folder), f"{folder}.libs", *(str(p) for p in store.iterdir())}
    wads = {"/d/doom2.wad", "/m/a.wad", "/m/b.wad", "/m/c.wad"}
    system = set(engine_sandbox.readable("/nowhere/at/all", []))
    assert set(found) == own | wads | {"/opt/libraries", "/opt/more"} | (
        system - {"/nowhere/at", "/nowhere/at.libs"}
    )
    for path in ("/", "/home", "/root", "/tmp", "/proc", "/etc", "/usr", "/dev"):
        assert path not in system


def with_words(monkeypatch, *words: str) -> None:
    """Give every engine further arguments, as a scenario's file may."""
    broken(monkeypatch, lambda exe, args: (exe, [*args, *words]))


@needs_landlock
@pytest.mark.parametrize("sandbox", ["on", "off"])
def test_an_engine_that_is_told_to_write_a_file(monkeypatch, tmp_path, sandbox):
    monkeypatch.setenv(engine_sandbox.SWITCH, sandbox)
    file = tmp_path / ".bashrc"
    with_words(monkeypatch, "+logfile", str(file))
    with make_pool("basic", num_envs=1) as pool:
        pool.reset()
        step(pool)
    assert file.exists() == (sandbox == "off")


PROBE = """
    import ctypes, json, os, platform, resource, shutil, signal, socket, sys
    home, port, report = sys.argv[-3:]
    if "-join" in sys.argv:  # one of a match is enough
        signal.pause()
    libc = ctypes.CDLL(None, use_errno=True)
    def attempt(what):
        try:
            what()
        except OSError as error:
            return error.errno
        return 0
    def connect():
        socket.create_connection(("127.0.0.1", int(port)), timeout=5).close()
    def call(name, *arguments):
        def what():
            if getattr(libc, name)(*arguments) < 0:
                raise OSError(ctypes.get_errno(), name)
        return what
    def service(kind):
        with socket.socket(socket.AF_UNIX, kind) as other:
            other.connect(f"{home}/service")
    def of_another_processor():
        # int 0x80, with the 32-bit number of chmod
        if platform.machine() != "x86_64":
            raise OSError(1, "no such call")
        import mmap
        page = mmap.mmap(-1, 4096, prot=7)
        page.write(bytes.fromhex("53b80f000000bb00000000b9b6010000cd805bc3"))
        got = ctypes.CFUNCTYPE(ctypes.c_int)(
            ctypes.addressof(ctypes.c_char.from_buffer(page)))()
        if got < 0:
            raise OSError(-got, "chmod")
    def x32():
        if libc.syscall(0x40000000 + 90, f"{home}/secret".encode(), 0o666) < 0:
            raise OSError(ctypes.get_errno(), "chmod")
    own_path = f"/dev/shm/{os.path.basename(report)}.{os.getpid()}"
    own = os.open(own_path, os.O_CREAT | os.O_RDWR)
    os.unlink(own_path)
    os.fchmod(own, 0o644)  # as the engine does
    secret = f"{home}/secret".encode()
    filtered = {
        "speak to a service of the user's": attempt(
            lambda: service(socket.SOCK_STREAM)),
        "send to a service of the user's": attempt(lambda: service(socket.SOCK_DGRAM)),
        "change a file's mode": attempt(lambda: os.chmod(secret, 0o666)),
        "change it by another call": attempt(call("fchmodat", -100, secret, 0o666, 0)),
        "change it by a 32-bit call": attempt(of_another_processor),
        "change it by an x32 call": attempt(x32),
        "let others write an open file": attempt(lambda: os.fchmod(own, 0o646)),
        "give rights with an open file": attempt(lambda: os.fchmod(own, 0o4644)),
        "change a file's owner": attempt(lambda: os.chown(secret, -1, os.getgid())),
        "change a file's times": attempt(lambda: os.utime(secret, (0, 0))),
        "give a file an attribute": attempt(
            lambda: os.setxattr(secret, "user.a", b"1")),
        "empty a file": attempt(lambda: os.truncate(secret, 0)),
        "watch a folder": attempt(
            call("inotify_add_watch", libc.inotify_init(), home.encode(), 0x100)),
        "slow down the trainer": attempt(
            lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)),
        "move the trainer": attempt(
            lambda: os.sched_setaffinity(
                os.getppid(), os.sched_getaffinity(os.getppid()))),
        "limit the trainer": attempt(
            lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)),
        "trace the trainer": attempt(call("ptrace", 16, os.getppid(), 0, 0)),
        "use UDP": attempt(
            lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()),
        "use TCP": attempt(
            lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()),
        "use UDP over IPv6": attempt(
            lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()),
        "use raw sockets": attempt(
            lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 17).close()),
        "send pings": attempt(
            lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1).close()),
        "speak of routes": attempt(
            lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()),
        "make a pair of sockets": attempt(lambda: socket.socketpair()),
        "make a namespace": attempt(call("unshare", 0x10000000)),
        "share memory by a number": attempt(call("shmget", 0, 4096, 0o1600)),
        "make a queue": attempt(
            call("syscall", 425, 1, ctypes.create_string_buffer(120))),
    }
    resource.getrlimit(resource.RLIMIT_NOFILE)  # its own, and threads, go on
    import threading
    threads = [threading.Thread(target=os.getpid) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join()
    found = {
        "read a file of the user's": attempt(lambda: open(f"{home}/secret").read()),
        "read what the trainer was given": attempt(
            lambda: open(f"/proc/{os.getppid()}/environ", "rb").read()),
        "list a folder of the user's": attempt(lambda: os.listdir(home)),
        "write a file of the user's": attempt(lambda: open(f"{home}/new", "w")),
        "remove a file of the user's": attempt(lambda: os.remove(f"{home}/secret")),
        "plant commands for other engines": attempt(
            lambda: open("_vizdoom/autoexec.cfg", "w")),
        "start another program": attempt(
            lambda: os.posix_spawn("/bin/true", ["true"], {})),
        "connect to a server": attempt(connect),
        "signal the trainer": attempt(lambda: os.kill(os.getppid(), 0)),
    }
    with open(report, "w") as file:
        json.dump([found, filtered], file)
"""


@needs_landlock
@pytest.mark.parametrize("scenario", ["basic", "duel"])
def test_what_a_taken_over_engine_cannot_do(monkeypatch, tmp_path, scenario):
    """A Python program in the engine's place tries; it may read Python besides."""
    python = Path(sys.executable).resolve()
    probe = tmp_path / "probe.py"
    probe.write_text(textwrap.dedent(PROBE))
    home = tmp_path / "home"
    home.mkdir()
    (home / "secret").write_text("secret")
    (home / "secret").chmod(0o600)
    before = (home / "secret").stat()
    report = Path(f"/dev/shm/jaxfactory-probe-{os.getpid()}.json")
    readable = engine_sandbox.readable
    monkeypatch.setattr(
        engine_sandbox, "readable",
        lambda *args: [*readable(*args), str(probe), sys.base_prefix, str(python)],
    )  # fmt: skip
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as service,
    ):
        service.bind(str(home / "service"))
        service.listen()
        port = server.getsockname()[1]
        words = ["-I", str(probe)]
        broken(monkeypatch, lambda exe, args: (str(python), words))
        # After the id and the seed, which the pool adds.
        probe.write_text(
            f"import sys; sys.argv += {[str(home), str(port), str(report)]!r}\n"
            + probe.read_text()
        )
        with (
            make_pool(scenario, num_envs=2, num_groups=1, on_failure="raise") as pool,
            pytest.raises(EngineError, match="ended with exit status 0"),
        ):
            pool.reset()
    try:
        found, filtered = json.loads(report.read_text())
    finally:
        report.unlink(missing_ok=True)
    if _core.landlock_version() < 4:
        found.pop("connect to a server")
    if _core.landlock_version() < 6:
        found.pop("signal the trainer")
    assert len(found) >= 7
    if scenario == "duel":
        assert filtered.pop("use UDP") == 0
    if FILTERS:
        found |= filtered
    assert [name for name, error in found.items() if error == 0] == []
    assert {path.name for path in home.iterdir()} == {"secret", "service"}
    if FILTERS:
        assert set(filtered.values()) <= {errno.EPERM, errno.EACCES}
        # Its mode, owner, times and size.
        after = (home / "secret").stat()
        assert [*after[:7], *after[8:]] == [*before[:7], *before[8:]]


@pytest.mark.skipif(not FILTERS, reason="this kernel has no seccomp filters")
@pytest.mark.parametrize("scenario", ["basic", "duel"])
@pytest.mark.parametrize("sandbox", ["on", "off"])
def test_the_switch_is_for_the_filter_too(monkeypatch, scenario, sandbox):
    monkeypatch.setenv(engine_sandbox.SWITCH, sandbox)
    with make_pool(scenario, num_envs=2) as pool:
        pool.reset()
        for pid in pool.engine_pids:
            mode = re.search(r"Seccomp:\s+(\d)", of_process(pid, "status"))[1]
            # Off, it has what we have ourselves.
            own = re.search(r"Seccomp:\s+(\d)", of_process("self", "status"))[1]
            assert mode == ("2" if sandbox == "on" else own)


def test_the_switch_is_on_or_off(monkeypatch):
    monkeypatch.setenv(engine_sandbox.SWITCH, "no")
    with pytest.raises(UserError, match="JAXFACTORY_ENGINE_SANDBOX is 'no'"):
        make_pool("basic", num_envs=1)


# --- Names in /dev/shm


def instance_ids(pool) -> list[str]:
    maps = [of_process(pid, "maps") for pid in pool.engine_pids]
    return [re.search(r"/dev/shm/ViZDoomSM(\w+)", text)[1] for text in maps]


def test_ids_are_random():
    found = []
    for _ in range(2):
        with make_pool("basic", num_envs=4) as pool:
            pool.reset()
            found += instance_ids(pool)
    assert all(re.fullmatch("jx[0-9a-z]{8}", id_) for id_ in found)
    # Nothing that one could be told from another: 8 at one place are not all alike.
    assert len(set(found)) == 8
    for place in range(2, 10):
        assert len({id_[place] for id_ in found}) > 1


# --- The sockets of matches


class Stranger(threading.Thread):
    """Asks every engine that listens for a seat in its match, over and over."""

    def __init__(self):
        super().__init__()
        self._known = udp_ports()
        self.asked: set[int] = set()
        self.going = True

    def run(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            self._known.add(other.getsockname()[1])
            while self.going:
                for port in udp_ports() - self._known:
                    other.sendto(b"0\0", ("127.0.0.1", port))
                    self.asked.add(port)
                # Slowly: a flood would fill the buffers of a match's sockets, which is
                # another attack and none that is kept off.
                time.sleep(0.02)


def test_a_stranger_gets_no_seat():
    stranger = Stranger()
    with make_pool(
        "duel", num_envs=2, start_timeout=60.0, on_failure="raise",
        variables=["PLAYER_COUNT"],
    ) as pool:  # fmt: skip
        stranger.start()
        try:
            pool.reset()
            for _ in range(40):
                actions = np.zeros((2, len(pool.spec.action.heads)), np.int32)
                info = pool.step(actions).info
            assert (info.game_variables == 2).all()
        finally:
            stranger.going = False
            stranger.join()
    assert len(stranger.asked) >= 2


def listening(pid: int) -> set[str]:
    """Addresses of the UDP sockets of a process."""
    inodes = {
        os.readlink(fd).partition("[")[2].rstrip("]")
        for fd in Path(f"/proc/{pid}/fd").iterdir()
    }
    rows = [line.split() for line in of_process(pid, "net/udp").splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[9] in inodes}


LOOPBACK = {socket.inet_aton("127.0.0.1")[::-1].hex().upper()}


@pytest.mark.parametrize("name", ["a space", "a:colon", "plain"])
def test_a_path_that_the_loader_would_split(monkeypatch, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(engine_sandbox.PRELOAD, folder)
    library = folder / engine_sandbox.PRELOAD.name
    monkeypatch.setattr(engine_sandbox, "PRELOAD", library)
    with make_pool("duel", num_envs=2) as pool:
        pool.reset()
        for pid in pool.engine_pids:
            assert str(library) in of_process(pid, "maps")
            assert listening(pid) == LOOPBACK


def test_a_game_against_bots_alone_listens_nowhere():
    with make_pool("duel_bots", num_envs=1) as pool:
        pool.reset()
        assert listening(pool.engine_pids[0]) == set()


def test_without_the_library_no_match_is_started(monkeypatch, tmp_path):
    monkeypatch.setattr(engine_sandbox, "PRELOAD", tmp_path / "gone.so")
    with pytest.raises(UserError, match=r"gone\.so is missing.*install"):
        make_pool("duel", num_envs=2)
    make_pool("basic", num_envs=1).close()
    (tmp_path / "gone.so").write_text("no library")
    log = tmp_path / "log"
    wrapper = tmp_path / "engine"
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv(engine_sandbox.SWITCH, "off")
    broken(monkeypatch, lambda exe, args: (str(wrapper), args))
    with (
        make_pool("duel", num_envs=2, on_failure="raise") as pool,
        pytest.raises(EngineError, match=r"did not load .*gone\.so"),
    ):
        pool.reset()
    assert log.read_text() == "\n"  # asked without a match's arguments, and no more


RECEIVER = """
    import socket, sys
    box = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    box.bind(("0.0.0.0", 0))
    print(*box.getsockname(), flush=True)
    box.setblocking(False)
    sys.stdin.readline()
    heard = []
    for _ in range(1000):
        try:
            heard.append(box.recvfrom(100)[0].decode())
        except BlockingIOError:
            pass
    print(*heard, flush=True)
"""


def with_library(ports: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-I", "-c", textwrap.dedent(RECEIVER)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={
            "LD_PRELOAD": str(engine_sandbox.PRELOAD),
            "JAXFACTORY_MATCH_PORTS": ports,
        },
    )  # fmt: skip


def test_the_library_hears_its_match_only():
    boxes = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    for box, address in zip(
        boxes, ("127.0.0.1", "127.0.0.1", "127.0.0.2"), strict=True
    ):
        box.bind((address, 0))
    friend, stranger, elsewhere = boxes
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        own = probe.getsockname()[1]
    allowed = f"{friend.getsockname()[1]},{elsewhere.getsockname()[1]}"
    with with_library(f"{own},{own},{allowed}") as process:
        address, port = process.stdout.readline().split()
        assert (address, int(port)) == ("127.0.0.1", own)
        for _ in range(100):
            stranger.sendto(b"stranger", (address, own))
            elsewhere.sendto(b"elsewhere", (address, own))
        friend.sendto(b"friend", (address, own))
        assert process.communicate("go\n")[0] == "friend\n"
    for box in boxes:
        box.close()


@pytest.mark.parametrize("ports", ["taken", "none"])
def test_the_library_binds_its_port_or_ends(ports):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        own = other.getsockname()[1]
        with with_library(f"{own},{own}" if ports == "taken" else "") as process:
            process.communicate()
            assert process.returncode == 98
