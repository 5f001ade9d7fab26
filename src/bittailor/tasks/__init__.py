"""Data sets with a float network each. One file per task, one line per task below."""

from __future__ import annotations

from bittailor.common.registry import Table
from bittailor.tasks.adding import ADDING
from bittailor.tasks.base import Recipe, Task
from bittailor.tasks.digits import DIGITS
from bittailor.tasks.enhance import ENHANCE
from bittailor.tasks.mnist import MNIST
from bittailor.tasks.mnist1d import MNIST1D
from bittailor.tasks.pendigits import PENDIGITS
from bittailor.tasks.phones import PHONES
from bittailor.tasks.spoken_digits import SPOKEN_DIGITS
from bittailor.tasks.timit import TIMIT
from bittailor.tasks.vowels import VOWELS

__all__ = ["TASKS", "Recipe", "Task"]

TASKS: Table[Task] = Table("task", {
    "digits": DIGITS,
    "mnist": MNIST,
    "spoken-digits": SPOKEN_DIGITS,
    "vowels": VOWELS,
    "mnist1d": MNIST1D,
    "pendigits": PENDIGITS,
    "adding": ADDING,
    "phones": PHONES,
    "timit": TIMIT,
    "enhance": ENHANCE,
})
