"""The command line: parse, build one config, call one function, print.

Arguments and files are checked before torch is loaded, so a wrong call fails within the first second and `--help` is
quick. Errors are raised as `StinetError` and printed by `__main__`. Progress goes to stderr, results to stdout.

Knows nothing of how a video is upscaled, a model measured or trained; rich and typer are loaded nowhere else.
"""

from stinet.cli.root import app

__all__ = ["app"]
