"""What the fuzzers of the readers feed them: files broken at random, and invented."""

import copy
import io
import json
import math
import pickle
import struct
import zipfile

import numpy as np
from hypothesis import strategies as st


ODD_NUMBERS = st.sampled_from([
    0, -1, 1, 7, 255, 2**31, 2**53, 2**63, -(2**63), 10**12, 10**19, 2.5, -0.0, 1e-300,
    1e30, 1e308, math.inf, -math.inf, math.nan,
])  # fmt: skip
ODD_TEXTS = st.one_of(
    st.sampled_from([
        "", "\x00", "a\nb", "\x1b[2J", "\u202e", "\ud800", "x" * 5000, "float32[3]",
        "float32[99999999999]", "object[3]", "basic", "gymnasium:CartPole-v1", "latest",
        "../../x", "<script>", "1", "NaN", "{}", "true", "/dev/zero", "doom_basic",
    ]),
    st.text(max_size=12),
)  # fmt: skip
ODD_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), ODD_NUMBERS, ODD_TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(ODD_TEXTS, inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def changed_bytes(draw, whole, most=6):
    """Return bytes of which some were overwritten, inserted, removed or repeated."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(0, most))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.integers(0, 4))
        if kind == 0:
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == 1:
            data[at:at] = draw(st.binary(max_size=8))
        elif kind == 2:
            del data[at : at + draw(st.integers(1, 64))]
        elif kind == 3:
            value = draw(st.sampled_from([0, 1, 2**16 - 1, 2**31 - 1, 2**32 - 1]))
            data[at : at + 4] = struct.pack("<I", value)
        else:
            data[at:at] = bytes(data[at : at + draw(st.integers(1, 200))])
    return bytes(data)


@st.composite
def changed_json(draw, value, most=4):
    """Return a JSON text in which some values were replaced, removed or added."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(0, most))):
        _change(draw, value)
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    data = text.encode(errors="surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        data = draw(changed_bytes(data))
    return data


def _change(draw, value):
    """Change one place of a nested value in place, at any depth."""
    while True:
        places = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not places or draw(st.integers(0, 12)) == 0:
            if isinstance(value, dict):
                value[draw(ODD_TEXTS)] = draw(ODD_VALUES)
            else:
                value.append(draw(ODD_VALUES))
            return
        place = draw(st.sampled_from(places))
        inner = value[place]
        if isinstance(inner, dict | list) and draw(st.integers(0, 3)):
            value = inner
            continue
        if draw(st.integers(0, 4)) == 0:
            del value[place]
        else:
            value[place] = draw(ODD_VALUES)
        return


# What stands where an array should, or a number as an array.
_ARRAYS = st.one_of(
    ODD_VALUES,
    st.sampled_from([
        np.float32(math.nan), np.float64(1e300), np.int64(-5), np.zeros((2, 3)),
        np.full(5, math.inf, np.float32), np.zeros(0, np.float32), np.bool_(True),
        np.int64(2**40), np.full((1,), -1.0),
    ]).map(np.asarray),
)  # fmt: skip


@st.composite
def changed_checkpoint(draw, value):
    """Return a .pth file's content in which counters, arrays or moments are others."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        place = value
        while True:
            keys = [*place, *(["x", -1] if draw(st.integers(0, 8)) == 0 else [])]
            key = draw(st.sampled_from(keys)) if keys else "x"
            inner = place.get(key)
            if not isinstance(inner, dict) or draw(st.integers(0, 9)) == 0:
                break
            place = inner
        kind = draw(st.integers(0, 3))
        if kind == 0:
            place.pop(key, None)
        elif isinstance(inner, np.ndarray) and inner.size and kind == 1:
            odd = np.array(inner)
            odd.flat[draw(st.integers(0, inner.size - 1))] = draw(
                st.sampled_from([math.nan, math.inf, -1.0, 3e38])
                if inner.dtype.kind == "f"
                else st.just(-1)
            )
            place[key] = odd
        else:
            place[key] = draw(_ARRAYS)
    return value


_NAMES = st.sampled_from([
    b"collections\nOrderedDict\n", b"torch._utils\n_rebuild_tensor_v2\n",
    b"torch._utils\n_rebuild_parameter\n", b"torch\nSize\n", b"torch\nFloatStorage\n",
    b"torch\nCharStorage\n", b"numpy.core.multiarray\nscalar\n", b"numpy\ndtype\n",
    b"_codecs\nencode\n", b"os\nsystem\n",
])  # fmt: skip
_TEXTS = st.sampled_from(["storage", "0", "cuda:0", "latin1", "f4", "i8", "model", "x"])
_OPERATIONS = st.one_of(
    st.sampled_from(
        [
            b"N",
            b"\x88",
            b"\x89",
            b"}",
            b"]",
            b")",
            b"(",
            b"t",
            b"\x85",
            b"\x86",
            b"\x87",
            b"a",
            b"e",
            b"s",
            b"u",
            b"R",
            b"R",
            b"b",
            b"Q",
            b"\x93",
            b"\x94",
            b"0",
            b"2",
            b"1",
            b".",
            b"\x81",
            b"o",
        ]
    ),
    st.integers(0, 3).map(lambda n: b"q" + bytes([n])),
    st.integers(0, 3).map(lambda n: b"h" + bytes([n])),
    st.integers(0, 8).map(lambda n: b"K" + bytes([n])),
    st.integers(-(2**31), 2**31 - 1).map(lambda n: b"J" + struct.pack("<i", n)),
    st.binary(max_size=20).map(lambda b: b"\x8a" + bytes([len(b)]) + b),
    st.binary(max_size=9).map(lambda b: b"C" + bytes([len(b)]) + b),
    st.floats().map(lambda x: b"G" + struct.pack(">d", x)),
    _TEXTS.map(lambda t: b"X" + struct.pack("<I", len(t)) + t.encode()),
    _NAMES.map(lambda name: b"c" + name),
)
# Pieces that work, so that what follows has something to work on.
_STORAGE = (b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu"
            b"K\x06tQ")  # fmt: skip
_PIECES = st.one_of(
    _OPERATIONS,
    _OPERATIONS,
    st.sampled_from([
        _STORAGE, b"ccollections\nOrderedDict\n)R",
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + _STORAGE +
        b"K\x00K\x02K\x03\x86K\x03K\x01\x86\x89NtR",
        b"cnumpy\ndtype\nX\x02\0\0\0f4\x85R", b"X\x05\0\0\0model}",
    ]),
)  # fmt: skip


@st.composite
def programs(draw):
    """Return a pickle's instructions; some of them many times."""
    parts = [b"\x80\x02"]
    for piece in draw(st.lists(_PIECES, max_size=40)):
        often = draw(st.sampled_from([1] * 12 + [2, 30, 300]))
        parts.append(piece * often)
    return b"".join(parts) + b"."


def archive(members):
    """Return a zip archive of members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, data in members.items():
            made.writestr(name, data)
    return buffer.getvalue()


def members_of(data):
    """Return the members of an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as made:
        return {name: made.read(name) for name in made.namelist()}


@st.composite
def torch_files(draw, whole):
    """Return a .pth file: one that was changed, or one that was invented."""
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return draw(changed_bytes(whole))
    members = members_of(whole)
    name = next(name for name in members if name.endswith("data.pkl"))
    if kind == 1:
        members[name] = draw(changed_bytes(members[name]))
    elif kind == 2:
        members = {"a/data.pkl": draw(programs()), "a/data/0": bytes(24)}
    else:
        protocol = draw(st.integers(0, 5))
        members[name] = pickle.dumps(draw(ODD_VALUES), protocol)
    return archive(members)


_CFG_LINES = st.one_of(
    st.sampled_from([
        "available_buttons = { ATTACK MOVE_LEFT }", "available_buttons += {", "}",
        "doom_scenario_path = x.wad", "doom_map = map01;quit", "living_reward = nan",
        "episode_timeout = 1000000000000", "episode_timeout = \u00b2", "{", "#", "= =",
        "button_max_value = ATTACK 1e999", "game_args = +logfile /tmp/x", "mode = x",
        "doom_skill = 99999999999999999999999", "render_hud = true", "automap_mode = x",
        "a" + " " * 3000 + "b", " " * 4000, "a " * 2000, "x" * 4000, "\x00 = \x1b[2J",
        "death_penalty = 1e308", "available_game_variables = { \u202e }",
    ]),
    st.text(max_size=40),
)  # fmt: skip


@st.composite
def cfg_files(draw, whole):
    """Return a .cfg file."""
    if draw(st.booleans()):
        return draw(changed_bytes(whole))
    end = draw(st.sampled_from(["\n", "\r\n", "\r", "\x0b", "\u2028"]))
    lines = draw(st.lists(_CFG_LINES, max_size=12))
    return end.join(lines).encode(errors="surrogatepass")


@st.composite
def wad_files(draw):
    """Return a map file: a directory of lumps that lie anywhere."""
    names = st.sampled_from([b"MAP01", b"THINGS", b"TEXTMAP", b"\xff\xfe\0\0", b""])
    lumps = draw(st.lists(names, max_size=6))
    directory = b"".join(struct.pack("<ii8s", 0, 0, name) for name in lumps)
    odd = st.one_of(st.just(12), st.just(len(lumps)), st.integers(-(2**31), 2**31 - 1))
    magic = draw(st.sampled_from([b"PWAD", b"IWAD", b"PWAD", b"PK\x03\x04"]))
    header = struct.pack("<4sii", magic, draw(odd), draw(odd))
    if draw(st.integers(0, 2)):
        header = struct.pack("<4sii", magic, len(lumps), 12)
    return draw(changed_bytes(header + directory))
