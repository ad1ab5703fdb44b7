"""What training needs beyond the package itself; looked for before anything heavy is loaded.

This file loads neither torch nor what it looks for.
"""

from importlib.util import find_spec

from stinet.errors import StinetError

__all__ = ["has_tensorboard", "require_extras"]

REMEDY = "pip install 'stinet[train]'"


def require_extras() -> None:
    """Refuse to train without Lightning Fabric.

    Raises:
        StinetError: it is not installed; with the remedy.

    """
    if find_spec("lightning_fabric") is None:
        raise StinetError(f"training needs Lightning Fabric, which is not installed: {REMEDY}")


def has_tensorboard() -> bool:
    """Whether event files can be written."""
    return find_spec("tensorboard") is not None
