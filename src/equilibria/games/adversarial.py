"""The adversarial game: a generator against a critic that tells its samples from the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from equilibria.data.batches import Batch
from equilibria.games.game import Game
from equilibria.games.payoffs import Payoff, find_payoff
from equilibria.games.penalties import find_penalties
from equilibria.games.supervised import MISSING, class_cost, class_errors
from equilibria.models.generator import Generator
from equilibria.networks.fourier import Fourier
from equilibria.networks.mlp import MLP, answer_gradient, is_piecewise_linear
from equilibria.networks.normalisation import batch_norms
from equilibria.networks.packing import Packed, row_wise
from equilibria.random import Stream

__all__ = ["AdversarialDraw", "AdversarialGame"]


class AdversarialDraw(NamedTuple):
    """What a round holds fixed: data and noise, and perhaps conditions and classes.

    ``blur`` is instance noise of the data and of the samples, each ``(n, …)``; ``mix`` is where on
    the line from a sample to an example a mixed slope is taken, in [0, 1), ``(n,)``.
    """

    real: Tensor
    noise: Tensor
    condition: Tensor | None = None
    label: Tensor | None = None
    blur: tuple[Tensor, Tensor] | None = None
    mix: Tensor | None = None


class AdversarialGame(Game):
    """Critic and generator, each paying its column of a payoff; the critic's slopes cost it more.

    J_D = mean over pairs of costs(critic(x), critic(G(z)))[0] + Σ γ_t·(mean penalty) +
    cross-entropy of the labelled examples; J_G = mean of costs[1], with x the batch and z fresh
    noise.

    Parameters
    ----------
    generator : Generator
    critic : nn.Module
        Called ``critic(x, condition)``; gives one logit a row, ``(n,)`` or ``(n, 1)``, or with
        ``classes`` the classes' logits ``(n, classes)``.
    payoff : str or Payoff
        A row of ``PAYOFFS``.
    penalties : mapping of str to float
        Rows of ``PENALTIES`` and their weights γ.
    fade : (float, int)
        Annealing of the penalties and of the instance noise, a fraction f > 0 and a number of
        rounds T: in round t weights and noise are f^min(t / T, 1) of what they were. A large weight
        lets samples find their way between modes; a small one lets the critic see how wide a mode
        is.
    packing : int
        Examples that the critic sees side by side (see ``Packed``), a divisor of the rows of a
        batch. The player ``critic`` is then the pack's.
    instance_noise : float
        Standard deviation of the normal noise on whatever the critic sees, data and samples, in
        the first round: the distributions then overlap, and the critic's best answer is about the
        blurred ones.
    classes : int, optional
        Semi-supervised learning: the logit for "real" is log Σ_k exp(logit_k), and an example whose
        ``batch.label`` is a class number costs the critic −log softmax(logits)[label] too, averaged
        over the labelled rows of the batch. −1 is no label. Not with packs.

    Notes
    -----
    A critic that looks across rows (batch norm) sees data and samples apart; running averages of
    batch norm move once a round, each player's in its own first turn. ``measure`` reports what the
    players saw when they last paid in this round; what was not paid for yet is worked out.

    References
    ----------
    Goodfellow et al. 2014, "Generative adversarial nets"; Salimans et al. 2016, "Improved
    techniques for training GANs", section 5; Arjovsky & Bottou 2017 (instance noise).

    Examples
    --------
    >>> from equilibria.networks.mlp import MLP
    >>> generator = Generator(MLP((2, 8, 3), stream=Stream(0).child("generator")), latent_dim=2)
    >>> critic = MLP((3, 8, 1), stream=Stream(0).child("critic"))
    >>> penalties = {"r1": 1.0, "r2": 1.0}
    >>> game = AdversarialGame(generator, critic, "relativistic", penalties=penalties)
    >>> drawn = game.draw(Batch(torch.zeros(4, 3)), Stream(1))
    >>> sorted(game.measure(drawn))
    ['accuracy', 'critic_cost', 'fake_logit', 'generator_cost', 'r1', 'r2', 'real_logit']
    """

    players = ("critic", "generator")
    played: Tensor

    def __init__(
        self,
        generator: Generator,
        critic: nn.Module,
        payoff: str | Payoff = "non-saturating",
        *,
        penalties: Mapping[str, float] | None = None,
        fade: tuple[float, int] = (1.0, 1),
        packing: int = 1,
        instance_noise: float = 0.0,
        classes: int | None = None,
    ):
        super().__init__()
        self.payoff = find_payoff(payoff)
        self.penalties = find_penalties(penalties or {})
        self.fade, self.packing, self.classes = fade, packing, classes
        fades = fade[0] != 1 and bool(self.penalties or instance_noise)
        if fades:  # rounds played; a buffer, so that a resume knows them
            self.register_buffer("played", torch.zeros((), dtype=torch.int64))
        self.instance_noise, self.generator = instance_noise, generator
        self.critic = critic if packing == 1 else Packed(critic, packing)
        self._sloped = {penalty.at for penalty, _ in self.penalties.values()}
        # penalties that are one function at several places are worked out together
        self._alike: dict[Callable[[Tensor], Tensor], list[str]] = {}
        for name, (penalty, _) in self.penalties.items():
            self._alike.setdefault(penalty.of, []).append(name)
        self._row_wise = row_wise(critic)
        self.across_rows = not (self._row_wise and row_wise(generator))
        self._norms = {player: batch_norms(getattr(self, player)) for player in self.players}
        self._seen: dict[str, Any] = {}  # what each player saw when it last paid in this round

    def draw(self, batch: Batch, stream: Stream) -> AdversarialDraw:
        """The batch as it is, as many rows of fresh noise, instance noise and places of slopes."""
        real, label = batch.values, batch.label if self.classes else None
        if batch.mask is not None or len(real) % self.packing:
            wanted = f"complete rows, as many as its packs of {self.packing} divide"
            raise ValueError(f"batch: an adversarial game needs {wanted}, and {len(real)} came")
        blur = mix = None
        if self.instance_noise:
            near, faded = stream.child("instance noise"), self.faded()
            scale: Any = self.instance_noise * (1.0 if faded is None else faded)
            first, second = (
                near.child(which).normal(real.shape, real.dtype, real.device).mul_(scale)
                for which in ("real", "fake")
            )
            blur = first, second
        if "mixed" in self._sloped:
            packs = (len(real) // self.packing,)
            mix = stream.child("mix").uniform(packs, real.dtype, real.device)
            mix = mix.repeat_interleave(self.packing)  # the same within a pack
        noise = self.generator.noise(len(real), stream.child("noise"))
        return AdversarialDraw(real, noise, batch.condition, label, blur, mix)

    def cost(self, player: str, drawn: AdversarialDraw) -> Tensor:
        """What ``player`` pays on average over the rows."""
        with self._averages_move(player):
            if player == "critic":
                return self._charge(*self._answers(self._points(drawn), drawn.condition), drawn)
            fake = real = self.logits(self._fake(drawn), drawn.condition)
            if self.payoff.generator_pays_on_real:  # else any logits do in their place
                real = self.logits(self._blurred(drawn.real, drawn, 0), drawn.condition)
            cost = self.payoff.costs(real, fake)[1].mean()
            self._seen["generator"] = cost.detach()
            return cost

    def closed_form(self, player: str, drawn: AdversarialDraw) -> list[Tensor] | None:
        """The critic's gradient where it is a plain rectifier network: two thirds of the work."""
        network = self.critic.critic if isinstance(self.critic, Packed) else self.critic
        fourier = network if isinstance(network, Fourier) else None
        network = fourier.network if fourier else network
        if player != "critic" or self.classes or not is_piecewise_linear(network):
            return None
        assert isinstance(network, MLP)
        with self._averages_move(player), torch.no_grad():
            points = self._points(drawn)
        names = [name for group in self._passes(points) for name in group]
        places = [name for name in names if name in self._sloped]  # they come first
        packs = len(drawn.real) // self.packing
        x = torch.cat([points[name] for name in names]).reshape(packs * len(names), -1)
        x = x if fourier is None else fourier.widened(x)
        columns, sloped = x.shape[1], packs * len(places)
        if drawn.condition is not None:
            given = torch.cat([drawn.condition] * len(names)).reshape(len(x), -1)
            x = torch.cat([x, given.to(x.dtype)], dim=1)

        def pay(answers: Tensor, slopes: Tensor) -> Tensor:
            if fourier is not None:
                slopes = fourier.pullback(x[:sloped, :columns], slopes)
            outputs = dict(zip(names, answers.reshape(-1, 1).split(packs), strict=True))
            return self._charge(
                outputs, dict(zip(places, slopes.split(packs), strict=False)), drawn
            )

        return answer_gradient(network, x, columns, sloped, pay)

    def logits(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The critic's answer ``(n,)`` to ``x`` ``(n, …)``, one a pack; above 0 means real."""
        return self._one_logit(self._answer(x, condition))

    @torch.no_grad()
    def measure(self, drawn: AdversarialDraw) -> dict[str, Tensor]:
        """Both costs, mean logits, the critic's accuracy, and each penalty before its weight.

        With classes also ``class_error`` among the rows that have a label, and the ``labelled``
        share of the rows.
        """
        for player in self.players:
            if player not in self._seen:
                self.cost(player, drawn)
        saw = self._seen["critic"]
        real, fake = saw["real"], saw["fake"]
        report = {
            "critic_cost": saw["cost"],
            "generator_cost": self._seen["generator"],
            "real_logit": real.mean(),
            "fake_logit": fake.mean(),
            "accuracy": torch.cat([real > 0, fake < 0]).to(real.dtype).mean(),
        }
        if "outputs" in saw:
            report["class_error"] = class_errors(saw["outputs"], saw["label"])
            report["labelled"] = (saw["label"] != MISSING).to(real.dtype).mean()
        return report | saw["penalties"]

    def settle(self, drawn: AdversarialDraw) -> None:
        """Forget what this round's players saw; count the round."""
        self._seen = {}
        if hasattr(self, "played"):
            self.played += 1

    def faded(self) -> Tensor | None:
        """f^min(t / T, 1), what is left of weights and noise, 0-d; None without annealing."""
        if not hasattr(self, "played"):
            return None
        share, rounds = self.fade
        return share ** (self.played / rounds).clamp(max=1.0)

    def _charge(
        self, outputs: Mapping[str, Tensor], slopes: Mapping[str, Tensor], drawn: AdversarialDraw
    ) -> Tensor:
        """What the critic pays for its outputs and its slopes, by place, a row for each pack."""
        real, fake = self._one_logit(outputs["real"]), self._one_logit(outputs["fake"])
        cost = self.payoff.costs(real, fake)[0].mean()
        saw: dict[str, Any] = {"real": real.detach(), "fake": fake.detach(), "penalties": {}}
        faded = self.faded()
        for of, names in self._alike.items():
            rows = of(torch.cat([slopes[self.penalties[name][0].at] for name in names]))
            for name, mean in zip(names, rows.reshape(len(names), -1).mean(1), strict=True):
                weight = self.penalties[name][1]
                if faded is None:
                    cost = cost.add(mean, alpha=weight)
                else:
                    cost = cost.addcmul(mean, faded.to(mean), value=weight)
                saw["penalties"][name] = mean.detach()
        if self.classes:
            label = drawn.label
            if label is None:
                label = torch.full((len(real),), MISSING, device=real.device)
            cost = cost + class_cost(outputs["real"], label)
            saw |= {"outputs": outputs["real"].detach(), "label": label}
        self._seen["critic"] = saw | {"cost": cost.detach()}
        return cost

    def _points(self, drawn: AdversarialDraw) -> dict[str, Tensor]:
        """Where the critic is asked in its own turn."""
        points = {"real": self._blurred(drawn.real, drawn, 0), "fake": self._fake(drawn)}
        if drawn.mix is not None:
            share = drawn.mix.reshape(-1, *(1 for _ in drawn.real.shape[1:]))
            points["mixed"] = torch.lerp(points["fake"], points["real"], share)
        return points

    def _fake(self, drawn: AdversarialDraw) -> Tensor:
        return self._blurred(self.generator(drawn.noise, drawn.condition), drawn, 1)

    def _blurred(self, x: Tensor, drawn: AdversarialDraw, which: int) -> Tensor:
        return x if drawn.blur is None else x + drawn.blur[which].reshape(x.shape)

    def _answers(
        self, points: Mapping[str, Tensor], condition: Tensor | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The critic's outputs and slopes at each place, a row for each pack."""
        outputs, slopes = dict[str, Tensor](), dict[str, Tensor]()
        for names in self._passes(points):
            x = torch.cat([points[name] for name in names]) if names[1:] else points[names[0]]
            given = None if condition is None else torch.cat([condition] * len(names))
            if names[0] not in self._sloped:
                outputs |= zip(names, self._answer(x, given).chunk(len(names)), strict=True)
                continue
            twice = torch.is_grad_enabled()
            with torch.enable_grad():  # a report needs the slope too
                if not x.requires_grad:  # a leaf of its own: the batch is the caller's
                    x = x.detach().requires_grad_()
                answer = self._answer(x, given)
                logit = self._one_logit(answer).sum()
                (slope,) = torch.autograd.grad(logit, x, create_graph=twice)
            slope = slope.reshape(len(answer), -1)
            outputs |= zip(names, answer.chunk(len(names)), strict=True)
            slopes |= zip(names, slope.chunk(len(names)), strict=True)
        return outputs, slopes

    def _passes(self, names: Iterable[str]) -> list[list[str]]:
        """Places that may go through the critic together; those whose slope is wanted first."""
        if not self._row_wise:
            return [[name] for name in names]
        sloped = [name for name in names if name in self._sloped]
        return [group for group in (sloped, [n for n in names if n not in sloped]) if group]

    def _answer(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """The critic's outputs, ``(n, 1)`` or ``(n, classes)``, a row for each pack."""
        shape = len(x) // self.packing, self.classes or 1
        answer: Tensor = self.critic(x, condition)
        if answer.numel() != shape[0] * shape[1] or len(answer) != shape[0]:
            found = f"its answer to {len(x)} rows has shape {tuple(answer.shape)}"
            raise ValueError(f"critic: {found}; expected {shape}")
        return answer.reshape(shape)

    def _one_logit(self, answer: Tensor) -> Tensor:
        return answer.logsumexp(1) if self.classes else answer.reshape(-1)

    @contextmanager
    def _averages_move(self, player: str) -> Iterator[None]:
        """Running averages move in their own player's first turn of a round, never for a report."""
        first = torch.is_grad_enabled() and player not in self._seen
        others = [self._norms[other] for other in self.players if other != player or not first]
        still = [norm for norms in others for norm in norms if norm.track_running_stats]
        try:
            for norm in still:
                norm.track_running_stats = False
            yield
        finally:
            for norm in still:
                norm.track_running_stats = True
