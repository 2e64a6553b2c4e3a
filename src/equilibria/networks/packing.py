"""Critics that judge several examples at once: what makes a lack of variety visible to them."""

from __future__ import annotations

from torch import Tensor, nn

from equilibria.check import whole
from equilibria.networks.normalisation import batch_norms

__all__ = ["Packed", "row_wise", "unpacked"]


class Packed(nn.Module):
    """A critic of m examples side by side: rows i·m … i·m + m − 1 become one row.

    Examples are joined along their first axis. Tables ``(n, d)`` become ``(n/m, m·d)``, pictures
    ``(n, c, h, w)`` become ``(n/m, m·c, h, w)``, and a condition likewise, so the inner critic is
    built with m times the columns or channels. Of independent examples the best critic knows the
    ratio of the distributions of m, which differ more where a mode is lost than those of one.

    Parameters
    ----------
    critic : nn.Module
        Called ``critic(x, condition)`` with packs; one logit a pack.
    m : int
        Examples in a pack; it divides the number of rows.

    References
    ----------
    Lin, Khetan, Fanti & Oh 2018, "PacGAN: the power of two samples in generative adversarial
    networks".

    Examples
    --------
    >>> import torch
    >>> from equilibria.networks.mlp import MLP
    >>> from equilibria.random import Stream
    >>> critic = Packed(MLP((2 * 3, 8, 1), stream=Stream(0)), m=2)
    >>> critic(torch.zeros(10, 3)).shape
    torch.Size([5, 1])
    """

    def __init__(self, critic: nn.Module, m: int):
        super().__init__()
        self.critic = critic
        self.m = whole(1)("packing", m)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The critic's answer to each pack: ``(n/m, …)`` for ``x`` ``(n, …)``."""
        given = None if condition is None else self._packs(condition)
        answer: Tensor = self.critic(self._packs(x), given)
        return answer

    def features(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """What the inner critic's last layer sees of each row in a pack of its own copies."""
        inner = self.critic.features
        assert callable(inner)
        features: Tensor = inner(*self._copies(x, condition))
        return features

    def of_one(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """1/m of the answer to m copies of each row, ``(n, …)``.

        Of the best critic it is log p_data/p_g of the row, as without packing.
        """
        answer: Tensor = self.critic(*self._copies(x, condition))
        return answer / self.m

    def _copies(self, x: Tensor, condition: Tensor | None) -> list[Tensor | None]:
        both = (x, condition)
        return [y if y is None else self._packs(y.repeat_interleave(self.m, 0)) for y in both]

    def _packs(self, x: Tensor) -> Tensor:
        joined = (self.m * x.shape[1], *x.shape[2:]) if x.dim() > 1 else (self.m,)
        return x.reshape(len(x) // self.m, *joined)


def unpacked(critic: nn.Module) -> nn.Module:
    """The critic of one pack, whether it is wrapped or not."""
    return critic.critic if isinstance(critic, Packed) else critic


def row_wise(module: nn.Module) -> bool:
    """Whether a row's answer depends on that row alone.

    Batch norm, and any part that says ``across_rows = True``, look across rows.

    Examples
    --------
    >>> row_wise(nn.Linear(2, 1)), row_wise(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    (True, False)
    """
    across = any(getattr(part, "across_rows", False) for part in module.modules())
    return not across and not batch_norms(module)
