"""A theorem in words for a terminal: its formulas in Unicode."""

import inspect
import textwrap

from ..theorems import family
from .record import last
from .unicode import plain

__all__ = ["explain", "explained"]


def explain(theorem, *, width=100):
    """What a theorem states, assumes, where it comes from and how it is checked, in Unicode. theorem : function, id ("D4"), name or chapter ("G")."""
    return "\n".join(explained([theorem] if callable(theorem) else family(theorem), width))


def explained(theorems, width):
    """Lines that say what each theorem states, assumes, where it comes from, how it is checked, what it came to last, and how to run it."""
    found = last()
    for i, f in enumerate(theorems):
        if i:
            yield ""
        info = f.info
        yield from textwrap.wrap(f"{info.id}   {plain(info.title)}", width, subsequent_indent="     ")
        yield from textwrap.wrap(plain(info.statement), width, initial_indent="     ", subsequent_indent="     ", break_long_words=False)
        parts = [("Assumes", "; ".join(map(plain, info.assumptions))), ("Source", info.reference), ("How", _how(f)), ("Caveat", plain(info.caveat))]
        if f.__name__ in found:
            parts.append(("Last verdict", found[f.__name__].line))
        for word, text in parts:
            if text:
                yield from textwrap.wrap(f"{word}: {text}", width, initial_indent="  ", subsequent_indent="    ", break_long_words=False)
        yield f"  Check it: scoresde verify --only {info.id}"


def _how(f):
    """The docstring, which says how the two sides are computed, without the formula it opens with."""
    paragraphs = inspect.cleandoc(f.__doc__ or "").split("\n\n")
    return " ".join(plain("\n".join(paragraphs[1:] or paragraphs)).replace("``", "").split())
