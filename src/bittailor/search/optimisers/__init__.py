"""Optimisers: search methods by ask and tell. To add one, write a subclass of `Optimiser` and add it to the table.

pymoo is imported in this room only (and for hypervolume), and only when a search starts.
"""

from __future__ import annotations

from bittailor.common.registry import Table
from bittailor.search.optimisers.base import Optimiser
from bittailor.search.optimisers.nsga2 import Nsga2
from bittailor.search.optimisers.smsemoa import SmsEmoa
from bittailor.search.optimisers.unsga3 import UNsga3

OPTIMISERS: Table[type[Optimiser]] = Table("optimiser", {
    "nsga2": Nsga2,
    "unsga3": UNsga3,
    "smsemoa": SmsEmoa,
})
