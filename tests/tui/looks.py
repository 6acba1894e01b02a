"""How every screen is pictured, empty, reading, in error and full: narrow and wide, dark and light."""

import pytest

LIGHT = "textual-light"
LOOKS = [((80, 24), "hone"), ((160, 48), "hone"), ((80, 24), LIGHT), ((160, 48), LIGHT)]


def looks(*more: tuple[int, int]) -> pytest.MarkDecorator:
    """Gives a test `size` and `theme`; `more` are further sizes, in the dark theme."""
    wanted = [*LOOKS, *((size, "hone") for size in more)]
    names = [f"{width}x{height}{'-light' if theme == LIGHT else ''}" for (width, height), theme in wanted]
    return pytest.mark.parametrize(("size", "theme"), wanted, ids=names)
