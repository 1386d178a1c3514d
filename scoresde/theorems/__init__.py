"""A theorem is a function: (target, table, score) -> Claim. ``ALL`` is written out by hand; ``verify`` runs them."""

import inspect
import time
from dataclasses import replace

from .._arrays import as_law
from ..errors import NoMethod, NotTrusted
from ..grid import uniform
from ..scheme import euler_maruyama
from ..targets import first_axis
from .adversarial import exponential_moving_average, goodfellow_2014_discriminator, goodfellow_2014_minimum, lin_1991_jensen_shannon
from .claim import Claim, Statement, claim_at_most, claim_equal, claim_exists, claim_over, claim_rate, not_applicable, states
from .clocks import euler_maruyama_modified_equation, euler_maruyama_moments, song_2021_time_change
from .contraction import bruno_2023_wasserstein2
from .convergence import conforti_2023_kullback_leibler, de_bortoli_2021_decomposition, de_bortoli_2021_total_variation
from .corrector import corrector_invariance, langevin_forgetting, predictor_corrector_on_gaussians
from .denoising import ho_2020_elbo_gap, ho_2020_optimal_variances, ho_2020_posterior, sohl_dickstein_2015_bound, song_2021_implicit_family
from .dimension import dimension_of_the_bounds, dimension_of_the_noise, dimension_of_the_step, dimension_of_the_time
from .distances import gaussian_distances
from .escalation import decide, shares, within_budget
from .existential import de_bortoli_2021_constants, de_bortoli_2021_rates
from .first_order import gaussian_first_order
from .flow import chen_2018_flow_likelihood, quadratic_identity, sohl_dickstein_2015_binomial
from .forward_flow import (
    autoregressive_clock,
    chi_squared_contraction,
    dynkin_formula,
    fokker_planck,
    hermite_chi_squared,
    two_laws_contraction,
    two_laws_de_bruijn,
)  # fmt: skip
from .girsanov import cameron_martin_girsanov_path, kingma_2021_refinement, kingma_2021_riemann_sum, skeleton_kullback_leibler
from .langevin import (
    annealed_langevin_on_gaussians,
    dalalyan_2019_wasserstein2,
    song_2021_same_marginals,
    unadjusted_langevin_bias,
    unadjusted_langevin_on_gaussians,
    vempala_2019_kullback_leibler,
)
from .manifold import chain_on_a_manifold, early_stopping_distance, kullback_leibler_growth, memorisation_bound, score_growth, singular_divergences
from .memorisation import empirical_score_loss, memorised_training_points
from .metropolis import roberts_1996_metropolis_adjusted
from .modes import langevin_between_modes, weights_recovered
from .ornstein_uhlenbeck import (
    bakry_2014_kullback_leibler,
    bobkov_2001_regularised_kullback_leibler,
    ornstein_uhlenbeck_total_variation_constant,
    stam_1959_de_bruijn,
    villani_2009_wasserstein2,
)
from .rates import chen_2022_total_variation, chen_2023_early_stopping, de_bortoli_2022_manifold, lee_2022_polynomial, li_2024_ancestral
from .recursions import gaussian_exact_maps, gaussian_recursions
from .reversal import anderson_1982_time_reversal, reverse_semigroup_density, sharp_initialisation_error
from .schedules import benton_2024_early_stopping, total_variation_schedule, watson_2021_optimal_schedule
from .score_curvature import brascamp_1976_score_slope, compact_support_score, fisher_divergence_blindness
from .score_identities import (
    parametrisation_identities,
    relative_score_equation,
    score_conditional_expectation,
    score_equation,
    score_martingales,
    semigroup_commutation,
)  # fmt: skip
from .score_information import (
    fisher_information_denoising,
    guo_2005_mutual_information,
    kullback_leibler_integral,
    relative_fisher_bound,
    relative_fisher_denoising,
)  # fmt: skip
from .score_matching import (
    hyvarinen_2005_implicit_score_matching,
    song_2019_sliced_score_matching,
    stein_identity,
    vincent_2011_denoising_score_matching,
)  # fmt: skip
from .sharp import de_bortoli_2021_exponent, score_error_response, talay_tubaro_1990_weak_error
from .tweedie import robbins_1956_denoising, tweedie_covariance

__all__ = [
    "ALL", "Claim", "Statement", "claim_at_most", "claim_equal", "claim_exists", "claim_over", "claim_rate", "decide", "family", "find",
    "not_applicable", "provable", "shares", "states", "verify", "within_budget",
]  # fmt: skip

ALL = (
    euler_maruyama_moments,
    euler_maruyama_modified_equation,
    autoregressive_clock,
    song_2021_time_change,
    stam_1959_de_bruijn,
    bakry_2014_kullback_leibler,
    bobkov_2001_regularised_kullback_leibler,
    villani_2009_wasserstein2,
    hermite_chi_squared,
    chi_squared_contraction,
    ornstein_uhlenbeck_total_variation_constant,
    fokker_planck,
    dynkin_formula,
    two_laws_de_bruijn,
    two_laws_contraction,
    robbins_1956_denoising,
    tweedie_covariance,
    score_conditional_expectation,
    vincent_2011_denoising_score_matching,
    hyvarinen_2005_implicit_score_matching,
    song_2019_sliced_score_matching,
    fisher_divergence_blindness,
    stein_identity,
    score_martingales,
    score_equation,
    relative_score_equation,
    semigroup_commutation,
    fisher_information_denoising,
    relative_fisher_denoising,
    relative_fisher_bound,
    brascamp_1976_score_slope,
    compact_support_score,
    parametrisation_identities,
    guo_2005_mutual_information,
    kullback_leibler_integral,
    empirical_score_loss,
    memorised_training_points,
    anderson_1982_time_reversal,
    reverse_semigroup_density,
    sharp_initialisation_error,
    ho_2020_posterior,
    ho_2020_optimal_variances,
    ho_2020_elbo_gap,
    sohl_dickstein_2015_bound,
    kingma_2021_riemann_sum,
    kingma_2021_refinement,
    song_2021_implicit_family,
    chen_2018_flow_likelihood,
    sohl_dickstein_2015_binomial,
    quadratic_identity,
    cameron_martin_girsanov_path,
    skeleton_kullback_leibler,
    conforti_2023_kullback_leibler,
    de_bortoli_2021_total_variation,
    de_bortoli_2021_constants,
    de_bortoli_2021_decomposition,
    de_bortoli_2021_rates,
    de_bortoli_2021_exponent,
    benton_2024_early_stopping,
    chen_2022_total_variation,
    lee_2022_polynomial,
    chen_2023_early_stopping,
    li_2024_ancestral,
    de_bortoli_2022_manifold,
    bruno_2023_wasserstein2,
    dimension_of_the_bounds,
    dimension_of_the_noise,
    dimension_of_the_step,
    dimension_of_the_time,
    talay_tubaro_1990_weak_error,
    score_error_response,
    watson_2021_optimal_schedule,
    total_variation_schedule,
    unadjusted_langevin_on_gaussians,
    langevin_forgetting,
    dalalyan_2019_wasserstein2,
    vempala_2019_kullback_leibler,
    unadjusted_langevin_bias,
    roberts_1996_metropolis_adjusted,
    annealed_langevin_on_gaussians,
    song_2021_same_marginals,
    predictor_corrector_on_gaussians,
    corrector_invariance,
    singular_divergences,
    score_growth,
    kullback_leibler_growth,
    early_stopping_distance,
    chain_on_a_manifold,
    memorisation_bound,
    langevin_between_modes,
    weights_recovered,
    goodfellow_2014_discriminator,
    goodfellow_2014_minimum,
    lin_1991_jensen_shannon,
    exponential_moving_average,
    gaussian_recursions,
    gaussian_exact_maps,
    gaussian_first_order,
    gaussian_distances,
)


def find(name):
    """The theorem with this id ("D4"; "D4p" is D4') or function name; raises ValueError with the nearest names."""
    import difflib

    table = {f.info.id.lower(): f for f in ALL} | {f.info.id.lower().replace("'", "p"): f for f in ALL} | {f.__name__: f for f in ALL}
    if str(name).lower() in table:
        return table[str(name).lower()]
    near = difflib.get_close_matches(str(name).lower(), table, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise ValueError(f"theorem: got {name!r}, allowed are {', '.join(f.info.id for f in ALL)}; {hint}scoresde list shows them all")


def family(name):
    """[theorem, ...] of an id, a function name, or what ids begin with: "D6" is D6a to D6e, "G" a chapter. Raises ValueError as ``find``."""
    word = str(name).lower()
    exact = [f for f in ALL if word in (f.info.id.lower(), f.__name__)]
    begun = [f for f in ALL if (i := f.info.id.lower()).startswith(word or "?") and not (word[-1].isdigit() and i[len(word) :][:1].isdigit())]
    return exact or begun or [find(name)]


def verify(target, only=None, *, also=(), table=None, score=None, alpha=1e-6, seed=0, quick=False, rigorous=False, progress=None):
    """Run every theorem (or ``only`` these ids, chapters or functions), then ``also``, on ``target``; returns the list of Claims.

    The error budget ``alpha`` is split evenly, so the chance of any wrong verdict is at most alpha. In d > 1 a statement that needs a line
    runs on the first principal axis and says so. progress(claim, index, total) is called after each. Raises ValueError for unknown ids,
    TypeError for a target that is no law.

    rigorous : only proofs in ball arithmetic decide (Gaussians and mixtures on the line, as they are stored). Without ``only`` the theorems
    that have one run; a theorem asked for that has none is inconclusive, whatever its numbers say. Raises ImportError without python-flint.
    """
    as_law("target", target)
    if only is None:
        chosen = [f for f in ALL if provable(f) or not rigorous]
    else:
        named = [only] if callable(only) or isinstance(only, str) else only
        chosen = [f for x in named for f in ([x] if callable(x) else family(x))]
    chosen += list(also)
    claims = []
    for index, (theorem, share) in enumerate(zip(chosen, shares(alpha, [1.0] * len(chosen)), strict=True)):
        began = time.perf_counter()
        options = {"table": table, "score": score, "alpha": share, "seed": seed, "quick": quick, "rigorous": rigorous}
        claim = replace(within_budget(_run(theorem, target, options), share), seconds=time.perf_counter() - began)
        claims.append(claim)
        if progress is not None:
            progress(claim, index, len(chosen))
    return claims


def provable(theorem):
    """Has this theorem a way in ball arithmetic, that is a keyword ``rigorous``?"""
    return "rigorous" in inspect.signature(theorem).parameters


def _run(theorem, target, options):
    if options["rigorous"] and not provable(theorem):
        return _undecided(theorem, "inconclusive", "its numbers are at best deterministic, and with rigorous=True only a proof may decide")
    allowed = inspect.signature(theorem).parameters
    options = {name: value for name, value in options.items() if name in allowed and value is not None}
    if "table" in allowed and allowed["table"].default is inspect.Parameter.empty:
        options.setdefault("table", euler_maruyama(uniform(6.0, 60)))  # the chain of the catalogue, for a theorem that must have one
    try:
        return theorem(target, **options)
    except NotTrusted as reason:
        return _undecided(theorem, "inconclusive", reason)
    except NoMethod as reason:
        if target.dim == 1 or "score" in options or "table" in options or options.get("rigorous"):
            return _undecided(theorem, "not applicable", reason)
    try:
        claim = theorem(first_axis(target), **options)
    except NotTrusted as reason:
        return _undecided(theorem, "inconclusive", reason)
    except NoMethod as reason:
        return _undecided(theorem, "not applicable", reason)
    return replace(claim, parameters={"axis": "first principal", **claim.parameters})


def _undecided(theorem, verdict, reason):
    about = getattr(theorem, "info", None)
    given = {} if about is None else {"id": about.id, "statement": about.statement, "reference": about.reference, "caveat": about.caveat}
    return replace(not_applicable(theorem.__name__, str(reason), **given), verdict=verdict)
