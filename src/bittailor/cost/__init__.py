"""Cost models: from a plan or a program to a figure of size or hardware."""

from bittailor.cost.size import Account, account, parameter_bits

__all__ = ["Account", "account", "parameter_bits"]
