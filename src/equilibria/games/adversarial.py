"""The adversarial game: a generator against a critic that tells its samples from the data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from equilibria.data.batches import Batch
from equilibria.games.game import Game
from equilibria.games.payoffs import Payoff, find_payoff
from equilibria.games.penalties import find_penalties
from equilibria.games.semi_supervised import check_classes, class_cost, class_errors
from equilibria.models.generator import Generator
from equilibria.networks.fourier import Fourier
from equilibria.networks.mlp import MLP
from equilibria.networks.packing import Packed, row_wise, unpacked
from equilibria.networks.piecewise import answer_gradient, is_piecewise_linear
from equilibria.random import Stream

__all__ = ["AdversarialDraw", "AdversarialGame"]

BatchNorm = nn.modules.batchnorm._BatchNorm


class AdversarialDraw(NamedTuple):
    """What a round holds fixed.

    Attributes
    ----------
    real, noise, condition, label
        The data ``(n, …)``, the generator's noise ``(n, latent_dim)``, what both go with ``(n, …)`` or None, the data's classes ``(n,)``
        or None.
    blur : pair of Tensor or None
        Instance noise of the data and of the samples, each ``(n, …)``.
    mix : Tensor or None
        Where on the line from a sample to an example a mixed slope is taken: in [0, 1), the same within a pack, ``(n,)``.
    """

    real: Tensor
    noise: Tensor
    condition: Tensor | None = None
    label: Tensor | None = None
    blur: tuple[Tensor, Tensor] | None = None
    mix: Tensor | None = None


class AdversarialGame(Game):
    """Critic and generator, each paying its column of a payoff; the critic's slopes and its classes cost it more.

    J_D = mean over pairs of costs(critic(x), critic(G(z)))[0] + Σ γ_t·(mean penalty) + cross-entropy of the labelled examples;
    J_G = mean of costs[1], with x the batch and z fresh noise.

    Parameters
    ----------
    generator : Generator
        Called ``generator(z, condition)``.
    critic : nn.Module
        Called ``critic(x, condition)``; gives one logit a row, ``(n,)`` or ``(n, 1)``, or with ``classes`` the classes' logits
        ``(n, classes)``.
    payoff : str or Payoff
        A row of ``PAYOFFS``.
    penalties : mapping of str to float
        Rows of ``PENALTIES`` and their weights γ, paid by the critic in every update.
    fade : (float, int)
        A share f > 0 and a number of rounds T: in round t the weights are γ_t = γ·f^min(t / T, 1). A large weight keeps the critic smooth,
        so that samples find their way between modes and each mode its share; a small one lets it see how wide a mode is. The default
        keeps the weights as they are.
    packing : int
        Examples that the critic sees side by side (see ``Packed``): it is built for that many times the columns or channels, and
        divides the rows of a batch. The player ``critic`` is then the pack's.
    instance_noise : float
        Standard deviation of the normal noise that is added to whatever the critic sees, data and samples, for both players: the laws then
        overlap, and the critic's best answer is about the blurred ones.
    classes : int, optional
        Semi-supervised learning: the logit for "real" is log Σ_k exp(logit_k), and an example whose ``batch.label`` is a class number
        costs the critic −log softmax(logits)[label] too, averaged over the labelled rows of the batch (of each process's share of
        it). −1 is no label.

    Raises
    ------
    ValueError
        For an unknown payoff or penalty or a number outside its range; in ``draw`` for a batch with missing values, or of a size that
        the packs do not divide, or with labels that are no classes; in ``cost`` for a player that does not play or a critic of another
        shape.

    Notes
    -----
    Where the critic answers row by row, all points of which it needs the slope go through it in one pass, and those slopes come from one
    derivative of the summed logits. A critic that looks across rows (batch norm, minibatch deviation) sees data and samples apart.

    ``measure`` reports what the players saw when they last paid in this round, so that it costs no pass of its own; what was not paid
    for yet is worked out. Running averages of batch norm move once a round, each player's in its own first turn.

    References
    ----------
    Goodfellow et al. 2014, "Generative adversarial nets"; Salimans et al. 2016, "Improved techniques for training GANs", section 5;
    Sønderby et al. 2017 and Arjovsky & Bottou 2017 (instance noise).

    Examples
    --------
    >>> from equilibria.networks.mlp import MLP
    >>> generator = Generator(MLP((2, 8, 3), stream=Stream(0).child("generator")), latent_dim=2)
    >>> critic = MLP((3, 8, 1), stream=Stream(0).child("critic"))
    >>> game = AdversarialGame(generator, critic, "relativistic", penalties={"r1": 1.0, "r2": 1.0})
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
        _check_numbers(packing, instance_noise, classes, fade)
        self.fade = (float(fade[0]), int(fade[1]))
        if self.penalties and fade[0] != 1:  # rounds that were played; a buffer, so that a resumed run goes on from there
            self.register_buffer("played", torch.zeros((), dtype=torch.int64))
        self.packing, self.instance_noise, self.classes = int(packing), float(instance_noise), classes
        self.generator = generator
        self.critic = critic if packing == 1 else Packed(critic, packing)
        self._sloped = {penalty.at for penalty, _ in self.penalties.values()}
        self._alike: dict[Callable[[Tensor], Tensor], list[str]] = {}  # penalties that are one function at several places
        for name, (penalty, _) in self.penalties.items():
            self._alike.setdefault(penalty.of, []).append(name)
        self._row_wise = row_wise(critic)
        self.across_rows = not (self._row_wise and row_wise(generator))
        self._norms = {player: [part for part in getattr(self, player).modules() if isinstance(part, BatchNorm)] for player in self.players}
        self._normed = any(self._norms.values())
        self._seen: dict[str, Any] = {}  # what each player saw when it last paid in this round

    def draw(self, batch: Batch, stream: Stream) -> AdversarialDraw:
        """The batch as it is, as many rows of fresh noise, and what instance noise and mixed slopes need."""
        self._check(batch)
        real = batch.values
        blur = mix = None
        if self.instance_noise:
            near = stream.child("instance noise")
            blur = (self._blur(real, near.child("real")), self._blur(real, near.child("fake")))
        if "mixed" in self._sloped:
            shares = stream.child("mix").uniform((len(real) // self.packing,), real.dtype, real.device)
            mix = shares.repeat_interleave(self.packing)
        noise = self.generator.noise(len(real), stream.child("noise"))
        return AdversarialDraw(real, noise, batch.condition, batch.label if self.classes else None, blur, mix)

    def cost(self, player: str, drawn: AdversarialDraw) -> Tensor:
        """What ``player`` pays on average over the rows."""
        if player not in self.players:
            raise ValueError(f"player={player!r}: expected one of {', '.join(self.players)}")
        pay = self._critic_cost if player == "critic" else self._generator_cost
        if not self._normed:
            return pay(drawn)
        with self._averages_move(player):
            return pay(drawn)

    def closed_form(self, player: str, drawn: AdversarialDraw) -> list[Tensor] | None:
        """The critic's gradient where it is a plain rectifier network: two thirds of the work of differentiating its slopes."""
        network = unpacked(self.critic)
        waves, network = (network, network.network) if isinstance(network, Fourier) else (None, network)
        if player != "critic" or self.classes or not is_piecewise_linear(network):
            return None
        assert isinstance(network, MLP)
        with self._averages_move(player), torch.no_grad():
            points = self._points(drawn)
        groups = list(self._passes(points))
        names, first = [name for group in groups for name in group], groups[0] if self._sloped else []
        rows = len(names) * len(drawn.real) // self.packing
        x = torch.cat([points[name] for name in names]).reshape(rows, -1)
        x = x if waves is None else waves.wider(x)
        columns, sloped = x.shape[1], rows * len(first) // len(names)
        if drawn.condition is not None:
            x = torch.cat([x, torch.cat([drawn.condition] * len(names)).reshape(rows, -1).to(x.dtype)], dim=1)
        if x.shape[1] != network.sizes[0]:
            return None  # the network itself says so best

        def pay(answers: Tensor, slopes: Tensor) -> Tensor:
            slopes = slopes if waves is None else waves.pulled_back(x[:sloped, :columns], slopes)
            outputs = dict(zip(names, answers.reshape(-1, 1).chunk(len(names)), strict=True))
            return self._charge(outputs, _by_place(first, slopes) if first else {}, drawn)

        return answer_gradient(network, x, columns, sloped, pay)

    def logits(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The critic's answer ``(n,)`` to ``x`` ``(n, …)``, one for each pack; above 0 means real."""
        return self._one_logit(self._answer(x, condition))

    @torch.no_grad()
    def measure(self, drawn: AdversarialDraw) -> dict[str, Tensor]:
        """Both costs, the mean logits, the share of the critic's answers that are right, and each penalty before its weight.

        With classes also ``class_error``, the share of the labelled rows that are given another class (0 where none is labelled), and
        ``labelled``, the share of the rows that are.
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
            report |= class_errors(saw["outputs"], saw["label"])
        return report | saw["penalties"]

    def settle(self, drawn: AdversarialDraw) -> None:
        """Forget what this round's players saw; the penalties fade."""
        self._seen = {}
        if hasattr(self, "played"):
            self.played += 1

    def faded(self) -> Tensor | None:
        """f^min(t / T, 1), the share of the penalties' weights that is left in this round, 0-d; None where they do not fade."""
        if not hasattr(self, "played"):
            return None
        share, rounds = self.fade
        return share ** (self.played / rounds).clamp(max=1.0)

    # ---------------------------------------------------------------- what each player pays

    def _critic_cost(self, drawn: AdversarialDraw) -> Tensor:
        return self._charge(*self._answers(self._points(drawn), drawn.condition), drawn)

    def _charge(self, outputs: Mapping[str, Tensor], slopes: Mapping[tuple[str, ...], Tensor], drawn: AdversarialDraw) -> Tensor:
        """What the critic pays for these outputs and slopes."""
        real, fake = self._one_logit(outputs["real"]), self._one_logit(outputs["fake"])
        cost = self.payoff.costs(real, fake)[0].mean()
        saw: dict[str, Any] = {"real": real.detach(), "fake": fake.detach()}
        paid: dict[str, Tensor] = {}
        faded = self.faded()
        for of, names in self._alike.items():
            places = tuple(self.penalties[name][0].at for name in names)
            rows = of(slopes[places] if places in slopes else torch.cat([slopes[place,] for place in places]))
            for name, mean in zip(names, rows.reshape(len(names), -1).mean(1).unbind(), strict=True):
                weight = self.penalties[name][1]
                cost = cost.add(mean, alpha=weight) if faded is None else cost.addcmul(mean, faded.to(mean), value=weight)
                paid[name] = mean.detach()
        if self.classes:
            cost = cost + class_cost(outputs["real"], drawn.label)
            saw |= {"outputs": outputs["real"].detach(), "label": drawn.label}
        self._seen["critic"] = saw | {"cost": cost.detach(), "penalties": paid}
        return cost

    def _generator_cost(self, drawn: AdversarialDraw) -> Tensor:
        fake = self.logits(self._fake(drawn), drawn.condition)
        # a generator that pays nothing on real rows is spared the critic's pass over them: any logits do in their place
        real = self.logits(self._blurred(drawn.real, drawn, 0), drawn.condition) if self.payoff.generator_pays_on_real else fake
        cost = self.payoff.costs(real, fake)[1].mean()
        self._seen["generator"] = cost.detach()
        return cost

    # ---------------------------------------------------------------- what the critic sees and says

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

    def _blur(self, like: Tensor, stream: Stream) -> Tensor:
        return stream.normal(like.shape, like.dtype, like.device).mul_(self.instance_noise)

    def _answers(self, points: Mapping[str, Tensor], condition: Tensor | None) -> tuple[dict[str, Tensor], dict[tuple[str, ...], Tensor]]:
        """The critic's outputs at each place, and its slopes at those of penalties and at all of a pass together, a row for each pack."""
        outputs: dict[str, Tensor] = {}
        slopes: dict[tuple[str, ...], Tensor] = {}
        for names in self._passes(points):
            x = torch.cat([points[name] for name in names]) if len(names) > 1 else points[names[0]]
            given = None if condition is None else torch.cat([condition] * len(names))
            if names[0] not in self._sloped:
                outputs |= zip(names, self._answer(x, given).chunk(len(names)), strict=True)
                continue
            twice = torch.is_grad_enabled()
            with torch.enable_grad():  # a report needs the slope too
                x = x if x.requires_grad else x.detach().requires_grad_()  # a leaf of its own: the batch is the caller's
                answer = self._answer(x, given)
                (slope,) = torch.autograd.grad(self._one_logit(answer).sum(), x, create_graph=twice)
            outputs |= zip(names, answer.chunk(len(names)), strict=True)
            slopes |= _by_place(names, slope.reshape(len(answer), -1))
        return outputs, slopes

    def _passes(self, names: Collection[str]) -> Iterator[list[str]]:
        """Places that may go through the critic together: all whose slope is wanted, and all others."""
        if not self._row_wise:
            yield from ([name] for name in names)
            return
        for wanted in (True, False):
            group = [name for name in names if (name in self._sloped) == wanted]
            if group:
                yield group

    def _answer(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """The critic's outputs, ``(n, 1)`` or ``(n, classes)``, a row for each pack."""
        rows, width = len(x) // self.packing, self.classes or 1
        answer: Tensor = self.critic(x, condition)
        if answer.numel() != rows * width or len(answer) != rows:
            wanted = f"{self.classes} class logits" if self.classes else "one logit"
            raise ValueError(f"critic: its answer to {len(x)} rows has shape {tuple(answer.shape)}; expected {rows} rows of {wanted} each")
        return answer.reshape(rows, width)

    def _one_logit(self, answer: Tensor) -> Tensor:
        return answer.logsumexp(1) if self.classes else answer.reshape(-1)

    @contextmanager
    def _averages_move(self, player: str) -> Iterator[None]:
        """Running averages of batch norm move in their own player's first turn of a round alone, and never for a report."""
        first = torch.is_grad_enabled() and player not in self._seen
        still = [norm for other, norms in self._norms.items() if other != player or not first for norm in norms if norm.track_running_stats]
        try:
            for norm in still:
                norm.track_running_stats = False
            yield
        finally:
            for norm in still:
                norm.track_running_stats = True

    def _check(self, batch: Batch) -> None:
        if batch.mask is not None:
            raise ValueError("batch has a mask of missing values; an adversarial game needs complete rows: fill them in or leave them out")
        if len(batch.values) % self.packing:
            raise ValueError(
                f"packing={self.packing} does not divide the {len(batch.values)} rows of a batch; choose a batch size that it divides"
            )
        if self.classes and batch.label is not None:
            check_classes(batch.label, self.classes)


def _by_place(names: Sequence[str], slopes: Tensor) -> dict[tuple[str, ...], Tensor]:
    """The rows of each place, and of all of them together."""
    return {**{(name,): part for name, part in zip(names, slopes.chunk(len(names)), strict=True)}, tuple(names): slopes}


def _check_numbers(packing: int, instance_noise: float, classes: int | None, fade: tuple[float, int]) -> None:
    if not (len(fade) == 2 and 0 < fade[0] < float("inf") and fade[1] >= 1):
        raise ValueError(f"fade={fade!r}: expected a share above 0 that is left of the penalties' weights, and a number of rounds")
    if packing < 1:
        raise ValueError(f"packing={packing!r}: expected a whole number of at least 1, the examples that the critic sees side by side")
    if not 0 <= instance_noise < float("inf"):
        raise ValueError(f"instance_noise={instance_noise!r}: expected a standard deviation of at least 0")
    if classes is not None and classes < 2:
        raise ValueError(f"classes={classes!r}: expected at least 2, or None")
    if classes is not None and packing > 1:
        raise ValueError(f"packing={packing} with classes={classes}: a pack has no class of its own; use one of the two")
