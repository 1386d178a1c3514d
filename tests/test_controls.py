"""Negative controls: every theorem ships a mutated claim, fixed beforehand, and it is refuted wherever the theorem is verified."""

import pytest

from scoresde import targets, theorems

ELSEWHERE = ("uni", "diracs")  # not smooth, and without a density: fewer theorems apply


@pytest.fixture(scope="module")
def runs():
    return {name: dict(zip(theorems.ALL, theorems.verify(targets.ALL[name], quick=True))) for name in (*targets.DEFAULTS, *ELSEWHERE)}


@pytest.mark.parametrize("theorem", theorems.ALL, ids=lambda f: f.info.id)
def test_every_theorem_is_verified_and_its_control_refuted_on_the_default_targets(theorem, runs):
    """Or refuted, where the statement is known to be false; a theorem may not apply to some targets, never to all."""
    claims = {name: run[theorem] for name, run in runs.items()}
    decided = {name: claim for name, claim in claims.items() if claim.verdict != "not applicable"}
    assert decided and all(claim.reason for name, claim in claims.items() if name not in decided)
    for name, claim in decided.items():
        assert claim.verdict == claim.expected and claim.as_expected, f"{name}: {claim}"
        assert claim.control is not None and claim.control.verdict == "refuted", f"{name}: {claim.control}"


@pytest.mark.parametrize("theorem", theorems.ALL, ids=lambda f: f.info.id)
def test_a_control_is_another_statement_that_does_not_depend_on_what_was_found(theorem, runs):
    """Expected to be refuted, by name a mutation, of the same chapter, and word for word the same on every target."""
    controls = [run[theorem].control for run in runs.values() if run[theorem].control is not None]
    assert all(c.expected == "refuted" and c.id == theorem.info.id and "mutated" in c.name for c in controls)
    assert len({c.statement for c in controls}) == 1
    assert controls[0].statement not in ("", theorem.info.statement)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_no_theorem_is_refuted_nor_verified_without_a_refuted_control(name, runs):
    for claim in runs[name].values():
        assert claim.as_expected, claim
        assert claim.verdict == "not applicable" or claim.control is not None, claim
        assert claim.verdict in (claim.expected, "not applicable") and (claim.verdict == claim.expected or claim.reason), claim


def test_a_run_stays_within_its_budget(runs):
    """alpha is split over the theorems; what is deterministic spends nothing, and what is sampled at most its share."""
    for run in runs.values():
        assert all(claim.alpha <= 1e-6 / len(theorems.ALL) * (1 + 1e-9) for claim in run.values())
