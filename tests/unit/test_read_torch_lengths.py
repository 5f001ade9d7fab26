"""from_torch: sequences of different lengths, gathered, packed or given to the layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bittailor import nn as own
from bittailor.errors import UnsupportedNetwork
from bittailor.read import from_torch
from torch_models import HIDDEN, IN, LENGTHS, MaybeLengths, WithLengths, both, data, gru, head, lstm, run


def last_valid(m, x, lengths):
    return m.head(m.gru(x)[0][torch.arange(x.size(0)), lengths - 1])


def gathered(m, x, lengths):
    out = m.gru(x)[0]
    return m.head(out.gather(1, (lengths - 1).view(-1, 1, 1).expand(-1, 1, out.size(2))).squeeze(1))


def along(m, x, lengths):
    return m.head(torch.take_along_dim(m.gru(x)[0], (lengths - 1)[:, None, None], dim=1)[:, 0])


def packed_states(m, x, lengths):
    h = m.gru(pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False))[1]
    return m.head(torch.cat([h[-2], h[-1]], 1))


def packed_sequence(m, x, lengths):
    packed = pack_padded_sequence(x, lengths, batch_first=True)
    out, _ = pad_packed_sequence(m.gru(packed)[0], batch_first=True)
    return m.head(out)


def last_or_gathered(m, x, lengths):
    out, _ = m.gru(x)
    return m.head(out[:, -1] if lengths is None else out[torch.arange(len(x)), lengths - 1])


def states_or_packed(m, x, lengths):
    if lengths is not None:
        x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    return m.head(both(m.gru(x)[1]))


def given_lengths(m, x, lengths):
    return m.head(both(m.gru(x, lengths)[1]))


@pytest.mark.parametrize("layer", [own.GRUCho, own.LiGRU, own.MinGRU, own.SRU])
@pytest.mark.parametrize("forward", [packed_states, packed_sequence, given_lengths])
def test_lengths_of_other_cells(layer, forward):
    module = WithLengths(forward, gru=layer(IN, HIDDEN, 2, bidirectional=True), head=head(2 * HIDDEN))
    network = from_torch(module)
    want, got = run(module, data(), lengths=torch.tensor(LENGTHS)), network(data(), LENGTHS)
    if got.ndim == 3:
        mask = np.arange(6)[None, :] < LENGTHS[:, None]
        want, got = want[mask], got[mask]
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_an_lstm_over_packed_sequences():
    def forward(m, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True)
        return torch.cat([m.l(packed)[1][0][-1], m.l(packed)[1][1][-2]], -1)

    module = WithLengths(forward, l=lstm(2, 2, proj_size=3))
    want = run(module, data(), lengths=torch.tensor(LENGTHS))
    np.testing.assert_allclose(from_torch(module)(data(), LENGTHS), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kind", "forward", "directions"), [
    (WithLengths, last_valid, 1), (WithLengths, gathered, 1), (WithLengths, along, 1),
    (WithLengths, packed_states, 2), (WithLengths, packed_sequence, 2),
    (MaybeLengths, last_valid, 1), (MaybeLengths, last_or_gathered, 1), (MaybeLengths, states_or_packed, 2),
    (WithLengths, states_or_packed, 2),
])
def test_lengths(kind, forward, directions):
    module = kind(forward, gru=gru(1, directions), head=head(directions * HIDDEN))
    network = from_torch(module)
    want = run(module, data(), lengths=torch.tensor(LENGTHS))
    got = network(data(), LENGTHS)
    if got.ndim == 3:  # beyond an item's length nothing is promised
        mask = np.arange(6)[None, :] < LENGTHS[:, None]
        want, got = want[mask], got[mask]
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_padding_that_leaks_is_refused():
    module = MaybeLengths(last_or_gathered, gru=gru(1, 2), head=head(2 * HIDDEN))
    with pytest.raises(UnsupportedNetwork, match=r"with sequences of different lengths"):
        from_torch(module)
