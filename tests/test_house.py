"""The structure of the package: imports point downward, importing is light, every public name exists and is documented."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import scoresde as sd

ROOT = Path(sd.__file__).parent
ORDER = [
    "errors", "_arrays", "files", "enclosure", "kernel", "laws", "targets", "divergence", "information", "schedule", "grid", "score", "scheme",
    "engine", "theorems", "learn", "serial", "sweeps", "data", "report", "doctor", "testing", "cli",
]  # fmt: skip


def component(path):
    relative = path.relative_to(ROOT)
    return relative.parts[0].removesuffix(".py")


def imported(path):
    """Components of the package that a file imports, inside functions too."""
    depth = len(path.relative_to(ROOT).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            yield from [node.module.split(".")[0]] if node.module else [a.name for a in node.names if a.name in ORDER]


FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downward(path):
    here = ORDER.index(component(path))
    upward = [name for name in imported(path) if ORDER.index(name) > here]
    assert not upward, f"{path.relative_to(ROOT)} imports {upward}, which stand above it"


def test_the_order_names_every_component_once():
    found = {component(p) for p in ROOT.rglob("*.py")} - {"__init__"}
    assert found == set(ORDER) and len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize("statement", ["import scoresde", "import scoresde.cli", "from scoresde import Table, GaussianMixture, kullback_leibler"])
def test_importing_loads_nothing_heavy(statement):
    code = f"import sys; {statement}; print([m for m in ('torch', 'matplotlib.pyplot', 'scipy.stats', 'numba') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert out.stdout.strip() == "[]"


def test_every_public_name_exists_and_says_what_it_is():
    for name in sd.__all__:
        if name in ("learn", "LEVELS"):
            continue
        assert (getattr(sd, name).__doc__ or "").strip(), name
    assert set(sd.__all__) <= set(dir(sd))
    with pytest.raises(AttributeError, match="no attribute 'total_variance'"):
        sd.total_variance  # noqa: B018


def test_no_subpackage_bears_the_name_of_a_public_function():
    """Else the second access would return the module."""
    folders = {p.name for p in ROOT.iterdir() if p.is_dir()} | {p.stem for p in ROOT.glob("*.py")}
    functions = {name for name in sd.__all__ if name != "learn" and callable(getattr(sd, name))}
    assert not folders & functions
