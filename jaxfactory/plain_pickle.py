"""An unpickler that can build plain containers and what its caller names, nothing else.

A pickle is a program. Python's own unpickler runs all of it; this one knows only the
instructions that data need, imports nothing, and calls nothing but the functions that
it is given. See `pickletools` for what each instruction means.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Refused(Exception):  # noqa: N818 - it is the pickle that is wrong
    """The pickle asks for something that is not data, or is damaged."""


class Symbol(NamedTuple):
    """A name that the pickle may use, and what its caller makes of it."""

    name: str
    meaning: Any


class _Mark(NamedTuple):
    """Where a run of items begins on the stack."""


_MARK = _Mark()
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NO_EFFECT = {"PROTO", "FRAME"}
# What a dictionary may be looked up by; a deep tuple's hash could exhaust the stack.
_KEYS = (str, int, float, bool, type(None))


def loads(
    data: bytes, symbols: Mapping[str, Any], persistent: Callable[[Any], Any]
) -> Any:
    """Return what a pickle holds.

    Args:
        data: The pickle.
        symbols: What ``"module.name"`` stands for. One that is called must be a
            function; its result may have a method ``build(state)``, which takes what
            the pickle would set the object's state to, and without which that state is
            left out.
        persistent: Returns what an outside reference stands for.

    Raises:
        Refused: If the pickle names anything else, or is damaged.
    """
    machine = _Machine(symbols, persistent)
    try:
        for operation, argument, _ in pickletools.genops(data):
            machine.run(operation.name, argument)
    except Refused:
        raise
    except Exception as error:  # Anything can be wrong with a damaged pickle.
        raise Refused(f"it is damaged ({error})") from error
    return machine.result


class _Machine:
    """A stack, a memory, and the instructions that data are made with."""

    def __init__(
        self, symbols: Mapping[str, Any], persistent: Callable[[Any], Any]
    ) -> None:
        self.result: Any = None
        self._symbols = symbols
        self._persistent = persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        if name in _NO_EFFECT:
            return
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self._stack.append(_EMPTY[name]())
        elif name in _SHORT_TUPLES:
            self._stack.append(tuple(self._pop_last(_SHORT_TUPLES[name])))
        elif handler := getattr(self, f"_do_{name.lower()}", None):
            handler(argument)
        else:
            raise Refused(f"it uses the instruction {name}, which data do not need")

    def _pop_last(self, count: int) -> list[Any]:
        items = [self._stack.pop() for _ in range(count)]
        return items[::-1]

    def _pop_to_mark(self) -> list[Any]:
        items = []
        while (item := self._stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _do_mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def _do_stop(self, _: Any) -> None:
        self.result = self._stack.pop()

    def _do_tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def _do_binput(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    _do_long_binput = _do_binput

    def _do_memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _do_binget(self, index: int) -> None:
        self._stack.append(self._memo[index])

    _do_long_binget = _do_binget

    def _do_append(self, _: Any) -> None:
        self._extend([self._stack.pop()])

    def _do_appends(self, _: Any) -> None:
        self._extend(self._pop_to_mark())

    def _extend(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise Refused("it appends to something that is not a list")
        self._stack[-1].extend(items)

    def _do_setitem(self, _: Any) -> None:
        self._update(self._pop_last(2))

    def _do_setitems(self, _: Any) -> None:
        self._update(self._pop_to_mark())

    def _update(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not dict:
            raise Refused("it sets items of something that is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, _KEYS):
                raise Refused("a dictionary in it has keys that are not plain")
            self._stack[-1][key] = value

    def _do_global(self, argument: str) -> None:
        self._push_symbol(argument.replace(" ", "."))

    def _do_stack_global(self, _: Any) -> None:
        self._push_symbol(".".join(self._pop_last(2)))

    def _push_symbol(self, name: str) -> None:
        if name not in self._symbols:
            raise Refused(f"it asks for {name}, which is not data")
        self._stack.append(Symbol(name, self._symbols[name]))

    def _do_binpersid(self, _: Any) -> None:
        self._stack.append(self._persistent(self._stack.pop()))

    def _do_reduce(self, _: Any) -> None:
        function, arguments = self._pop_last(2)
        if not isinstance(function, Symbol) or not callable(function.meaning):
            raise Refused("it calls something that is not a function")
        self._stack.append(function.meaning(*arguments))

    def _do_build(self, _: Any) -> None:
        state = self._stack.pop()
        build = getattr(self._stack[-1], "build", None)
        if build is not None:
            build(state)
