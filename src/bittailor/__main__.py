"""`python -m bittailor`, and the command `bittailor`: signals are looked after before anything heavy is imported."""

from __future__ import annotations

from bittailor.common import interrupts


def main() -> None:
    """Run the command line."""
    interrupts.install()
    from bittailor.cli.main import main as command_line

    command_line()


if __name__ == "__main__":
    main()
