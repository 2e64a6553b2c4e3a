"""A critic that also tells classes: what its labelled examples cost it, and how many it gets wrong."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

__all__ = ["check_classes", "class_cost", "class_errors"]


def check_classes(label: Tensor, classes: int) -> None:
    """Refuse labels that are neither a class number nor −1, which says that it is missing.

    Raises
    ------
    ValueError
        Saying what came. Labels on a device are taken as they are: looking at them would halt it in every round.

    Examples
    --------
    >>> import torch
    >>> check_classes(torch.tensor([0, 2, -1]), 3)
    """
    if label.device.type == "cpu" and not bool(((label >= -1) & (label < classes) & (label == label.round())).all()):
        found = f"label from {label.min().item():g} to {label.max().item():g}"
        raise ValueError(f"{found}: expected whole numbers from 0 to {classes - 1}, or −1 where it is missing")


def class_cost(logits: Tensor, label: Tensor | None) -> Tensor:
    """Mean −log softmax(logits)[label] over the labelled rows, a scalar; 0 where there are none.

    Examples
    --------
    >>> import torch
    >>> class_cost(torch.zeros(3, 2), torch.tensor([0, 1, -1]))
    tensor(0.6931)
    """
    if label is None:
        return logits.new_zeros(())
    return cross_entropy(logits, label.long(), ignore_index=-1, reduction="sum") / (label >= 0).sum().clamp(min=1)


def class_errors(logits: Tensor, label: Tensor | None) -> dict[str, Tensor]:
    """``class_error``, the share of labelled rows that are given another class (0 where none is), and ``labelled``, their share of all."""
    if label is None:
        return {"class_error": logits.new_zeros(()), "labelled": logits.new_zeros(())}
    known = label >= 0
    wrong = known & (logits.argmax(1) != label.long())
    return {"class_error": wrong.sum() / known.sum().clamp(min=1), "labelled": known.to(logits.dtype).mean()}
