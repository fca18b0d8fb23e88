"""Error messages for clients: fields by their names in the request, values as in JSON, and what would do."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

KINDS = {  # kinds of values, by pydantic's error types
    "int_type": "a whole number", "int_from_float": "a whole number", "int_parsing_size": "a whole number", "float_type": "a number",
    "finite_number": "a finite number", "bool_type": "true or false", "string_type": "text", "list_type": "a list",
    "dict_type": "a JSON object", "model_type": "a JSON object", "model_attributes_type": "a JSON object", "none_required": "null",
    "string_unicode": "text in UTF-8",
}  # fmt: skip
BOUNDS = {  # bounds of numbers and lengths, likewise
    "greater_than": "more than {gt}", "greater_than_equal": "at least {ge}", "less_than": "less than {lt}",
    "less_than_equal": "at most {le}", "too_short": "at least {min_length} of them", "too_long": "at most {max_length} of them",
    "string_too_long": "at most {max_length} characters", "string_too_short": "at least {min_length} characters",
}  # fmt: skip
FIELDS = {  # fields of requests, by the names of the arguments in Python
    "condition": "class", "conditions": "classes", "seeds": "seed", "sampler": "settings.sampler",
    "evaluations": "settings.evaluations",
}  # fmt: skip
LITERALS = {"True": "true", "False": "false", "None": "null"}
LONGEST = 80  # characters of a value


def shown(value: Any) -> str:
    """A value as JSON, cut to `LONGEST` characters."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:
        return "a number of very many digits"
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def of_fields(wrong: Sequence[dict[str, Any]], kind: type[BaseModel], body: Any) -> str:
    """One line for the first field that pydantic found wrong in `body`.

    Where a value may be of several kinds pydantic reports an error for each; those that got deepest into the value count.
    """
    field = wrong[0]["loc"][:1]
    found = [(_path(one["loc"], body, one["type"] == "missing"), one) for one in wrong if one["loc"][:1] == field]
    known = [pair for pair in found if pair[1]["type"] not in ("missing", "extra_forbidden")]
    most = max(len(path) for path, _ in known or found)
    path, first = next(pair for pair in known or found if len(pair[0]) == most)
    same = [one for at, one in known if at == path]
    if first["type"] in ("missing", "extra_forbidden"):
        owner = _model(kind, path[:-1])
        why = "is missing" if first["type"] == "missing" else "there is no such field"
        return f"{_name(path)}: {why}; {_name(path[:-1]) if len(path) > 1 else kind.__name__.lower()} takes {', '.join(names(owner))}"
    several, length = len(path) == 1 and len(found) > 1, len(path) > 1 and first["type"] in ("too_short", "too_long", "list_type")
    several |= first["type"] == "string_too_short"
    told = _described(_model(kind, path[:-1]), path[-1]) if several or length else None
    wanted = told or " or ".join(dict.fromkeys(_wanted(one) for one in same))
    return f"{_name(path) or 'body'}: got {shown(first['input'])}; give {wanted}"


def of_library(error: Exception) -> str:
    """An error message of a `Pipeline`, with arguments and values of Python rewritten as fields and values of JSON."""
    text = " ".join(str(error).split())
    name, colon, rest = text.partition(": ")
    if colon and name == "settings":  # followed by the field of a sampler's spec
        name, rest = (f"settings.{rest.partition(': ')[0]}", rest.partition(": ")[2]) if re.match(r"\w+: ", rest) else (name, rest)
    text = f"{FIELDS.get(name, name)}{colon}{rest}"
    parts = re.split(r"""((?<!\w)'(?:[^'\\]|\\.)*'(?!\w)|"(?:[^"\\]|\\.)*")""", text)
    return "".join(_quoted(part) if i % 2 else _literal(part) for i, part in enumerate(parts))


def names(kind: type[BaseModel]) -> list[str]:
    """The fields of a request."""
    return [field.alias or name for name, field in kind.model_fields.items()]


def _path(where: Sequence[str | int], body: Any, missing: bool) -> tuple[str | int, ...]:
    """A location of pydantic's without the names of alternatives that it tried: the path of a value in the body, or of a missing one."""
    path: list[str | int] = []
    for i, step in enumerate(where):
        inside = isinstance(body, dict) and step in body or isinstance(body, list) and isinstance(step, int) and step < len(body)
        if inside:
            path, body = [*path, step], body[step]
        elif missing and i == len(where) - 1:
            path = [*path, step]
    return tuple(path)


def _name(path: Sequence[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{_short(step)}" for step in path).removeprefix(".")


def _short(text: str) -> str:
    text = " ".join(text.split()).encode(errors="backslashreplace").decode()
    return text if len(text) <= 50 else text[:47] + "..."


def _wanted(one: dict[str, Any]) -> str:
    """What would do in place of one wrong value."""
    if one["type"] in KINDS:
        return KINDS[one["type"]]
    if one["type"] in BOUNDS:
        bounds = {name: int(bound) if isinstance(bound, float) and bound.is_integer() else bound for name, bound in one["ctx"].items()}
        return BOUNDS[one["type"]].format(**bounds)
    if one["type"] == "literal_error":
        return one["ctx"]["expected"].replace("'", '"')
    return one["msg"][:1].lower() + one["msg"][1:]


def _model(kind: Any, path: Sequence[str | int]) -> Any:
    """The pydantic model of the object at a path of a request."""
    for i, step in enumerate(path):
        fields = {field.alias or name: field for name, field in kind.model_fields.items()}
        inside = _classes(fields[step].annotation) if step in fields else []
        after = path[i + 1 : i + 2]
        kind = next((one for one in inside if set(after) <= one.model_fields.keys()), inside[0] if inside else kind)
    return kind


def _classes(hint: Any) -> list[Any]:
    inside = [found for one in getattr(hint, "__args__", ()) for found in _classes(one)]
    return [hint] if isinstance(hint, type) and issubclass(hint, BaseModel) else inside


def _described(kind: type[BaseModel], step: str | int) -> str | None:
    return next((field.description for name, field in kind.model_fields.items() if step == (field.alias or name)), None)


def _quoted(text: str) -> str:
    """A Python string literal as a JSON string."""
    inside = re.sub(r"\\(.)", lambda found: found[1] if found[1] in "'\"" else found[0], text[1:-1])
    return '"' + inside.replace('"', '\\"') + '"' if text[0] == "'" else text


def _literal(text: str) -> str:
    text = re.sub(r"\b(True|False|None)\b", lambda found: LITERALS[found[0]], text)
    text = re.sub(r"\((-?[\d.]+(?:, -?[\d.]+)*),?\)", r"[\1]", text)
    return text.replace("(left, top, right, bottom)", "[left, top, right, bottom]")
