r"""Better samples from an implicit model by its critic: r = p_data/p_g turns draws of p_g into
p_data's.

All of it happens in the latent space. With z drawn from the prior p(z) and x = G(z), the
distribution of z with density proportional to p(z) · r(G(z)) makes G(z) follow p_data wherever p_g
has mass: no method here can reach a mode that the generator never visits.

=====================  ========================================  ==================================
function               distribution                              needs
=====================  ========================================  ==================================
`reject`               exact where the bound holds and in time   max r not far from 1
`metropolis_hastings`  geometrically convergent, at 1/max r      a calibrated ratio
`sir`                  off by O(1/candidates)                    a calibrated ratio
`langevin`             convergent, also between the draws        a smooth ratio (:mod:`.langevin`)
=====================  ========================================  ==================================

Each takes ``noise(n, stream)``, which draws ``(n, …)`` from the prior, and ``log_weight(z, rows)``,
which gives log r(G(z)) up to a constant, ``(k,)`` for ``z`` ``(k, …)``; ``rows`` are the places
among the n rows, for a generator with a condition a row. A row of the result depends on its own
draws alone. With a plain sampler of p_g for ``noise`` its samples are refined.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from equilibria.check import number, optional, whole
from equilibria.random import Stream

__all__ = ["Candidates", "LogWeight", "Noise", "Refined", "metropolis_hastings", "reject", "sir"]

Noise = Callable[[int, Stream], Tensor]
LogWeight = Callable[[Tensor, Tensor], Tensor]


@dataclasses.dataclass(frozen=True, eq=False)
class Refined:
    """Refined noise for the generator, and how the refinement went.

    Attributes
    ----------
    noise : Tensor, shape (n, …)
        One draw a row; ``generator(noise, condition)`` are the refined samples.
    method : str
        Which one it was.
    tries : int
        Evaluations of the ratio over all rows.
    acceptance : float
        Share of the proposals that were accepted; NaN for ``sir``.
    ess : float
        Mean over the rows of (Σw)²/Σw² over a row's candidates; of ``langevin``, independent draws
        in a chain. Near 1 a row had no choice.
    short : Tensor of bool, shape (n,)
        Rows that were not refined as promised: out of tries and filled in by their weights
        (``reject``), or a chain that never moved.
    bound, exceeded : float
        Of ``reject``: the largest log-weight of the burn-in, and the share of the later proposals
        above it, which are taken less often than they should be.
    step : float
        Of ``langevin``: the step size after the burn-in.
    """

    noise: Tensor
    method: str
    tries: int
    acceptance: float
    ess: float
    short: Tensor
    bound: float = math.nan
    exceeded: float = 0.0
    step: float = math.nan

    def __str__(self) -> str:
        parts = [f"{self.tries} tries", f"{self.ess:.1f} effective candidates a row"]
        if not math.isnan(self.acceptance):
            parts.insert(1, f"{100 * self.acceptance:.2f} % accepted")
        if count := int(self.short.sum()):
            fate = "out of tries, filled in by weight" if self.method == "reject" else "stuck"
            parts.append(f"{count} of {len(self.short)} rows {fate}")
        if self.exceeded:
            parts.append(f"{100 * self.exceeded:.3f} % of the proposals above the bound")
        return f"{self.method}: {'; '.join(parts)}"


class Candidates:
    """One candidate a row, chosen among all offered in proportion to their weights.

    Candidate t has the key log w_t + g_t with g_t a fresh Gumbel draw, and the largest key is kept
    (the Gumbel-max rule): only the best so far and two sums for the effective sample size are
    stored.
    """

    def __init__(self, like: Tensor):
        self.kept = like.clone()
        self.log_weight = like.new_full((len(like),), -math.inf, dtype=torch.float64)
        self._key, self._sum, self._squares = (self.log_weight.clone() for _ in range(3))

    def offer(self, rows: Tensor, z: Tensor, log_weight: Tensor, stream: Stream) -> None:
        """Offer ``z[i]`` to row ``rows[i]``; ``stream`` gives one draw for every row there is."""
        self._sum[rows] = torch.logaddexp(self._sum[rows], log_weight)
        self._squares[rows] = torch.logaddexp(self._squares[rows], 2 * log_weight)
        key = log_weight - _uniforms(len(self.kept), stream, z.device)[rows].log().neg().log()
        better = key > self._key[rows]
        chosen = rows[better]
        self._key[chosen], self.kept[chosen] = key[better], z[better]
        self.log_weight[chosen] = log_weight[better]

    @property
    def ess(self) -> float:
        """Mean over the rows of (Σw)²/Σw²; a row whose weights are all 0 counts 0."""
        return float((2 * self._sum - self._squares).exp().nan_to_num(0.0).mean())


def acceptance(log_weight: Tensor, bound: float, shift: float = 0.0) -> Tensor:
    r"""The probability that rejection sampling takes a proposal.

    .. math:: a = \frac{q}{q + (1 - q) e^{\gamma}}, \qquad q = \min(1, e^{\ell - M})

    With γ = 0 it is q, and accepted draws follow p_g e^ℓ / Z exactly where M is a bound. It is
    σ(F̂) of Azadi et al., equation 8, without their ε.
    """
    q = (log_weight - bound).clamp(max=0.0).exp()
    return q / (q + (1 - q) * math.exp(shift)) if shift else q


@torch.no_grad()
def reject(
    noise: Noise,
    log_weight: LogWeight,
    n: int,
    stream: Stream,
    *,
    tries: int = 500,
    burn_in: int = 10_000,
    quantile: float | None = None,
) -> Refined:
    """Discriminator rejection sampling (Azadi, Olsson, Darrell, Goodfellow & Odena 2019).

    Parameters
    ----------
    noise, log_weight, n, stream
        As the module says.
    tries : int
        Proposals at most for a row. A row that has taken none by then is given one of its own by
        their weights, and counts as ``short``.
    burn_in : int
        Proposals whose largest log-weight becomes the bound M.
    quantile : float, optional
        In (0, 1): γ is this quantile of log q/(1 − q) over the burn-in, so that about that share of
        the proposals is taken with probability below ½. Accepted draws then no longer follow the
        data: it is the way out where max r is large. None: γ = 0, exact.

    Examples
    --------
    >>> flat = lambda n, stream: stream.uniform((n, 1))
    >>> found = reject(flat, lambda z, rows: (2 * z[:, 0]).log(), 1000, Stream(0))  # r = 2z
    >>> abs(float(found.noise.mean()) - 2 / 3) < 0.05, abs(found.acceptance - 0.5) < 0.05
    (True, True)
    """
    tries, burn_in = whole(1)("tries", tries), whole(1)("burn_in", burn_in)
    optional(number(0, 1 - 1e-12, above=True))("quantile", quantile)
    first = noise(burn_in, stream.child("burn-in"))
    logs = weigh(log_weight, first, torch.arange(burn_in, device=first.device) % n)
    bound, shift = float(logs.max()), 0.0
    if quantile is not None:
        q = (logs - bound).exp()
        odds = (q.log() - torch.log1p(-q))[q < 1]
        shift = float(torch.quantile(odds, quantile)) if len(odds) else 0.0
    pool = Candidates(noise(n, stream.child("shape")))
    pending = torch.arange(n, device=first.device)
    done, taken, above, accepted = 0, pool.kept.clone(), 0, 0
    for t in range(tries):
        if not len(pending):
            break
        key = stream.child("try", t)
        z = noise(n, key.child("noise"))[pending]
        logs = weigh(log_weight, z, pending)
        pool.offer(pending, z, logs, key.child("key"))
        take = _uniforms(n, key.child("accept"), z.device)[pending] < acceptance(logs, bound, shift)
        taken[pending[take]] = z[take]
        done, above = done + len(z), above + int((logs > bound).sum())
        accepted += int(take.sum())
        pending = pending[~take]
    taken[pending] = pool.kept[pending]
    short = torch.zeros(n, dtype=torch.bool, device=first.device).index_fill_(0, pending, True)
    share, tried = accepted / done, burn_in + done
    return Refined(taken, "reject", tried, share, pool.ess, short, bound, above / done)


@torch.no_grad()
def metropolis_hastings(
    noise: Noise, log_weight: LogWeight, n: int, stream: Stream, *, steps: int = 100
) -> Refined:
    """The Metropolis–Hastings GAN (Turner, Hung, Frank, Saatchi & Yosinski 2019).

    n chains of ``steps`` independent proposals from p_g, each taken with probability min(1, r′/r).
    The kernel has p_data as its invariant distribution; from a draw of p_g it is within (1 − 1/max
    r)^steps of it in total variation (Mengersen & Tweedie 1996). A chain that has taken none is
    ``short``.

    Examples
    --------
    >>> flat = lambda n, stream: stream.uniform((n, 1))
    >>> weight = lambda z, rows: (2 * z[:, 0]).log()
    >>> found = metropolis_hastings(flat, weight, 1000, Stream(0), steps=20)
    >>> abs(float(found.noise.mean()) - 2 / 3) < 0.05, int(found.short.sum())
    (True, 0)
    """
    steps, z = whole(1)("steps", steps), noise(n, stream.child("start"))
    rows = torch.arange(n, device=z.device)
    logs, seen = weigh(log_weight, z, rows), Candidates(z)
    seen.offer(rows, z, logs, stream.child("start", "key"))
    moves = torch.zeros(n, dtype=torch.int64, device=z.device)
    for t in range(steps):
        key = stream.child("step", t)
        proposed = noise(n, key.child("noise"))
        new = weigh(log_weight, proposed, rows)
        seen.offer(rows, proposed, new, key.child("key"))
        take = metropolis(logs, new, key.child("accept"))
        wide = take.view(-1, *(1,) * (z.ndim - 1))
        z, logs, moves = proposed.where(wide, z), new.where(take, logs), moves + take
    share = float(moves.double().mean()) / steps
    return Refined(z, "mh", n * (steps + 1), share, seen.ess, moves == 0)


@torch.no_grad()
def sir(
    noise: Noise, log_weight: LogWeight, n: int, stream: Stream, *, candidates: int = 100
) -> Refined:
    """Sampling–importance–resampling (Rubin 1988): a row is one of its candidates, by weight.

    Rows share no candidates, so they are independent; P(x) = E[w(x) / Σw] tends to p_data as
    1/candidates.

    Examples
    --------
    >>> flat = lambda n, stream: stream.uniform((n, 1))
    >>> found = sir(flat, lambda z, rows: (2 * z[:, 0]).log(), 1000, Stream(0))  # ess: 75 of 100
    >>> abs(float(found.noise.mean()) - 2 / 3) < 0.05, abs(found.ess - 75) < 3
    (True, True)
    """
    pool = gather(noise, log_weight, n, stream, whole(1)("candidates", candidates))
    lost = pool.log_weight.isneginf()
    return Refined(pool.kept, "sir", n * candidates, math.nan, pool.ess, lost)


def gather(
    noise: Noise, log_weight: LogWeight, n: int, stream: Stream, candidates: int
) -> Candidates:
    """``candidates`` draws offered to every row."""
    pool = Candidates(noise(n, stream.child("shape")))
    rows = torch.arange(n, device=pool.kept.device)
    for t in range(candidates):
        key = stream.child("candidate", t)
        z = noise(n, key.child("noise"))
        pool.offer(rows, z, weigh(log_weight, z, rows), key.child("key"))
    return pool


def weigh(log_weight: LogWeight, z: Tensor, rows: Tensor) -> Tensor:
    """The log-weights in float64, (k,); −∞ says that p_data is 0 there. NaN and +∞ are refused."""
    logs = log_weight(z, rows).double()
    if bool((logs.isnan() | logs.isposinf()).any()):
        cure = "train the critic with a penalty or a lower rate"
        raise ValueError(f"log_weight gave NaN or +inf; {cure}")
    return logs


def metropolis(old: Tensor, new: Tensor, stream: Stream) -> Tensor:
    """Which moves are taken at log-odds ``new`` − ``old``; from −∞ all are."""
    return (_uniforms(len(old), stream, old.device).log() < new - old) | old.isneginf()


def _uniforms(n: int, stream: Stream, device: torch.device) -> Tensor:
    """In (0, 1) without the ends: their logarithms, and the logarithms of those, are finite."""
    return stream.uniform((n,), torch.float64, device).clamp_(min=2.0**-54)
