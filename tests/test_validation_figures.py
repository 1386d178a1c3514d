"""The figures of the lecture notes are written, show something, are the same in every run, and never touch pyplot."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from validation.figures import FIGURES, main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("figures") / "new"
    assert main(["--out", str(made)]) == 0
    return made


def test_one_file_for_each_figure(folder):
    assert sorted(p.name for p in folder.iterdir()) == sorted(f"{name}.png" for name in FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_mostly_paper_with_ink_on_it(folder, name):
    """Neither blank nor one colour: white is the commonest shade, and at least 3 % of the pixels differ from it."""
    shades = imread(folder / f"{name}.png")[..., :3].mean(axis=2)
    assert min(shades.shape) >= 400
    inked = np.mean(shades < 0.98)
    assert 0.03 < inked < 0.9


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_seed_gives_the_same_file(folder, name, tmp_path):
    again = tmp_path / "again.png"
    FIGURES[name](0).savefig(again, metadata={"Software": None})
    assert again.read_bytes() == (folder / f"{name}.png").read_bytes()


def test_another_seed_draws_other_paths(folder, tmp_path):
    other = tmp_path / "other.png"
    FIGURES["diffusion"](1).savefig(other, metadata={"Software": None})
    assert other.read_bytes() != (folder / "diffusion.png").read_bytes()


def test_the_command_says_what_it_wrote_without_pyplot(tmp_path):
    code = f"import sys; from validation.figures import main; main(['--out', {str(tmp_path)!r}]); print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    *written, pyplot = done.stdout.split()
    assert pyplot == "False" and [Path(p).stem for p in written] == list(FIGURES)
