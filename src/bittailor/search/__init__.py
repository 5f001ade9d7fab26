"""Optimisers, executors and the front of a space: a search that knows neither networks nor tasks; see `search`."""

from __future__ import annotations

from bittailor.search.executors import Executor, Given, InProcess, Processes, make_executor
from bittailor.search.front import Front, ReferenceBox, hypervolume, knee, nondominated, signs, smallest_within
from bittailor.search.loop import Result, Status, search
from bittailor.search.optimisers import OPTIMISERS
from bittailor.search.optimisers.base import Optimiser
from bittailor.search.optimisers.operators import CROSSOVERS, MUTATIONS
from bittailor.search.settings import SearchSettings
from bittailor.search.space import Gene, Genome, Space, WidthGene
from bittailor.search.store import Outcome, Store

__all__ = ["CROSSOVERS", "MUTATIONS", "OPTIMISERS", "Executor", "Front", "Gene", "Genome", "Given", "InProcess",
           "Optimiser", "Outcome", "Processes", "ReferenceBox", "Result", "SearchSettings", "Space", "Status", "Store",
           "WidthGene", "hypervolume", "knee", "make_executor", "nondominated", "search", "signs", "smallest_within"]
