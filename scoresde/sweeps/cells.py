"""What a cell is: a function known by name and source, parameters known by their JSON text, a value that has one too."""

import ast
import hashlib
import inspect
import itertools
import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass

import numpy as np

from ..serial import ANY

__all__ = ["Cell", "Identity", "identified", "products"]

_write, _read = ANY
_RESULTS = ("number", "enclosure", "claim")  # what stands as "type" in the text of a result; a number there is one that is not finite
_OPTIONS = ("cell", "store", "version", "workers")  # of sweep itself


@dataclass(frozen=True)
class Identity:
    """A function: its qualified name, its source with neither comments nor layout, and whether ``seed`` is one of its parameters."""

    function: Callable
    name: str
    source: str
    seeded: bool


@dataclass(frozen=True)
class Cell:
    """One point: ``key`` is the JSON text of its parameters, by name; ``order``: the names as the caller gave them."""

    key: str
    order: tuple[str, ...]

    def parameters(self):
        """The parameters, read back from the text: what the function sees is the same in every process, and in a later run."""
        read = _read(json.loads(self.key))
        return {name: read[name] for name in self.order}

    def run(self, identity):
        """The JSON text of the function's value here."""
        given = self.parameters()
        if identity.seeded and "seed" not in given:
            given["seed"] = self.seed(identity.name)
        try:
            value = identity.function(**given)
        except Exception as error:
            error.add_note(f"sweep: raised by {self.shown(identity)}; cells that were done before are kept in the store, if there is one")
            raise
        return self.text(identity, value)

    def seed(self, name):
        """64 bits that depend on the function's name and on these parameters alone."""
        return int.from_bytes(hashlib.sha256(f"{name}\n{self.key}".encode()).digest()[:8], "little")

    def text(self, identity, value):
        """``value`` as JSON text, or TypeError."""
        written, why = None, ""
        try:
            written = _write(value)
        except TypeError as error:
            why = f" ({error})"
        number = isinstance(written, int | float) and not isinstance(written, bool)
        special = isinstance(written, dict) and written.get("type") in _RESULTS
        if number or special or (written is not None and isinstance(value, Mapping)):
            return json.dumps(written, allow_nan=False)
        kind = "None: does it return at all?" if value is None else f"{type(value).__name__}{why}"
        raise TypeError(
            f"cell: {self.shown(identity)} returned {kind}, allowed are a number, a dict of values with a JSON form, an Enclosure or a Claim"
        )

    def shown(self, identity):
        return f"{identity.name}({', '.join(f'{k}={v!r:.60}' for k, v in self.parameters().items())})"

    @staticmethod
    def value(text):
        """The value that ``text`` was written from."""
        return _read(json.loads(text))


def identified(cell):
    """The Identity of a function that a module defines, or TypeError."""
    if not inspect.isfunction(cell):
        raise TypeError(f"cell: got {type(cell).__name__} {cell!r:.80}, allowed is a function that a module defines with def")
    module = sys.modules.get(cell.__module__)
    at_top = getattr(module, cell.__qualname__, None) is cell
    if not at_top:
        raise TypeError(
            f"cell: got {cell.__qualname__}, allowed is a function that stands at the top level of a module under its own name: cells are known by "
            "it, and other processes import it; move it there, and make an axis of what it takes from around it"
        )
    try:
        source = ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(cell))))
    except (OSError, SyntaxError):
        raise TypeError(f"cell: got {cell.__qualname__} without a source file, allowed is a function from a file; write it into one") from None
    return Identity(cell, f"{_module_name(module)}.{cell.__qualname__}", source, "seed" in inspect.signature(cell).parameters)


def _module_name(module):
    """The name under which the module is imported elsewhere, also while it runs as the main program."""
    if module.__name__ not in ("__main__", "__mp_main__"):
        return module.__name__
    if getattr(module, "__spec__", None) is not None:  # python -m package.module
        return module.__spec__.name
    return os.path.splitext(os.path.basename(getattr(module, "__file__", "__main__")))[0]


def products(identity, axes):
    """The cells, last axis fastest; ValueError or TypeError where the axes do not fit the function."""
    _check_names(identity, axes)
    texts = [[_text(name, value) for value in _values(name, values)] for name, values in axes.items()]
    for name, column in zip(axes, texts, strict=True):
        twice = next((text for i, text in enumerate(column) if text in column[:i]), None)
        if twice is not None:
            raise ValueError(
                f"{name}: got {twice:.80} twice, allowed are different values; repeat a cell with another seed, as an axis seed=range(3)"
            )
    order = tuple(axes)
    by_name = sorted(range(len(order)), key=order.__getitem__)
    return [Cell("{" + ", ".join(f"{json.dumps(order[i])}: {point[i]}" for i in by_name) + "}", order) for point in itertools.product(*texts)]


def _check_names(identity, axes):
    parameters = inspect.signature(identity.function).parameters.values()
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    shown = ", ".join(named) or "none"
    if any(p.kind is p.POSITIONAL_ONLY for p in parameters):
        raise TypeError(f"cell: got {identity.name} with positional-only parameters, allowed are parameters that have names; drop the /")
    for name in axes:
        if name not in named and not any(p.kind is p.VAR_KEYWORD for p in parameters):
            raise ValueError(f"{name}: got an axis that is no parameter of {identity.name}, allowed are {shown}")
    for p in parameters:
        if p.name in named and p.default is p.empty and p.name not in axes and p.name != "seed":
            remedy = "rename it, the name is taken by sweep itself" if p.name in _OPTIONS else f"pass its values, {p.name}=[...]"
            raise ValueError(f"{p.name}: got no axis for this parameter of {identity.name}, allowed is one for each of {shown}; {remedy}")
    if not axes:
        raise ValueError(f"axes: got none, allowed is one for each parameter of {identity.name}: {shown}")


def _values(name, values):
    in_order = isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping | Set)
    if not in_order or (isinstance(values, np.ndarray) and values.ndim != 1):
        remedy = f"list({name}) for its rows" if isinstance(values, np.ndarray) and values.ndim > 1 else f"{name}=[value] for a single one"
        raise TypeError(f"{name}: got {type(values).__name__} {values!r:.80}, allowed is a list, range, or array (n,) of values; write {remedy}")
    values = list(values)
    if not values:
        raise ValueError(f"{name}: got no values, allowed is at least one")
    return values


def _text(name, value):
    try:
        return json.dumps(_write(value), allow_nan=False, sort_keys=True)
    except TypeError as error:
        raise TypeError(
            f"{name}: got {value!r:.80}, allowed are values with a JSON form, by which a cell is known ({str(error).partition(';')[0]}); "
            "pass a name, and let the cell build the object"
        ) from None
