"""Optimisers and schedules of the learning rate, by the names under which they are public."""

from nanostn.optimisers import SGD, Adam, AdamW, Optimiser, clip_gradients
from nanostn.schedules import CosineDecay, GroupWarmUp, LinearWarmUp, Schedule, StepDecay

__all__ = [
    "SGD", "Adam", "AdamW", "CosineDecay", "GroupWarmUp", "LinearWarmUp", "Optimiser", "Schedule", "StepDecay",
    "clip_gradients",
]
