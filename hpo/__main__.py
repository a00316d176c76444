"""python -m hpo, and the command `hpo`. Ctrl-C while the rest is still being imported ends without a traceback, too."""

import sys


def main() -> int:
    """Run the command line of this process and return its exit code."""
    try:
        from hpo.cli import main as command

        return command()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
