"""What goes wrong while somebody looks at the page: it says so in words, and says when it is over."""

import contextlib
import http.client

import pytest

from steps import REASON, ask_for, data_planes, opened
from support.certificates import Authority
from support.programs import ADMIN, ADMIN_TOKEN

STREAMS = 8  # the most the control plane has open at once


def event_stream(control):
    """One of those that are open at once, held by nobody's page."""
    connection = http.client.HTTPConnection(control.address, control.http_port, timeout=15)
    connection.request("GET", "/api/v1/events", headers=ADMIN)
    assert connection.getresponse().read1(10)
    return connection


def test_without_a_free_event_stream_the_page_asks_again_and_again(lab, browser):
    control = lab.control().start()
    with contextlib.ExitStack() as taken:
        streams = [taken.enter_context(contextlib.closing(event_stream(control))) for _ in range(STREAMS)]
        page = browser.open(control.url("/"))
        page.fill("#token", ADMIN_TOKEN)
        page.button("Log in")
        page.wait("#connection", "No event stream free: asking every 2 s")
        page.wait("#phase-line li.here")
        assert control.patch(shadow_read_percent=7)[0] == 200
        page.is_at("shadow_read")
        page.wait("#phase-line li.here", "7 % of the reads")
        page.check_accessible()
        assert "reachable" not in str(page.tell("heard")["alerts"]), "not even for a moment"
        streams.pop().close()
        page.wait("#connection", "Live", timeout_ms=40000)
    page.check(refused=["503 GET /api/v1/events"])


def test_a_change_that_is_not_acknowledged_is_followed_until_it_is(place, browser, pictures):
    control, proxy = place
    page = opened(browser, control)
    page.wait("#dataplanes tr", "in force")
    proxy.pause()
    try:
        page.fill("#setting-max_clients", "77")
        page.button("Review the change")
        page.wait("#review-changes tr", "max_clients")
        page.tell("click", selector="#review-yes")
        page.wait("#review-missing", "Changing: stored first")
        page.wait("#notice.warn", r"Revision \d+ is stored, but not in force everywhere yet. Missing: 127[^ ]* \(\w+")
        page.wait("#banners", "Not on the present revision: 127")
        page.wait("#dataplanes tr", "differs")
        page.check_accessible()
        page.tell("screenshot", path=str(pictures / "pending.png"))
    finally:
        proxy.resume()
    page.wait("#notice.good", r"Done: revision \d+ is in force on every connected data plane.")
    page.tell("gone", selector="#banners p")
    page.button("Dismiss")
    page.tell("gone", selector="#notice")
    page.check()


def test_a_data_plane_that_refuses_is_told_with_its_word(lab, browser, pictures):
    control = lab.control().start()
    page = opened(browser, control)
    with data_planes(control, 1, mode="bad_value"):
        page.wait("#dataplanes tr.attention", "refusing .*bad_value|refusing .*said the test")
        page.wait("#banners", r"Not on the present revision: proxy-0:9042#0 \(refusing\)")
        page.check_accessible()
        page.tell("screenshot", path=str(pictures / "refusing.png"))
    page.check()


def test_a_control_plane_that_hangs_is_away_and_comes_back(place, browser):
    control, _ = place
    page = opened(browser, control)
    control.pause()
    try:
        page.wait("#banners", "control plane is not reachable", timeout_ms=40000)
        page.wait("#connection", "not reachable")
    finally:
        control.resume()
    page.wait("#connection", "Live", timeout_ms=30000)
    page.tell("gone", selector="#banners p")
    page.check()


def test_a_control_plane_that_goes_away_while_a_dialog_is_open(place, browser, pictures):
    control, _ = place
    page = opened(browser, control)
    ask_for(page, "passthrough")
    control.stop()
    page.wait("#review-problem", "The control plane is not reachable: nothing can be changed now.")
    page.tell("click", selector="#review-yes")
    page.wait("#review-problem", "The control plane did not answer .*Look at the state before you try again.")
    page.tell("screenshot", path=str(pictures / "away.png"), full=False)
    control.start()
    page.wait("#log-in-why", "The log-in has ended")
    page.tell("gone", selector="#review")
    page.log_in(ADMIN_TOKEN)
    page.is_at("dual_write")
    assert control.routing()["revision"] == 1


def test_a_log_in_that_ends_while_a_dialog_is_open_changes_nothing(place, browser):
    control, _ = place
    before = control.routing()
    page = opened(browser, control)
    ask_for(page, "passthrough")
    page.tell("clear_cookies")
    page.fill("#review-reason", REASON)
    page.tell("click", selector="#review-yes")
    page.wait("#log-in-why", "The log-in has ended")
    page.tell("gone", selector="#review")
    assert control.routing() == before
    page.check_accessible()
    heard = page.tell("heard")
    assert not heard["errors"] and not heard["violations"]


@pytest.mark.parametrize("minutes, words", [(90, "90 min ahead of"), (-90, "90 min behind")], ids=["ahead", "behind"])
def test_a_clock_that_is_wrong_is_told_and_does_not_lie(place, browser, minutes, words):
    control, _ = place
    page = opened(browser, control, ahead_ms=minutes * 60000)
    page.wait("#banners", f"The clock of this computer is {words} the control plane's")
    page.wait("#phase-since", r"for \d+ s$")
    page.check()


def test_over_https(lab, browser, tmp_path):
    control = lab.control()
    pair = Authority(tmp_path).issue("dashboard", control.address)
    control.settings |= {"CONTROL_TLS_CERT_PATH": str(pair.cert), "CONTROL_TLS_KEY_PATH": str(pair.key)}
    control.url = lambda path: f"https://{control.address}:{control.http_port}{path}"
    control.is_up = lambda: "event=started" in control.log()
    page = opened(browser, control.start())
    page.fill("#setting-max_clients", "5")
    page.button("Review the change")
    page.wait("#review-changes tr", "max_clients")
    page.tell("click", selector="#review-yes")
    page.wait("#notice", "Done: revision")
    page.wait("#audit tr", "max_clients = 5")
    page.check()
