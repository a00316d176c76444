"""Commands called in this process, for tests with hundreds of them; none of them trains."""

from __future__ import annotations

import contextlib
import io

from hpo.cli.main import main


def in_process(*words: object) -> tuple[int, str, str]:
    """Run a command line and return exit code, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return code, out.getvalue(), err.getvalue()
