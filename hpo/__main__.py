"""Entry point of `python -m hpo` and of the command `hpo`. Ctrl-C during imports ends without a traceback, too."""

import gc
import os
import signal
import sys


def main() -> int:
    """Run the command line of this process and return its exit code."""
    gc.set_threshold(100_000, 20, 20)  # from 700: ten thousand trials were looked through for garbage again and again
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else somebody ignores it, as nohup does
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends at once: in an import, an interrupt may become any other error
    from hpo.cli.main import main as command

    try:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return command()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    if not sys.flags.safe_path:  # `-m` puts the current folder first, where modules could shadow ours
        del sys.path[0]
        sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120  # pathlib is not here yet
    sys.exit(main())
