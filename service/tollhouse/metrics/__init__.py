"""Prometheus metrics of one process: `metrics` names them, `pending` counts those of hot paths cheaply."""

from tollhouse.metrics.metrics import FAMILIES_MAX, Metrics
from tollhouse.metrics.pending import FLUSH_S

__all__ = ["FAMILIES_MAX", "FLUSH_S", "Metrics"]
