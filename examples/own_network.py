"""Your own network from end to end: train a GRU in PyTorch, search its bit widths, run the result with integers.

    python examples/own_network.py [RUN_DIRECTORY]
    bittailor search examples/own_network.py:load --out runs/own      # the same through the command line
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import bittailor as bt


class DigitReader(nn.Module):
    """Reads an 8 x 8 image row by row, in both directions, and averages over the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 16, bidirectional=True, batch_first=True)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[items, 8, 8] -> [items, 10]"""
        states, _ = self.gru(x)
        return self.head(states.mean(1))


def load() -> tuple[nn.Module, bt.Splits]:
    """The trained module and its data."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16).reshape(-1, 8, 8).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    train, valid, test = (bt.Data(x[part], y[part]) for part in np.split(order, [1000, 1400]))
    torch.manual_seed(0)
    model = DigitReader()
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(40):
        for batch in torch.randperm(len(train)).split(100):
            x_batch, y_batch = torch.from_numpy(train.x[batch]), torch.from_numpy(train.y[batch])
            loss = nn.functional.cross_entropy(model(x_batch), y_batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval(), bt.Splits(train, valid, test)


def main() -> None:
    """Search, pick, run."""
    model, data = load()
    out = sys.argv[1] if len(sys.argv) > 1 else "runs/own"
    run = bt.run_search(bt.from_torch(model), data, out,
                        bt.SearchSpec(search=bt.SearchSettings(population=40, generations=10)))
    base, best = run.baseline(8), run.pick("careful")
    print(f"homogeneous 8 bits: {base.values['size'] / 8:.0f} bytes, test error {base.test:.1f} %")
    print(f"found:              {best.values['size'] / 8:.0f} bytes, test error {best.test:.1f} %")
    program = run.program(best)
    y = bt.ENGINES[bt.best_engine()].run(program, program.quantise_input(data.test.x))
    print(f"integers say:       {100 * np.mean(y.argmax(-1) != data.test.y):.1f} %")


if __name__ == "__main__":
    main()
