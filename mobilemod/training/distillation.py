"""Learning another network's answers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def divergence(outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(teacher, student) of (B, classes) at a temperature t, times t^2, the mean over the batch.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015.
    """
    t = temperature
    student, target = F.log_softmax(outputs / t, 1), F.log_softmax(teacher / t, 1)
    return t * t * F.kl_div(student, target, reduction="batchmean", log_target=True)
