"""Critics that look at several examples at once: what makes a lack of variety visible to them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["MinibatchDeviation", "Packed", "row_wise", "unpacked"]


class Packed(nn.Module):
    """A critic of m examples side by side: rows i·m … i·m + m − 1 become one row, joined along the first axis of an example.

    Tables ``(n, d)`` become ``(n/m, m·d)``, pictures ``(n, c, h, w)`` become ``(n/m, m·c, h, w)``, and a condition likewise, so the inner
    critic is built with m times the columns or channels. Of independent examples the best critic knows the ratio of the laws of m,
    which differ more where a mode is lost than those of one.

    Parameters
    ----------
    critic : nn.Module
        Called ``critic(x, condition)`` with packs; one logit a pack.
    m : int
        Examples in a pack.

    Raises
    ------
    ValueError
        For ``m`` below 1, and in ``forward`` for a number of rows that ``m`` does not divide.

    References
    ----------
    Lin, Khetan, Fanti & Oh 2018, "PacGAN: the power of two samples in generative adversarial networks".

    Examples
    --------
    >>> from equilibria.networks.mlp import MLP
    >>> from equilibria.random import Stream
    >>> critic = Packed(MLP((2 * 3, 8, 1), stream=Stream(0)), m=2)
    >>> critic(torch.zeros(10, 3)).shape
    torch.Size([5, 1])
    """

    def __init__(self, critic: nn.Module, m: int):
        super().__init__()
        if m < 1:
            raise ValueError(f"packing={m!r}: expected a whole number of at least 1, the examples that the critic sees side by side")
        self.critic = critic
        self.m = int(m)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The critic's answer to each pack: ``(n/m, …)`` for ``x`` ``(n, …)``."""
        answer: Tensor = self.critic(self._packs(x), None if condition is None else self._packs(condition))
        return answer

    def features(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """What the inner critic's last layer sees of each row in a pack of its own copies, ``(n, width)``."""
        inner = self.critic.features
        assert callable(inner)
        features: Tensor = inner(*self._copies(x, condition))
        return features

    def of_one(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """1/m of the answer to m copies of each row, ``(n, …)``: of the best critic log p_data/p_g of the row, as without packing."""
        answer: Tensor = self.critic(*self._copies(x, condition))
        return answer / self.m

    def _copies(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor | None]:
        copies = [part if part is None else self._packs(part.repeat_interleave(self.m, 0)) for part in (x, condition)]
        assert copies[0] is not None
        return copies[0], copies[1]

    def _packs(self, x: Tensor) -> Tensor:
        if len(x) % self.m:
            raise ValueError(
                f"x has {len(x)} rows, which packs of {self.m} do not divide; choose a batch size that is a multiple of {self.m}"
            )
        joined = (self.m * x.shape[1], *x.shape[2:]) if x.dim() > 1 else (self.m,)
        return x.reshape(len(x) // self.m, *joined)


class MinibatchDeviation(nn.Module):
    """One more column or channel that says how far the rows of a group differ: their standard deviation, averaged over everything.

    With s_j the standard deviation (without Bessel's correction) of feature j over the rows of a group, every row of the group gets
    mean_j s_j as its last column ``(n, d + 1)`` or as a constant last channel ``(n, c + 1, h, w)``. Samples too much alike show by it.

    Parameters
    ----------
    critic : nn.Module, optional
        What the wider rows are handed to, with the condition; built for one more column or channel. Without it they are the output, so
        that the module may stand before the last layer of any network, as in the paper.
    group : int, optional
        Rows in a group, which must divide the batch; the whole batch by default.

    Attributes
    ----------
    across_rows : bool
        True: a row's answer depends on the rows beside it, so the game may not put real and generated rows in one pass.

    Raises
    ------
    ValueError
        For ``group`` below 2, and in ``forward`` where it does not divide the rows.

    References
    ----------
    Karras, Aila, Laine & Lehtinen 2018, "Progressive growing of GANs", section 3.

    Examples
    --------
    >>> MinibatchDeviation()(torch.tensor([[0.0, 0.0], [2.0, 4.0]]))
    tensor([[0.0000, 0.0000, 1.5000],
            [2.0000, 4.0000, 1.5000]])
    """

    across_rows = True

    def __init__(self, critic: nn.Module | None = None, group: int | None = None):
        super().__init__()
        if group is not None and group < 2:
            raise ValueError(f"group={group!r}: expected at least 2 rows, or None for the whole batch")
        self.critic = critic
        self.group = group

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """``x`` with its new column or channel, or the critic's answer to it."""
        wider = self._wider(x)
        answer: Tensor = wider if self.critic is None else self.critic(wider, condition)
        return answer

    def features(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """What the inner critic's last layer sees of the wider rows, ``(n, width)``."""
        inner = getattr(self.critic, "features", None)
        assert callable(inner)
        features: Tensor = inner(self._wider(x), condition)
        return features

    def _wider(self, x: Tensor) -> Tensor:
        size = self.group or len(x)
        if len(x) % size:
            raise ValueError(f"x has {len(x)} rows, which groups of {size} do not divide; choose a batch size that is a multiple of {size}")
        groups = x.reshape(len(x) // size, size, -1)
        # the root's slope is infinite at 0, where all rows of a group are alike; the small number costs a picture nothing
        deviation = (groups.var(1, correction=0) + 1e-8).sqrt().mean(1)
        column = deviation.repeat_interleave(size).reshape(-1, *(1 for _ in x.shape[1:]))
        return torch.cat([x, column.expand(len(x), 1, *x.shape[2:])], dim=1)


def unpacked(critic: nn.Module) -> nn.Module:
    """The critic of one pack, whether it is wrapped or not."""
    return critic.critic if isinstance(critic, Packed) else critic


def row_wise(module: nn.Module) -> bool:
    """Whether a row's answer depends on that row alone: no batch norm, and no part that says ``across_rows = True``.

    Examples
    --------
    >>> row_wise(nn.Linear(2, 1)), row_wise(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    (True, False)
    """
    return not any(isinstance(part, nn.modules.batchnorm._BatchNorm) or getattr(part, "across_rows", False) for part in module.modules())
