"""A critic's layer that looks at the whole batch: what makes a lack of variety visible to it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["MinibatchDeviation"]


class MinibatchDeviation(nn.Module):
    """One more column or channel: the mean standard deviation over the rows of a group.

    With s_j the standard deviation (without Bessel's correction) of feature j over the rows of a
    group, every row of the group gets mean_j s_j as its last column ``(n, d + 1)`` or as a constant
    last channel ``(n, c + 1, h, w)``. Samples too much alike show by it.

    Parameters
    ----------
    critic : nn.Module, optional
        What the wider rows are handed to, with the condition; built for one more column or channel.
        Without it they are the output, so that the module may stand before the last layer of any
        network, as in the paper.
    group : int, optional
        Rows in a group, which must divide the batch; the whole batch by default.

    Attributes
    ----------
    across_rows : bool
        True: a row's answer depends on the rows beside it, so the game may not put real and
        generated rows in one pass.

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
            raise ValueError(
                f"group={group!r}: expected at least 2 rows, or None for the whole batch"
            )
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
            raise ValueError(f"x has {len(x)} rows, which groups of {size} do not divide")
        groups = x.reshape(len(x) // size, size, -1)
        # the root's slope is infinite at 0, where all rows of a group are alike
        deviation = (groups.var(1, correction=0) + 1e-8).sqrt().mean(1)
        column = deviation.repeat_interleave(size).reshape(-1, *(1 for _ in x.shape[1:]))
        return torch.cat([x, column.expand(len(x), 1, *x.shape[2:])], dim=1)
