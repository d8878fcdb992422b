"""What the plays do with the page over and over again."""

import contextlib
import threading

from support.control_plane import DataPlane
from support.programs import ADMIN_TOKEN
from support.waiting import wait_until

REASON = "the play wants it"


def opened(browser, control, token=ADMIN_TOKEN, **options):
    page = browser.open(control.url("/"), **options)
    page.wait("#log-in")
    page.log_in(token)
    return page


def ask_for(page, phase):
    """Opens the dialog, and waits until it says what would change."""
    page.tell("click", selector=f'#phase-line [data-phase="{phase}"] button')
    page.wait("#review-changes table")


def press(page, forced=False):
    """Says yes, as a person does: the control plane judges the checks anew at the press, and under load one may have ceased to hold
    since the page looked. Then nothing is changed and the dialog says so, and it is pressed again once all hold, or forced."""

    def may_press():
        if forced and page.tell("visible", selector="#review-force-line"):
            page.tell("tick", selector="#review-force")
        return page.tell("enabled", selector="#review-yes")

    while page.tell("visible", selector="#review"):
        wait_until(may_press, "the dialog may be answered with yes", timeout=60)
        page.tell("click", selector="#review-yes")
        wait_until(
            lambda: not page.tell("visible", selector="#review") or page.tell("visible", selector="#review-problem"),
            "the press has an answer",
            timeout=30,
        )


def switch(page, phase):
    """Through the dialog, as far as it asks."""
    ask_for(page, phase)
    if page.tell("visible", selector="#review-typed-line"):
        page.fill("#review-typed", phase)
    page.fill("#review-reason", REASON)
    press(page, forced=True)
    page.is_at(phase)


@contextlib.contextmanager
def data_planes(control, count, name="proxy", **options):
    """So many of the play's own, which answer what they are told to, and say that they live."""
    control.socket_path = str(control.socket_path)
    planes, is_over = [], threading.Event()

    def live():
        while not is_over.wait(1):
            for plane in list(planes):
                plane.send(type="PING")

    thread = threading.Thread(target=live)
    thread.start()
    try:
        for number in range(count):
            planes.append(DataPlane(control, address=f"{name}-{number}:9042#0", **options))
        yield planes
    finally:
        is_over.set()
        thread.join()
        for plane in planes:
            plane.close()
