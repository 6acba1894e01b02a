"""Long names, shorter."""

from pathlib import Path


def from_home(folder: Path) -> str:
    """`~/src/shop` for what lies in the user's folder."""
    home = Path.home()
    return str(folder) if not folder.is_relative_to(home) else str(Path("~") / folder.relative_to(home))
