"""Spec: a frozen description of a part, to and from JSON, that builds the part it describes.

Subclassing enters the class in one table, so that a folder on disk can name its part; unknown or missing fields are errors.
"""

from __future__ import annotations

import dataclasses
import functools
import reprlib
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Spec:
    """A frozen dataclass beside the module it builds. Fields hold numbers, strings, tuples of them, or other Specs."""

    table: ClassVar[dict[str, type[Spec]]] = {}
    gone: ClassVar[dict[str, Any]] = {}  # removed fields -> the one value that is still accepted for each

    def __init_subclass__(cls, abstract: bool = False, **keywords):
        """Registers the class in the table by its name, unless it is `abstract`. TypeError where another has the name."""
        super().__init_subclass__(**keywords)
        if abstract:
            return
        if Spec.table.get(cls.__name__, cls).__module__ != cls.__module__:
            raise TypeError(f"two specs are called {cls.__name__}: {Spec.table[cls.__name__].__module__} and {cls.__module__}")
        Spec.table[cls.__name__] = cls

    def build(self) -> Any:
        """The part that this describes."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values; "type" names the class. A field made by `later` is left out where it has its value of before."""
        fields = {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}
        old = [f.name for f in dataclasses.fields(self) if "before" in f.metadata and fields[f.name] == f.metadata["before"](fields)]
        return {"type": type(self).__name__, **{name: value for name, value in fields.items() if name not in old}}

    @classmethod
    def upgraded(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields of a description by an earlier version, under their present names."""
        return fields

    @staticmethod
    def from_json(value: Any, where: str = "config") -> Spec:
        """The inverse of `to_json`. Raises ValueError that names the field at fault, as `where.field`."""
        if not isinstance(value, dict) or not isinstance(value.get("type"), str):
            raise ValueError(f"{where}: got {_short(value)}; a part is an object with a string 'type'")
        kind = Spec.table.get(value["type"])
        if kind is None:
            raise ValueError(f"{where}.type: no part is called {value['type']!r}; known are {', '.join(sorted(Spec.table))}")
        hints = _hints(kind)
        fields = {f.name: f for f in dataclasses.fields(kind)}
        named = kind.upgraded({k: v for k, v in value.items() if k != "type"})
        given = {k: v for k, v in named.items() if not (k in kind.gone and v == kind.gone[k])}
        for name in given.keys() & kind.gone.keys():
            raise ValueError(f"{where}.{name}: got {_short(given[name])}, which was taken away; there is {kind.gone[name]!r} alone")
        given = {k: f.metadata["before"](given) for k, f in fields.items() if "before" in f.metadata} | given
        extra, missing = sorted(given.keys() - fields.keys()), sorted(fields.keys() - given.keys())
        if extra or missing:
            problem = "; ".join(f"{word} {', '.join(names)}" for word, names in (("extra", extra), ("missing", missing)) if names)
            raise ValueError(f"{where}: fields of {value['type']} do not fit: {problem}")
        try:
            read = {name: _read(given[name], hints[name], f"{where}.{name}") for name in fields}
        except RecursionError:
            raise ValueError(f"{where}: parts are nested too deeply") from None
        try:
            return kind(**read)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def gone_of(described: dict[str, Any]) -> dict[str, Any]:
    """`gone` of the class that a JSON description names; empty for an unknown one."""
    name = described.get("type")
    kind = Spec.table.get(name) if isinstance(name, str) else None
    return kind.gone if kind else {}


def said(described: dict[str, Any], name: str) -> Any:
    """The value of a field in a JSON description, also of one made by `later` that is left out; None where there is none."""
    if name in described:
        return described[name]
    kind = Spec.table.get(described.get("type", ""))
    field = next((f for f in dataclasses.fields(kind) if f.name == name), None) if kind else None
    return _plain(field.metadata["before"](described)) if field is not None and "before" in field.metadata else None


def later(default: Any, before: Callable[[dict[str, Any]], Any]) -> Any:
    """A dataclass field added after descriptions without it were saved: `before(fields)` gives its value in those."""
    return dataclasses.field(default=default, metadata={"before": before})


@functools.cache
def _hints(kind: type[Spec]) -> dict[str, Any]:
    return typing.get_type_hints(kind)  # evaluates every annotation, so it is cached


def _plain(value):
    if isinstance(value, Spec):
        return value.to_json()
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _short(value) -> str:
    return reprlib.repr(value)  # short, and no deeper than six levels


def _read(value, hint, where: str):
    """`value` from JSON as the type `hint` says, or a ValueError; lists become tuples."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        kinds = [a for a in arguments if a is not type(None)]
        errors = []
        for kind in kinds:
            try:
                return _read(value, kind, where)
            except ValueError as error:
                errors.append(str(error))
        raise ValueError(errors[0] if len(errors) == 1 else f"{where}: got {_short(value)}, none of {hint}")
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(f"{where}: got {_short(value)}; allowed are {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where}: got {_short(value)}, want a list")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) != len(value):
            raise ValueError(f"{where}: got {len(value)} values, want {len(kinds)}")
        return tuple(_read(v, k, f"{where}[{i}]") for i, (v, k) in enumerate(zip(value, kinds, strict=True)))
    if isinstance(hint, type) and issubclass(hint, Spec):
        name = value.get("type") if isinstance(value, dict) else None
        kind = Spec.table.get(name, hint) if isinstance(name, str) else hint
        if not issubclass(kind, hint):
            raise ValueError(f"{where}: got a {name}, want a {hint.__name__}")
        return Spec.from_json(value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**1000:
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ValueError(f"{where}: got {_short(value)}, want {hint.__name__}")
    return value
