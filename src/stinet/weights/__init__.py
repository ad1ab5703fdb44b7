"""The weights inside the package: NAME.safetensors, its card NAME.md, and NAME.int8.json for the int8 engine."""

from pathlib import Path

__all__ = ["DEFAULT", "FOLDER"]

DEFAULT = "stinet-s-real"
"""The model where none is named: films that people have were blurred, resized and compressed."""

FOLDER = Path(__file__).parent
