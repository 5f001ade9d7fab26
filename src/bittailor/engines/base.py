"""What an engine is: it runs programs over batches of sequences. All engines are equal to the bit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from numpy.typing import ArrayLike

from bittailor.core.arith import Ints
from bittailor.core.program import Program


class Engine(ABC):
    """Runs programs. Stateless between calls as far as results go."""

    name: str
    threaded: bool = False
    """`run_many` uses several cores by itself; otherwise a search puts one process on each."""

    @property
    def words(self) -> str:
        """What it is here, for people; only of one that is available."""
        return self.name

    @abstractmethod
    def available(self) -> str | None:
        """None if it can run here, otherwise one line that says what to install."""

    @abstractmethod
    def run(self, program: Program, q: ArrayLike, lengths: ArrayLike | None = None) -> Ints:
        """The output integers.

        q        input integers in the program's input format, [items, steps, features]
        lengths  [items], 1..steps; all steps where not given
        Returns [items, steps, features] or, if the network ends in one value per item, [items, features].
        Raises DataError for shapes or values that do not fit.
        """

    def run_many(self, programs: Sequence[Program], q: ArrayLike, lengths: ArrayLike | None = None) -> list[Ints]:
        """`run` for several programs over the same input; an engine may do them at once."""
        return self.run_jobs([(program, q) for program in programs], lengths)

    def run_jobs(self, jobs: Sequence[tuple[Program, ArrayLike]], lengths: ArrayLike | None = None) -> list[Ints]:
        """`run` for pairs of a program and its own input integers (their widths may differ); an engine may do them at
        once. Pass the same array object for the same input: it need be checked only once."""
        return [self.run(program, q, lengths) for program, q in jobs]
