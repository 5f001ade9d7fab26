"""The metrics there are, from the code."""

from __future__ import annotations

from bittailor.evaluate.metrics import METRICS
from tables.common import markdown_table

PER = {False: "an item", True: "a step", None: "an item or a step"}


def metrics() -> str:
    """One row a metric."""
    rows = []
    for name, metric in METRICS.items():
        loss = metric.loss
        assert loss is not None
        title = f"{metric.title} [{metric.unit}]" if metric.unit else metric.title
        rows.append([f"`{name}`", title, "more" if metric.maximise else "less", PER[loss.per_step], loss.takes])
    return markdown_table(["metric", "what", "better", "an output for", "targets, `Data.y`"], rows)


TABLES = {"metrics": metrics}
