"""What both printers share: operators, templates of primitives, and the closed forms that both runtimes have."""

from __future__ import annotations

from collections.abc import Mapping

ATOM, POWER, UNARY, PRODUCT, SUM, COMPARISON = 6, 5, 4, 3, 2, 1

# Primitive -> (operator, level of the result, of the left operand, of the right operand).
BINARY: Mapping[str, tuple[str, int, int, int]] = {
    "add": ("+", SUM, SUM, SUM), "sub": ("-", SUM, SUM, PRODUCT),
    "mul": ("*", PRODUCT, PRODUCT, PRODUCT), "div": ("/", PRODUCT, PRODUCT, UNARY),
    "matmul": ("@", PRODUCT, PRODUCT, UNARY), "pow": ("**", POWER, ATOM, UNARY),
    "lt": ("<", COMPARISON, SUM, SUM), "le": ("<=", COMPARISON, SUM, SUM),
    "gt": (">", COMPARISON, SUM, SUM), "ge": (">=", COMPARISON, SUM, SUM),
    "eq": ("==", COMPARISON, SUM, SUM), "ne": ("!=", COMPARISON, SUM, SUM),
}  # fmt: skip

# Primitive -> call. `{x}`, `{y}` are operands, `{X}` an operand in front of a dot, `{all}` every operand, `{like}` an
# array whose dtype and device new arrays take; other fields are options.
CALLS: Mapping[str, str] = {
    "matvec": "operations.matvec({x}, {y})",
    "vecmat": "operations.vecmat({x}, {y})",
    "dot": "operations.dot({x}, {y})",
    "transpose": "{X}.mT",
    "diag": "operations.diag({x})",
    "concat": "operations.concatenate([{all}], {axis})",
    "concat_broadcast": "operations.concatenate([{all}], {axis})",
    "stack_broadcast": "operations.stack_broadcast([{all}])",
    "permute": "operations.permute({x}, {order}, {axis})",
    "argmax": "{X}.argmax(-1)",
    "choose": "operations.choose({x}, {y})",
    "coupled": "transport.coupled({x}, {y})",
    "steps": "draws.steps({x}, {count})",
    "stack": "operations.stack([{all}], {axis})",
    "take": "operations.take({x}, {y}, {rank})",
    "one_hot": "operations.one_hot({x}, {size}, {like})",
    "arange": "operations.arange({size}, {trailing}, {like})",
    "states": "operations.states({size}, {shape}, {trailing}, {like})",
    "joint_states": "operations.joint_states({sizes}, {trailing}, {like})",
    "simplex_points": "operations.simplex_points({size}, {trailing}, {like})",
    "scale_gradient": "operations.scale_gradient({x}, {y})",
    "mean_all": "{X}.mean()",
    "sum_all": "{X}.sum()",
    "logmeanexp": "operations.logmeanexp({x})",
    "leave_one_out": "operations.leave_one_out({x})",
    "vimco": "operations.vimco({x})",
    "schedule": "operations.linear_schedule(step, {start}, {end}, {steps})",
    "low_rank_normal": "densities.low_rank_normal({all})",
    "gaussian_posterior": "densities.gaussian_posterior({all})",
    "log_forward": "recursions.log_forward({all})",
    "smooth": "recursions.smooth({all})",
    "viterbi": "recursions.viterbi({all})",
    "log_filter": "kalman.log_filter({all})",
    "smoother": "kalman.smoother({all})",
    "filled": "operations.filled({all})",
    "slots": "samplers.slots({x}, {size})",
    "put": "samplers.put({all})",
    "origin": "samplers.origin({x}, {rank}, {shape})",
    "inverse": "operations.inverse({x})",
    "path": "odes.solve({function}, {all}, rtol={rtol}, atol={atol}, event={rank})",
    "cholesky": "operations.cholesky({x})",
    "rbf": "operations.rbf({x}, {rank})",
    "between": "constraints.interval({x}, {y})",
    "above": "constraints.interval({x}, None)",
    "below": "constraints.interval(None, {x})",
    "at_least": "densities.at_least({x}, {y})",
    "at_most": "densities.at_most({x}, {y})",
    "entry": '{X}["{key}"]',
    "item": "{X}[{number}]",
}

# Family -> the runtimes' log-density; families with a choice of parameters have one function for each choice.
LOG_DENSITIES: Mapping[str, str] = {
    "Normal": "normal", "LogNormal": "log_normal", "Laplace": "laplace", "Logistic": "logistic", "Cauchy": "cauchy",
    "Gumbel": "gumbel", "StudentT": "student_t", "HalfNormal": "half_normal", "HalfCauchy": "half_cauchy",
    "Exponential": "exponential", "Gamma": "gamma", "InverseGamma": "inverse_gamma", "Beta": "beta",
    "Uniform": "uniform", "VonMises": "von_mises", "Dirichlet": "dirichlet",
    "MultivariateNormal": "multivariate_normal", "LowRankMultivariateNormal": "low_rank_multivariate_normal",
    "Bernoulli": "bernoulli", "Categorical": "categorical", "OneHotCategorical": "one_hot_categorical",
    "Binomial": "binomial", "Geometric": "geometric", "Poisson": "poisson", "NegativeBinomial": "negative_binomial",
    "BetaBinomial": "beta_binomial", "DiscretizedLogistic": "discretized_logistic",
}  # fmt: skip

# (family of q, family of p) -> the runtimes' closed form.
DIVERGENCES: Mapping[tuple[str, str], str] = {
    ("Normal", "Normal"): "kl_normal",
    ("LogNormal", "LogNormal"): "kl_normal",
    ("MultivariateNormal", "MultivariateNormal"): "kl_multivariate_normal",
    ("MultivariateNormal", "Normal"): "kl_multivariate_diagonal",
    ("Bernoulli", "Bernoulli"): "kl_bernoulli",
    ("Categorical", "Categorical"): "kl_categorical",
    ("OneHotCategorical", "OneHotCategorical"): "kl_categorical",
    ("Gamma", "Gamma"): "kl_gamma",
    ("Beta", "Beta"): "kl_beta",
    ("Dirichlet", "Dirichlet"): "kl_dirichlet",
    ("Laplace", "Laplace"): "kl_laplace",
    ("Exponential", "Exponential"): "kl_exponential",
}

# Parameters that are numbers of the compiled program, never arrays.
STATIC = frozenset({"bins", "dim", "total_count"})
