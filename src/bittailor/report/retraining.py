"""What retraining did: the table of retrained networks, and a figure of their training."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bittailor.report.facts import Facts, number
from bittailor.report.style import GREY, ORANGE, RETRAINED, Drawing, scale
from bittailor.train.beacons import Beacon


def trained(facts: Facts) -> list[Beacon]:
    """The retrained networks with figures, by size, then the failed ones."""
    good = [b for b in facts.beacons.values() if "after" in b.about["figures"]]
    return [*sorted(good, key=lambda b: (b.about["figures"]["after"]["size"], b.name)),
            *(b for b in facts.beacons.values() if b.failed is not None)]


def rows(facts: Facts) -> tuple[list[str], list[list[Any]]]:
    """Column names and rows, for CSV; values as stored."""
    header = ["name", "kind", "label", "parent", "serves_on_front", "size_bits", "error_before", "error_after",
              "loss_before", "loss_after", "test_before", "test_after", "epochs", "seconds", "failed"]
    body = []
    for b in trained(facts):
        figures = b.about["figures"]
        before, after = figures.get("before", {}), figures.get("after", {})
        serves = sum(s.beacon == b.name for s in facts.front)
        body.append([b.name, b.about["kind"], b.about["label"], b.about["parent"], serves, after.get("size"),
                     before.get("error"), after.get("error"), before.get("loss"), after.get("loss"),
                     figures.get("test_before"), figures.get("test"), len(b.about["history"]), b.about["seconds"],
                     b.failed])
    return header, body


def shown(facts: Facts) -> tuple[list[str], list[list[str]]]:
    """Column names and rows, for people."""
    unit = f" [{facts.error.unit}]" if facts.error.unit else ""
    header = ["network", "why", "trained from", "serves on the front", "of 8 bit [%]", f"validation{unit}", "loss",
              f"test{unit}", "epochs", "seconds"]
    why = {"beacon": "beacon", "rung": "rung", "polish": "polish", "retrained": "asked for"}
    body = []
    for row, b in zip(rows(facts)[1], trained(facts), strict=True):
        _, kind, label, parent, serves, size, e0, e1, l0, l1, t0, t1, epochs, seconds, failed = row
        said = why[kind] if kind == "polish" else f"{why[kind]}, {label}"
        if failed is not None:
            body.append([b.name, said, parent or "float network", f"failed: {failed}", *[""] * 6])
            continue
        body.append([b.name, said, parent or "float network", str(serves),
                     f"{100 * size / facts.base.values['size']:.0f}", _change(e0, e1), _change(l0, l1),
                     _change(t0, t1), str(epochs), number(seconds)])
    return header, body


def _change(before: float | None, after: float | None) -> str:
    return f"{number(before)} → {number(after)}"


def curves(facts: Facts) -> Drawing:
    """Training losses, and error before and after against size."""
    good = [b for b in trained(facts) if b.failed is None]
    if not good:
        return "Nothing was retrained: bittailor search … --retrain, or bittailor retrain RUN --pick …"
    figure = Figure(figsize=(10.4, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    size, error, seen = facts.axes["size"], facts.error, set()
    for b in good:
        kind = str(b.about["kind"])
        how = {"color": RETRAINED[kind], "label": None if kind in seen else kind}
        seen.add(kind)
        history = b.about["history"]
        left.plot([h["epoch"] for h in history], [h["loss"] for h in history], lw=1.4, alpha=0.85, **how)
        figures = b.about["figures"]
        x = figures["after"]["size"] / size.divisor
        before, after = (figures[n]["error"] / error.divisor for n in ("before", "after"))
        colour = RETRAINED[kind]
        right.annotate("", (x, after), (x, before), arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.3})
        right.plot([x], [before], "o", mfc="white", mec=colour, ms=5.5, zorder=3)
        right.plot([x], [after], "o", color=colour, ms=5.5, zorder=4)
    front = sorted((size.of(s), error.of(s)) for s in facts.front)
    right.step([x for x, _ in front], [y for _, y in front], where="post", color=GREY, lw=1.2, label="front", zorder=1)
    right.axhline(error.of(facts.base), color=ORANGE, lw=1.2, ls=(0, (4, 3)), label="homogeneous 8 bit", zorder=1)
    everything = [figures[n] for b in good for figures in [b.about["figures"]] for n in ("before", "after")]
    scale(left, "y", [h["loss"] for b in good for h in b.about["history"]])
    scale(right, "y", [v["error"] / error.divisor for v in everything] + [y for _, y in front] + [error.of(facts.base)])
    scale(right, "x", [v["size"] / size.divisor for v in everything] + [x for x, _ in front])
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set(xlabel="epoch", ylabel="training loss")
    right.set(xlabel=size.label, ylabel=error.label)
    handles, labels = left.get_legend_handles_labels()
    more = right.get_legend_handles_labels()
    figure.legend([*handles, *more[0]], [*labels, *more[1]], loc="outside lower center", ncols=5)
    return figure
