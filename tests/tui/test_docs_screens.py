"""The pictures of the README: one for each screen, small, without a path of the machine that drew them."""

import re

from tests.conftest import ROOT
from tui.places import PLACES

FOLDER = ROOT / "docs" / "screens"


def test_every_screen_has_a_picture_that_a_page_can_hold():
    pictures = {file.stem: file.read_text("utf-8") for file in FOLDER.glob("*.svg")}
    assert set(pictures) == {place.name for place in PLACES}
    for name, svg in pictures.items():
        assert len(svg.encode()) < 80_000, name
        assert f"hone-{name}-r1" in svg, name
        assert not re.search(r"/(?:tmp|home|root|Users)/", svg), name
