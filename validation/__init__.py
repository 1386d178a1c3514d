"""Evidence about scoresde itself: scripts that confront it with independent computations, ``python -m validation.NAME [--quick]``.

Each prints a table and its findings, and exits with status 1 if a finding fails.
"""

__all__ = ["findings", "table"]


def table(header, rows):
    """Print rows of strings and numbers in aligned columns, the first one to the left."""
    text = [[x if isinstance(x, str) else f"{x:.3g}" for x in row] for row in [header, *rows]]
    width = [max(map(len, column)) for column in zip(*text)]
    for k, row in enumerate(text):
        print("  ".join(x.ljust(w) if i == 0 else x.rjust(w) for i, (x, w) in enumerate(zip(row, width))).rstrip())
        if k == 0:
            print("-" * (sum(width) + 2 * len(width) - 2))
    print()


def findings(claims):
    """Print each (text, does it hold), and return the exit status: 0 if all hold."""
    for text, holds in claims:
        print(f"{'ok    ' if holds else 'FAILED'}  {text}")
    return 0 if all(holds for _, holds in claims) else 1
