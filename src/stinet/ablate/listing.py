"""Every row of the paper's tables as lines: table, row, the name of its edit, what it changes, why it cannot run."""

from stinet.ablate.rows import EDITS, ROWS, Edit, OfFull, Share, missing
from stinet.config import LossConfig, TrainConfig

__all__ = ["changes_in_words", "lines"]

_NUMERALS = {"1": "I", "2": "II", "3": "III", "4": "IV", "5": "V", "6": "VI", "fig7": "Fig. 7"}


def lines(*, has_vgg: bool) -> list[tuple[str, ...]]:
    """A head, and a line for every row."""
    base = TrainConfig(loss=LossConfig(vgg="given" if has_vgg else ""))
    found: list[tuple[str, ...]] = [("table", "row", "--rows", "Vid4, paper", "changes")]
    for row in ROWS:
        edit = EDITS[row.edit]
        figures = f"{row.paper['vid4'][0]:.2f} / {row.paper['vid4'][1]:.4f}" if row.paper else "-"
        lacking = missing(edit, base)
        words = "; ".join(
            word for word in (changes_in_words(edit), f"cannot run: {lacking}" if lacking else "") if word
        )
        measured = f" (--between {row.between})" if row.between > 1 else ""
        found.append((_NUMERALS[row.table], row.label, row.edit, figures, f"{words or 'nothing'}{measured}"))
    return found


def changes_in_words(edit: Edit) -> str:
    """`model.relate none, loss.motion x0.5`."""
    return ", ".join(f"{name} {_word(value)}" for name, value in edit.changes.items())


def _word(value: object) -> str:
    if isinstance(value, Share):
        return f"x{value.of_full:g}"
    if isinstance(value, OfFull):
        return "as the full model's"
    return str(value).lower() if isinstance(value, bool) else str(value)
