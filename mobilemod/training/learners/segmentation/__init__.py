"""Networks that give a class for each pixel."""

from mobilemod.training.learners.segmentation.learner import LEARNER

__all__ = ["LEARNER"]
