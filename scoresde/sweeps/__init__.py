"""A function at every point of a product of axes: computed once, kept, resumed.

The cells of ``sweep(f, T=[1, 2], h=[0.1, 0.05])`` are f(T=1, h=0.1), f(T=1, h=0.05), f(T=2, h=0.1), f(T=2, h=0.05).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._arrays import positive_int
from .cells import Cell, identified, products
from .executors import computed
from .store import opened

__all__ = ["Sweep", "sweep"]


@dataclass(frozen=True)
class Sweep:
    """The ``parameters`` of every cell, its value at the same place of ``values``, and how many of them were ``computed`` just now."""

    parameters: tuple[Mapping, ...]
    values: tuple[Any, ...]
    computed: int

    def __len__(self):
        return len(self.values)


def sweep(cell, *, store=None, version=0, workers=1, **axes):
    r"""f(x_1, ..., x_k) for all (x_1, ..., x_k) in A_1 \times ... \times A_k, the last axis fastest, each cell at most once.

    cell : a function that a module defines, of the axes; it returns a number, a dict, an Enclosure or a Claim. If it has a parameter ``seed``
    that is no axis, every cell gets an integer of its own, derived from the function's name and the cell's parameters: neither the other cells
    nor their order change it. axes : name = the values, each a number, text, flag, None, array, or a law, Kernel or Table with a JSON form.
    store : a file that keeps the values (SQLite); a cell found there is not computed again. Each is written whole or not at all as soon as it is
    known, so a sweep that was interrupted or killed goes on where it stopped. A cell is known by the function's qualified name, ``version`` and
    its parameters; what the function calls is not looked at: raise ``version`` when that changes, and when the function does.
    workers : processes, started afresh (a script needs ``if __name__ == "__main__":``). The values do not depend on their number.

    Returns a Sweep. Raises TypeError for a cell that no module defines, that returns something else, or for parameters without a JSON form;
    ValueError for axes that are not its parameters, for values given twice, for a store that is not one, and where the store holds values of
    another source under the same version. What a cell raises passes through, with its parameters in a note; cells that were done are kept.
    """
    version, workers = positive_int("version", version, least=0), positive_int("workers", workers)
    identity = identified(cell)
    cells = products(identity, axes)
    with opened(store, identity, version) as kept:
        found = kept.found()
        todo = [c for c in cells if c.key not in found]
        for c, text in computed(identity, todo, workers):
            found[c.key] = text
            kept.keep(c.key, text)
    return Sweep(tuple(c.parameters() for c in cells), tuple(Cell.value(found[c.key]) for c in cells), len(todo))
