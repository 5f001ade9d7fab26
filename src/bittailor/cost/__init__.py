"""Cost models: from a plan or a program to a figure of size or hardware."""

from bittailor.cost.hardware import FIGURES, Figure, Platform, Workload
from bittailor.cost.platform_file import load_platform, parse_platform, shipped
from bittailor.cost.size import Account, account, parameter_bits

PLATFORMS = shipped()
"""The hardware platforms that the package brings, by name: one TOML file each."""

__all__ = ["FIGURES", "PLATFORMS", "Account", "Figure", "Platform", "Workload", "account", "load_platform",
           "parameter_bits", "parse_platform"]
