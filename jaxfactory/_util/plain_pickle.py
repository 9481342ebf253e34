"""Safe unpickling of untrusted data: plain containers and what the caller allows.

A pickle is a program for a stack machine. This one executes only the instructions that
data need, imports nothing, and calls only the functions that its caller passes. See
`pickletools` for the meaning of each instruction.

A short program can also use much memory and time, so every instruction is charged for
what it allocates, against a budget proportional to the pickle's size. A subclass of
`pickle.Unpickler` restricts imports only: there, a pickle of 9 bytes allocates 2 GiB (a
memo index of 2^27).
"""

import pickletools
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Refused(Exception):  # noqa: N818 - it is the pickle that is wrong
    """The pickle is damaged, or contains something that is not data."""


class Symbol(NamedTuple):
    """A name that the pickle may use, and what it stands for."""

    name: str
    meaning: Any


class _Mark(NamedTuple):
    """The start of a sequence of items on the stack."""


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
# Types of dictionary keys. Hashing a deep tuple could exhaust the stack, and long
# integers could be chosen to have equal hashes.
_KEYS = (str, int, float, bool, type(None))
_LARGEST_KEY = 2**64

# Bytes that may be allocated per byte of a pickle, and in any case. Published agents
# need less than 30 per byte.
_BYTES_PER_BYTE = 64
_BYTES_AT_LEAST = 128 * 2**10
# Approximate sizes in CPython 3.11 on 64 bits.
_SLOT, _CONTAINER, _ENTRY, _CALL = 8, 64, 112, 256
_LONGEST_NUMBER = 2**128
_MOST_ARGUMENTS = 16
_DEEPEST = 32


def loads(
    data: bytes, symbols: Mapping[str, Any], persistent: Callable[[Any], Any]
) -> Any:
    """Return the contents of a pickle.

    Args:
        data: The pickle.
        symbols: Maps each allowed ``"module.name"`` to its meaning. If the pickle calls
            one, it must be a function; its result may have a method ``build(state)``
            that receives the state which the pickle sets. Without that method, the
            state is ignored.
        persistent: Resolves a persistent ID.

    Raises:
        Refused: If the pickle uses any other name, is damaged, exceeds its budget, or
            has deeply nested contents.
    """
    budget = _BYTES_PER_BYTE * len(data) + _BYTES_AT_LEAST
    machine = _Machine(symbols, persistent, budget)
    try:
        for operation, argument, _ in pickletools.genops(data):
            machine.run(operation.name, argument)
        machine.check_result()
    except Refused:
        raise
    except Exception as error:  # Anything can be wrong with a damaged pickle.
        raise Refused(f"it is damaged ({str(error)[:200]})") from error
    return machine.result


class _Machine:
    """A stack machine with the instructions that data need."""

    def __init__(
        self,
        symbols: Mapping[str, Any],
        persistent: Callable[[Any], Any],
        budget: int,
    ) -> None:
        self.result: Any = None
        self._budget = budget
        self._symbols = symbols
        self._persistent = persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, name: str, argument: Any) -> None:
        """Execute one instruction."""
        self._spend(_SLOT)
        if name in _NO_EFFECT:
            return
        if name in _VALUES:
            self._push_value(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self._spend(_CONTAINER)
            self._stack.append(_EMPTY[name]())
        elif name in _SHORT_TUPLES:
            self._push_tuple(self._pop_last(_SHORT_TUPLES[name]))
        elif handler := getattr(self, f"_do_{name.lower()}", None):
            handler(argument)
        else:
            raise Refused(f"it uses the instruction {name}, which data does not need")

    def check_result(self) -> None:
        """Refuse a result that is too deep, or shares too much, to traverse.

        A list may contain itself, and ten lists that each contain the next one ten
        times have ten billion items for whoever prints or compares them.
        """
        left = [(self.result, 0)]
        while left:
            value, depth = left.pop()
            self._spend(_SLOT)
            if depth > _DEEPEST:
                raise Refused("its contents are nested too deeply")
            if type(value) is dict:
                left += [(item, depth + 1) for item in value.values()]
            elif type(value) in (list, tuple):
                left += [(item, depth + 1) for item in value]
            elif value is _MARK:
                raise Refused("it is damaged (a mark is left)")

    def _spend(self, count: int) -> None:
        self._budget -= count
        if self._budget < 0:
            raise Refused("it needs far more memory than its own size")

    def _push_value(self, value: Any) -> None:
        if type(value) is int and abs(value) >= _LONGEST_NUMBER:
            raise Refused("it holds a number of more than 128 bits")
        self._spend(sys.getsizeof(value))
        self._stack.append(value)

    def _push_tuple(self, items: list[Any]) -> None:
        self._spend(_CONTAINER + _SLOT * len(items))
        self._stack.append(tuple(items))

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
        self._push_tuple(self._pop_to_mark())

    def _do_binput(self, index: int) -> None:
        self._spend(_ENTRY)
        self._memo[index] = self._stack[-1]

    _do_long_binput = _do_binput

    def _do_memoize(self, _: Any) -> None:
        self._spend(_ENTRY)
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
        self._spend(2 * _SLOT * len(items))
        self._stack[-1].extend(items)

    def _do_setitem(self, _: Any) -> None:
        self._update(self._pop_last(2))

    def _do_setitems(self, _: Any) -> None:
        self._update(self._pop_to_mark())

    def _update(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not dict:
            raise Refused("it sets items of something that is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in _KEYS or (type(key) is int and abs(key) > _LARGEST_KEY):
                raise Refused("a dictionary in it has keys that are not plain")
            self._spend(_ENTRY)
            self._stack[-1][key] = value

    def _do_global(self, argument: str) -> None:
        self._push_symbol(argument.replace(" ", "."))

    def _do_stack_global(self, _: Any) -> None:
        self._push_symbol(".".join(self._pop_last(2)))

    def _push_symbol(self, name: str) -> None:
        if name not in self._symbols:
            raise Refused(f"it asks for {name:.100}, which is not data")
        self._stack.append(Symbol(name, self._symbols[name]))

    def _do_binpersid(self, _: Any) -> None:
        self._stack.append(self._persistent(self._stack.pop()))

    def _do_reduce(self, _: Any) -> None:
        function, arguments = self._pop_last(2)
        if not isinstance(function, Symbol) or not callable(function.meaning):
            raise Refused("it calls something that is not a function")
        if type(arguments) is not tuple or len(arguments) > _MOST_ARGUMENTS:
            raise Refused("it calls a function with invalid or too many arguments")
        result = function.meaning(*arguments)
        # The functions create views of arrays, and count those themselves.
        self._spend(_CALL)
        if isinstance(result, bytes | str | tuple | list | dict):
            self._spend(sys.getsizeof(result))
        self._stack.append(result)

    def _do_build(self, _: Any) -> None:
        state = self._stack.pop()
        build = getattr(self._stack[-1], "build", None)
        if build is not None:
            build(state)
