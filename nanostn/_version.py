"""The version of nanostn: the one place that states it."""

version = "0.1.0"
