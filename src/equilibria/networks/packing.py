"""Critics that judge several examples at once: what makes a lack of variety visible to them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from equilibria.networks.normalisation import batch_norms

__all__ = ["Packed", "row_wise"]


class Packed(nn.Module):
    """A critic of m examples side by side: rows i·m … i·m + m − 1 become one row.

    Tables ``(n, d)`` become ``(n/m, m·d)``, pictures ``(n, c, h, w)`` become ``(n/m, m·c, h, w)``,
    and a condition likewise, so the inner critic is built with m times the columns or channels. Of
    independent examples the best critic knows the ratio of the distributions of m, which differ
    more where a mode is lost than those of one (Lin, Khetan, Fanti & Oh 2018, "PacGAN: the power of
    two samples in generative adversarial networks").

    >>> import torch
    >>> from equilibria.networks import MLP
    >>> from equilibria.random import Stream
    >>> critic = Packed(MLP((2 * 3, 8, 1), stream=Stream(0)), m=2)
    >>> critic(torch.zeros(10, 3)).shape
    torch.Size([5, 1])
    """

    critic: Any

    def __init__(self, critic: nn.Module, m: int):
        super().__init__()
        self.critic, self.m = critic, m

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The critic's answer to each pack: ``(n/m, …)`` for ``x`` ``(n, …)``."""
        given = None if condition is None else self._packs(condition)
        return self.critic(self._packs(x), given)

    def features(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """What the inner critic's last layer sees of each row in a pack of its own copies."""
        return self.critic.features(*self._copies(x, condition))

    def of_one(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """1/m of the answer to m copies of each row, ``(n, …)``.

        Of the best critic it is log p_data/p_g of the row, as without packing.
        """
        return self.critic(*self._copies(x, condition)) / self.m

    def _copies(self, *rows: Tensor | None) -> list[Tensor | None]:
        return [x if x is None else self._packs(x.repeat_interleave(self.m, 0)) for x in rows]

    def _packs(self, x: Tensor) -> Tensor:
        joined = (self.m * x.shape[1], *x.shape[2:]) if x.dim() > 1 else (self.m,)
        return x.reshape(len(x) // self.m, *joined)


def row_wise(module: nn.Module) -> bool:
    """Whether a row's answer depends on that row alone.

    Batch norm, and any part that says ``across_rows = True``, look across rows.
    """
    across = any(getattr(part, "across_rows", False) for part in module.modules())
    return not across and not batch_norms(module)
