"""Pictures of the dashboard at every size, light and dark: before a switch under load, in the dialog that asks, and after it. What
can be judged by a machine is judged on the way; the rest is for people to look at."""

import pytest

from steps import REASON, ask_for, opened, press
from support.load import Load

SIZES = {"desktop": (1280, 900), "zoomed": (640, 450), "phone": (375, 812)}  # zoomed: a desktop at 200 %


@pytest.fixture
def busy(place):
    """control under a load that leaves the machine room."""
    control, proxy = place
    with Load(proxy, "ks", threads=2, window=2, pause_s=0.01) as load:
        yield control
    load.check(at_least=20)


def check(page):
    page.check_accessible()
    assert page.tell("overflow") <= 0, "nothing sticks out sideways"
    assert page.tell("clipped", selector="h2, h3, p, button, .badge, label, li, .stack td, .legend") == []


def test_a_switch_looks_well_at_every_size(busy, browser, pictures):
    busy.force("shadow_read", shadow_read_percent=50)
    pages = {
        f"{device}-{shade}": opened(browser, busy, width=width, height=height, dark=shade == "dark")
        for device, (width, height) in SIZES.items()
        for shade in ("light", "dark")
    }
    for name, page in pages.items():
        page.wait("#plots .legend", "Shadow reads [1-9]")
        page.wait("#plots .legend", "Target p99 [0-9]")
        page.tell("screenshot", path=str(pictures / f"{name}-1-before.png"))
        for details in ("#plots article:first-child summary", "details.card > summary"):
            page.tell("click", selector=details)
        page.wait("#plots table")
        check(page)
        page.tell("screenshot", path=str(pictures / f"{name}-2-tables.png"))
        page.tell("click", selector="#plots article:first-child summary")
        page.tell("click", selector="details.card > summary")
        ask_for(page, "target_primary")
        check(page)
        assert page.tell("in_sight", selector="#review-yes") and page.tell("in_sight", selector="#review-changes")
        page.tell("screenshot", path=str(pictures / f"{name}-3-dialog.png"), full=False)
    first = pages.pop("desktop-light")
    for page in pages.values():
        page.tell("press", key="Escape")
    first.fill("#review-reason", REASON)
    press(first)
    for name, page in {"desktop-light": first, **pages}.items():
        page.is_at("target_primary")
        page.wait("#plots .legend", r"Reads from the origin 0/s.*Reads from the target [1-9]")
        page.wait("#audit tr", REASON)
        page.tell("screenshot", path=str(pictures / f"{name}-4-after.png"))
        page.check()
    first.wait("#notice", r"Done: revision \d+ is in force on every connected data plane")
    check(first)
