"""Spec: every part's description survives JSON, and a description that does not fit says which field is at fault."""

import dataclasses
import importlib
import json
import pkgutil
import subprocess
import sys
import typing
from dataclasses import dataclass
from typing import Literal

import pytest
import torch
from torch import nn

import bitmosaic
from bitmosaic.folders import load_part, save_part
from bitmosaic.spec import Spec


def specs() -> list[type[Spec]]:
    """Every Spec of the package, by name; all modules are imported, so that a new file is found by itself."""
    for module in pkgutil.walk_packages(bitmosaic.__path__, "bitmosaic."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return [kind for _, kind in sorted(Spec.table.items()) if kind.__module__.startswith("bitmosaic.")]


@dataclass(frozen=True)
class PaintSpec(Spec):
    """A part that holds one field of every kind."""

    layers: int = 2
    rate: float = 0.5
    on: bool = True
    name: str = "blue"
    kind: Literal["oil", "water"] = "oil"
    size: tuple[int, int] = (3, 4)
    widths: tuple[float, ...] = (1.0, 2.0)
    corners: tuple[tuple[int, int], ...] = ((0, 1), (2, 3))

    def __post_init__(self):
        if self.layers < 1:
            raise ValueError(f"layers: got {self.layers}; want at least 1")


@dataclass(frozen=True)
class WallSpec(Spec):
    """A part that holds parts."""

    paint: PaintSpec = PaintSpec()
    other: PaintSpec | None = None
    under: tuple[Spec, ...] = (PaintSpec(),)
    count: int | None = None


@dataclass(frozen=True)
class NestSpec(Spec):
    """A part that may hold any part."""

    inside: Spec | None = None


@dataclass(frozen=True)
class SurfaceSpec(Spec, abstract=True):
    """What surfaces have in common."""


@dataclass(frozen=True)
class FloorSpec(SurfaceSpec):
    """A surface."""

    boards: int = 2


@dataclass(frozen=True)
class RoomSpec(Spec):
    """A part that holds any surface."""

    below: SurfaceSpec = FloorSpec()


def there_and_back(spec):
    return Spec.from_json(json.loads(json.dumps(spec.to_json(), allow_nan=False)))


every_spec = pytest.mark.parametrize("kind", specs(), ids=lambda kind: kind.__name__)


@every_spec
def test_defaults_survive_json(kind):
    assert there_and_back(kind()) == kind()


@every_spec
def test_descriptions_are_frozen_documented_and_hashable(kind):
    assert kind.__dataclass_params__.frozen and kind.__doc__ and kind.__doc__.strip()
    assert hash(kind()) == hash(kind())


@every_spec
def test_every_field_is_asked_for_and_no_other(kind):
    value = kind().to_json()
    with pytest.raises(ValueError, match=r"^config: fields of \w+ do not fit: extra colour$"):
        Spec.from_json({**value, "colour": 1})
    for name in value.keys() - {"type"}:
        less = {k: v for k, v in value.items() if k != name}
        with pytest.raises(ValueError, match=rf"^config: fields of \w+ do not fit: missing {name}$"):
            Spec.from_json(less)


@every_spec
def test_a_mistyped_field_is_named(kind):
    value = kind().to_json()
    for name in value.keys() - {"type"}:
        for wrong in ({}, {"type": "Nobody"}, [[[]]]):
            with pytest.raises(ValueError, match=rf"config\.{name}"):
                Spec.from_json({**value, name: wrong})


@every_spec
def test_whatever_whole_numbers_come_the_answer_is_a_spec_or_a_value_error(kind):
    """A description from a file may hold zeros and negative numbers: no ZeroDivisionError, no IndexError."""
    value, hints = kind().to_json(), typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        for wrong in {int: (0, -1), float: (0, -1), tuple[int, ...]: ([], [0], [-1])}.get(hints[field.name], ()):
            try:
                assert isinstance(Spec.from_json({**value, field.name: wrong}), kind)
            except ValueError as error:
                assert str(error).startswith("config")


@pytest.mark.parametrize(
    "change",
    [
        {"layers": 7},
        {"rate": 0.25},
        {"on": False},
        {"name": "a 'quoted' ü"},
        {"kind": "water"},
        {"size": (9, 8)},
        {"widths": ()},
        {"corners": ((5, 6),)},
        {"corners": ()},
    ],
)
def test_every_kind_of_field_survives(change):
    paint = PaintSpec(**change)
    assert there_and_back(paint) == paint != PaintSpec()


@pytest.mark.parametrize(
    "wall",
    [
        WallSpec(),
        WallSpec(PaintSpec(layers=5), PaintSpec(name="red"), (), 3),
        WallSpec(under=(PaintSpec(), NestSpec(WallSpec()))),
    ],
    ids=["defaults", "others", "deeper"],
)
def test_parts_inside_parts_survive(wall):
    assert there_and_back(wall) == wall


def test_json_names_the_class_and_holds_plain_values():
    value = WallSpec(count=3).to_json()
    assert value["type"] == "WallSpec" and value["other"] is None and value["count"] == 3
    assert value["under"] == [value["paint"]] and value["paint"]["corners"] == [[0, 1], [2, 3]]


def test_whole_numbers_are_floats_where_floats_are_wanted():
    rate = Spec.from_json({**PaintSpec().to_json(), "rate": 2}).rate
    assert rate == 2.0 and isinstance(rate, float)


@pytest.mark.parametrize(
    "field, wrong, said",
    [
        ("layers", 2.0, r"config\.layers: got 2\.0, want int"),
        ("layers", True, r"config\.layers: got True, want int"),
        ("layers", "2", r"config\.layers: got '2', want int"),
        ("layers", None, r"config\.layers: got None, want int"),
        ("rate", "fast", r"config\.rate: got 'fast', want float"),
        ("rate", True, r"config\.rate: got True, want float"),
        pytest.param("rate", 10**400, r"config\.rate: got 1000", id="rate-beyond-floats"),
        ("on", 1, r"config\.on: got 1, want bool"),
        ("name", 3, r"config\.name: got 3, want str"),
        ("kind", "chalk", r"config\.kind: got 'chalk'; allowed are 'oil', 'water'"),
        ("kind", [], r"config\.kind: got \[\]"),
        ("size", 3, r"config\.size: got 3, want a list"),
        ("size", [3], r"config\.size: got 1 values, want 2"),
        ("size", [3, 4, 5], r"config\.size: got 3 values, want 2"),
        ("size", [3, "4"], r"config\.size\[1\]: got '4', want int"),
        ("widths", [1, None], r"config\.widths\[1\]: got None, want float"),
        ("widths", "12", r"config\.widths: got '12', want a list"),
        ("corners", [[0, 1], [2, 2.5]], r"config\.corners\[1\]\[1\]: got 2\.5, want int"),
        ("layers", 0, r"config: layers: got 0; want at least 1"),
        ("name", ["x" * 1000], r"^config\.name: got .{3,70}, want str$"),
    ],
)
def test_the_message_names_field_value_and_want(field, wrong, said):
    with pytest.raises(ValueError, match=said):
        Spec.from_json({**PaintSpec().to_json(), field: wrong})


@pytest.mark.parametrize(
    "field, wrong, said",
    [
        ("paint", None, r"config\.paint: got None; a part is an object with a string 'type'"),
        ("paint", WallSpec().to_json(), r"config\.paint: got a WallSpec, want a PaintSpec"),
        ("paint", {**PaintSpec().to_json(), "size": [1]}, r"config\.paint\.size: got 1 values, want 2"),
        ("other", {**PaintSpec().to_json(), "layers": 0}, r"config\.other: layers: got 0"),
        ("other", {"type": "PaintSpec"}, r"config\.other: fields of PaintSpec do not fit: missing corners, .*, widths"),
        ("under", [PaintSpec().to_json(), 3], r"config\.under\[1\]: got 3; a part is an object"),
        ("count", "3", r"config\.count: got '3', want int"),
    ],
)
def test_the_message_names_the_field_inside_a_part(field, wrong, said):
    with pytest.raises(ValueError, match=said):
        Spec.from_json({**WallSpec().to_json(), field: wrong})


@pytest.mark.parametrize("value", [None, 3, "PaintSpec", [], {}, {"type": 3}, {"type": None}, {"type": ["PaintSpec"]}])
def test_what_is_no_description_is_refused(value):
    with pytest.raises(ValueError, match=r"^here: got .*; a part is an object with a string 'type'"):
        Spec.from_json(value, "here")


def test_an_unknown_type_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"^config\.type: no part is called 'Nobody'; known are .*PaintSpec.*WallSpec"):
        Spec.from_json({"type": "Nobody"})


@every_spec
def test_what_the_table_holds_is_final(kind):
    assert not [other for other in kind.__subclasses__() if other.__module__.startswith("bitmosaic.")]


def test_an_abstract_type_is_unknown():
    """It describes no part, so it may not wait until something is built of it; its subclasses fit where it is wanted."""
    assert SurfaceSpec not in Spec.table.values()
    with pytest.raises(ValueError, match=r"^config\.type: no part is called 'SurfaceSpec'; known are .*FloorSpec"):
        Spec.from_json({"type": "SurfaceSpec"})
    assert there_and_back(RoomSpec(FloorSpec(3))) == RoomSpec(FloorSpec(3))
    with pytest.raises(ValueError, match=r"^config\.below: got a PaintSpec, want a SurfaceSpec"):
        Spec.from_json({"type": "RoomSpec", "below": PaintSpec().to_json()})


def nested(depth, wrap, inside):
    for _ in range(depth):
        inside = wrap(inside)
    return inside


@pytest.mark.parametrize("depth", [200, 950, 20_000])
@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"a": v}], ids=["lists", "objects"])
def test_deeply_nested_json_is_a_value_error(depth, wrap):
    """Files come from anywhere: depth may not end in a RecursionError, wherever it stands."""
    deep = nested(depth, wrap, 1)
    for field in ("layers", "name", "kind", "size", "widths", "corners"):
        with pytest.raises(ValueError, match=rf"config\.{field}"):
            Spec.from_json({**PaintSpec().to_json(), field: [deep, deep] if field == "size" else deep})
    for value in (deep, {"type": deep}, {"type": "PaintSpec", "deep": deep}):
        with pytest.raises(ValueError, match="config"):
            Spec.from_json(value)


@pytest.mark.parametrize("depth", [950, 20_000])
def test_parts_nested_deeply_in_parts_are_a_value_error(depth):
    deep = nested(depth, lambda v: {"type": "NestSpec", "inside": v}, None)
    with pytest.raises(ValueError, match="config"):
        Spec.from_json(deep)
    wrong = nested(depth, lambda v: {**WallSpec().to_json(), "paint": v}, None)  # no WallSpec holds a WallSpec there
    with pytest.raises(ValueError, match=r"config\.paint: got a WallSpec, want a PaintSpec"):
        Spec.from_json(wrong)


def test_a_name_is_taken_once():
    namespace = {"Spec": Spec, "__name__": "elsewhere"}
    with pytest.raises(TypeError, match="two specs are called PaintSpec"):
        exec("class PaintSpec(Spec): pass", namespace)
    assert Spec.table["PaintSpec"] is PaintSpec


def test_build_is_for_the_subclass():
    assert PaintSpec.__module__ == sys.modules[__name__].__name__
    with pytest.raises(NotImplementedError):
        PaintSpec().build()


@dataclass(frozen=True)
class RampSpec(Spec):
    """A part with a table that its spec says, so that it is not stored."""

    width: int = 3

    def build(self) -> "Ramp":
        return Ramp(self)


class Ramp(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.inner = nn.Linear(spec.width, 1)
        self.inner.register_buffer("ramp", torch.arange(spec.width).float(), persistent=False)


def test_a_table_that_is_not_stored_is_there_after_opening(tmp_path):
    part, before = RampSpec(4).build(), torch.get_rng_state()
    save_part(part, RampSpec(4), tmp_path / "part")
    opened = load_part(tmp_path / "part", Ramp)
    assert torch.equal(opened.inner.ramp, torch.arange(4.0)) and torch.equal(opened.inner.weight, part.inner.weight)
    assert torch.equal(torch.get_rng_state(), before)  # nothing is drawn from the global generator
    Spec.table.pop("RampSpec")


def test_reading_a_run_knows_every_part():
    """`info`, `report` and going on read a run.json in a process that has imported little else."""
    code = "import bitmosaic.train.claim; from bitmosaic.spec import Spec; print(*Spec.table)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    known = set(out.stdout.split())
    rooms = ("media", "images", "tokenizers", "quantizers", "priors", "samplers", "generators", "conditions", "train", "nets", "losses")
    made = {kind.__name__ for kind in specs() if kind.__module__.split(".")[:2] in [["bitmosaic", room] for room in rooms]}
    assert made and made <= known, f"{made - known} are not known{out.stderr}"
