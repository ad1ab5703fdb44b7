"""`python -m stinet` and the `stinet` command.

Waiting threads are told to sleep before anything can load torch. Every error that is the caller's to mend becomes one
line on stderr and its exit code (`errors.py`); anything else is our own bug and shows its traceback.
"""

import errno
import sys
from typing import NoReturn

from stinet.errors import Interrupted, StinetError
from stinet.runtime import ended_at_once, prepare_process

INTERRUPTED = 130
NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


def command() -> NoReturn:
    """Be the process of the `stinet` command."""
    with ended_at_once():
        main()


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    prepare_process()
    said = ""
    try:
        from stinet.cli import app

        app(prog_name="stinet")
        code = 0
    except StinetError as error:
        code = _complain(str(error), error.exit_code)
    except KeyboardInterrupt as wish:
        code, said = INTERRUPTED, str(wish)
    except SystemExit as end:
        code, said = end.code, _wish(end)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        code = _complain(f"{error.filename or 'output'}: no space left on the disk; free some or choose another", 4)
    if code == INTERRUPTED:
        _complain(said or "interrupted", INTERRUPTED)
    sys.exit(code)


def _wish(end: BaseException) -> str:
    """What an `Interrupted` said that the command line turned into an exit."""
    cause: BaseException | None = end
    seen: set[int] = set()  # causes may stand in a circle
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, Interrupted):
            return str(cause)
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return ""


def _complain(message: str, code: int) -> int:
    """Say it in one line, whatever the message holds."""
    if sys.stderr is None:  # started without one
        return code
    line = " ".join(f"stinet: {message}".split())
    encoding = sys.stderr.encoding or "ascii"
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)
    return code


if __name__ == "__main__":
    command()
