"""A table is one linear recurrence: composition, what is evaluated, and the class that engines compute from the coefficients."""

import numpy as np
import pytest

from scoresde import Table, grid, scheme

G = grid.uniform(1.0, 4, stop=0.1)


def by_hand(table, s, y, noises):
    """The recurrence as it is written, row by row."""
    ys, ss = [y], []
    for r in range(table.rows):
        ss.append(s(table.score_times[r], ys[r]))
        new = sum(table.a[r, j] * ys[r - j] + table.b[r, j] * ss[r - j] for j in range(table.a.shape[1]) if r >= j)
        ys.append(new + sum(table.c[r, l] * noises[r - l] for l in range(table.c.shape[1]) if r >= l))
    return ys[-1]


def score(t, y):
    return np.sin(y) - t * y


@pytest.mark.parametrize("build", [scheme.euler_maruyama, scheme.flow_heun, scheme.stochastic_heun, scheme.dpm_solver_pp_2m, scheme.dpm_solver_2])
def test_joining_tables_is_running_one_after_the_other(build):
    rng = np.random.default_rng(0)
    first, second = build(G[:3]), build(G[2:])
    both = second @ first
    z = rng.standard_normal(both.rows)
    middle = by_hand(first, score, 0.3, z[: first.rows])
    assert by_hand(both, score, 0.3, z) == pytest.approx(by_hand(second, score, middle, z[first.rows :]), rel=1e-14)
    assert both.evaluations == first.evaluations + second.evaluations and len(both.states) == 5


def test_heun_by_hand():
    h, y = G[0] - G[1], 0.3
    f = lambda t, y: y + score(t, y)  # noqa: E731
    stage = y + h * f(G[0], y)
    assert by_hand(scheme.flow_heun(G[:2]), score, y, np.zeros(2)) == pytest.approx(y + h / 2 * (f(G[0], y) + f(G[1], stage)), rel=1e-14)


def test_stochastic_heun_by_hand():
    h, y, z = G[0] - G[1], 0.3, 0.7
    f = lambda t, y: y + 2 * score(t, y)  # noqa: E731
    stage = y + h * f(G[0], y) + np.sqrt(2 * h) * z
    want = y + h / 2 * (f(G[0], y) + f(G[1], stage)) + np.sqrt(2 * h) * z
    assert by_hand(scheme.stochastic_heun(G[:2]), score, y, [z, 5.0]) == pytest.approx(want, rel=1e-14)


def test_dpm_solver_pp_2m_by_hand():
    """The data-prediction form, written with lambda and D instead of table rows."""
    t, v, m = G, -np.expm1(-2 * G), np.exp(-G)
    lam, sigma = np.log(m / np.sqrt(v)), np.sqrt(v)
    y, D = 0.3, []
    for k in range(4):
        D.append((y + v[k] * score(t[k], y)) / m[k])
        H = lam[k + 1] - lam[k]
        r = (lam[k] - lam[k - 1]) / H if k else None
        d = D[k] if k == 0 else (1 + 1 / (2 * r)) * D[k] - D[k - 1] / (2 * r)
        y = sigma[k + 1] / sigma[k] * y - m[k + 1] * np.expm1(-H) * d
    assert by_hand(scheme.dpm_solver_pp_2m(G), score, 0.3, np.zeros(4)) == pytest.approx(y, rel=1e-12)


def test_the_ancestral_step_is_the_ddpm_posterior():
    """a, b, c against the textbook posterior mean with x0 = (y + v s)/m and the posterior variance."""
    t, u = G[0], G[1]
    alpha2, vt, vu = np.exp(-2 * (t - u)), -np.expm1(-2 * t), -np.expm1(-2 * u)
    beta, abar_u = 1 - alpha2, np.exp(-2 * u)
    y, s = 0.3, -0.8
    x0 = (y + vt * s) / np.exp(-t)
    mean = np.sqrt(abar_u) * beta / vt * x0 + np.sqrt(alpha2) * vu / vt * y
    row = scheme.ancestral(G)
    assert row.a[0, 0] * y + row.b[0, 0] * s == pytest.approx(mean, rel=1e-13) and row.c[0, 0] ** 2 == pytest.approx(beta * vu / vt, rel=1e-13)
    ddim = scheme.ddim(G, eta=1.0)
    assert ddim.a == pytest.approx(row.a, rel=1e-12) and ddim.b == pytest.approx(row.b, rel=1e-12) and ddim.c == pytest.approx(row.c, rel=1e-12)


@pytest.mark.parametrize(
    ("table", "segments", "noises"),
    [
        (scheme.euler_maruyama(G), 4, {"last"}),
        (scheme.ddim(G), 4, {"none"}),
        (scheme.ancestral(grid.uniform(1.0, 4)), 4, {"last", "none"}),
        (scheme.flow_heun(G), 4, {"none"}),
        (scheme.dpm_solver_pp_2m(G), 1, {"none"}),
        (scheme.stochastic_heun(G), 4, {"inside"}),
        (scheme.predictor_corrector(G, steps=2, step=0.05), 12, {"last"}),
    ],
)
def test_the_class_of_a_table_is_computed_from_its_coefficients(table, segments, noises):
    assert len(table.segments) == segments and {table.noise(*s) for s in table.segments} == noises
    assert table.segments[0][0] == 0 and table.segments[-1][1] == table.rows


def test_a_score_that_is_never_used_is_never_evaluated():
    assert scheme.forward_euler_maruyama([0.1, 0.2]).evaluations == 0
    half = Table([1.0, 0.5, 0.0], a=1.0, b=[[1.0], [0.0]], c=1.0)
    assert half.evaluations == 1 and half.used.tolist() == [True, False]


def test_transforms():
    em = scheme.euler_maruyama(G)
    assert np.array_equal(scheme.score_at_end(em).score_times, G[1:]) and scheme.score_at_end(em) != em
    last = scheme.denoise_last(em)
    y, s = 0.3, -0.8
    assert last.times[-1] == 0 and last.a[-1, 0] * y + last.b[-1, 0] * s == pytest.approx((y - np.expm1(-0.2) * s) / np.exp(-0.1), rel=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Table([1.0, 0.0], a=[1.0, 1.0], b=1.0, c=1.0), r"a: got shape \(2,\), allowed is a number, \(1,\)"),
        (lambda: Table([1.0, 0.0], a=[[1.0, 0.5]], b=1.0, c=1.0), r"a\[0, 1\] = 0.5, allowed is 0: row 0 has no row -1"),
        (lambda: Table([1.0, 0.0], a=1.0, b=np.nan, c=1.0), "b: got nan"),
        (lambda: Table([1.0], a=1.0, b=1.0, c=1.0), "times: got shape"),
        (lambda: Table([1.0, 0.0], 1.0, 1.0, 1.0, state=np.array([False])), "last row ends in a state"),
        (lambda: scheme.euler_maruyama(G[:2]) @ scheme.euler_maruyama(G[2:]), "tables whose times meet"),
        (lambda: scheme.euler_maruyama([0.0, 1.0]), "strictly decreasing"),
        (lambda: scheme.ancestral(G, variance="tilde"), "allowed are 'posterior', 'beta'"),
        (lambda: scheme.ddim(G, eta=2.0), "0 <= eta <= 1"),
        (lambda: scheme.score_at_end(scheme.flow_heun(G)), "one evaluation a step"),
        (lambda: scheme.denoise_last(scheme.euler_maruyama(grid.uniform(1.0, 3))), "stop the grid earlier"),
        (lambda: scheme.dpm_solver_2(grid.uniform(1.0, 3)), "infinite at the data"),
        (lambda: scheme.langevin(step=-1.0, steps=3), "step: got -1.0"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
