"""Published numbers: what needs no file, on small spectra, and that a wrong cell would be noticed."""

import math

import numpy as np
import pytest

from scoresde import Gaussian, propagate, score
from validation import published


def test_the_coded_bound_is_refuted_by_one_scheme_and_holds_for_the_other():
    claim, _ = published.strasman()
    assert claim.verdict == claim.expected == "refuted" and claim.caveat
    found = {(c.parameters["steps"], c.parameters["scheme"]): c for c in claim.cells}
    assert found[100, "exponential_absolute"].lhs.value == pytest.approx(9.87e-3, abs=5e-6)  # the printed digits
    assert found[500, "exponential_absolute"].lhs.value == pytest.approx(3.9e-4, abs=5e-6)
    assert {c.verdict for (_, name), c in found.items() if name == "exponential_relative"} == {"verified"}


def test_the_exponent_is_refuted_below_a_quarter_and_not_from_there():
    claim, _, alike = published.de_bortoli()
    assert claim.verdict == "refuted" and alike
    assert claim.cells[-1].lhs.value == pytest.approx(1377, abs=1)  # \mu = 1, \alpha = 0.1, T = 80
    for alpha in (0.25, 0.5, 1.0):
        assert published.de_bortoli(alpha=alpha, times=(4.0, 6.0, 8.0))[0].verdict == "verified"


def test_samplers_are_those_of_the_paper():
    """On N(0, v) one step of each from N(0, 1) is A^2 + R, by hand."""
    v, stop = np.array([0.3, 2.0]), 0.25
    tau, u = published.clock(1.0), published.clock(stop)
    h, total = 10.0 * (1 - stop), math.exp(-2 * tau) * v - math.expm1(-2 * tau)
    gains = {"EM": (1 + h - 2 * h / total, 2 * h), "Euler": (1 + h - h / total, 0.0)}
    gains["EI"] = math.exp(tau - u) - 2 * math.expm1(tau - u) / total, math.expm1(2 * (tau - u))
    for name, (a, r) in gains.items():
        law = propagate(published.sampler(name, 1, stop), score.exact(Gaussian([0.0, 0.0], v)))
        assert np.allclose(law.covariance, a * a + r, rtol=64 * 2.0**-52 * 100, atol=0)  # 1 - 2h/v cancels two digits
    with pytest.raises(ValueError, match="allowed are EM"):
        published.sampler("Heun", 1, stop)


@pytest.mark.parametrize(("name", "order"), [("Heun", 2), ("RK4", 4)])
def test_flow_methods_converge_at_their_order_to_the_exact_map(name, order):
    r"""y' = \sqrt{v_u/v_\tau} y."""
    v, stop = np.array([0.3, 2.0]), 0.2
    at = lambda t: math.exp(-2 * published.clock(t)) * v - math.expm1(-2 * published.clock(t))  # noqa: E731
    errors = [np.max(np.abs(published.flow_gains(name, v, n, stop) - np.sqrt(at(stop) / at(1.0)))) for n in (100, 200, 400)]
    assert math.log2(errors[1] / errors[2]) == pytest.approx(order, abs=0.15)  # the next term is a 200th of the last


def test_a_wrong_cell_fails_the_script(capsys, tmp_path):
    path = tmp_path / "spectrum.npy"
    np.save(path, np.array([1.0, 0.1, -1e-9]))
    assert published.eigenvalues(path).tolist() == [1.0, 0.1, 0.0]
    assert published.main([str(path)]) == 1  # another spectrum than the paper's
    assert "FAILED  Pierret & Galerne" in capsys.readouterr().out
    assert published.main([]) == 0
    np.save(path, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="allowed are finite eigenvalues"):
        published.eigenvalues(path)
