"""The dashboard as a person uses it: logs in, sees where the migration stands, switches under load, comes back later."""

import json

from steps import REASON, opened, switch
from support.load import Load
from support.programs import ADMIN_TOKEN
from support.waiting import wait_until


def test_a_phase_is_switched_under_load_and_the_page_follows(place, browser):
    control, proxy = place
    page = opened(browser, control)
    page.is_at(control.routing()["phase"])
    with Load(proxy, "ks", threads=1, window=2) as load:
        page.wait("#plots .legend", r"Reads from the origin [1-9]")
        switch(page, "target_primary")
        assert control.routing()["phase"] == "target_primary"
        page.wait("#plots .legend", r"Reads from the target [1-9]")
        page.wait("#audit tr", REASON)
        page.wait("#dataplanes tr", "in force")
        switch(page, "dual_write")
        page.wait("#plots .legend", r"Reads from the target 0/s")
    load.check(at_least=20)
    rows = json.loads(control.call("GET", "/api/v1/audit?limit=2")[2])["entries"]
    assert [row["reason"] for row in rows] == [REASON] * 2 and all(row["actor"].startswith("token:") for row in rows)
    page.check()


def test_the_dialog_shows_the_exact_change_and_changes_nothing_by_itself(place, browser):
    control, _ = place
    page = opened(browser, control)
    before = control.routing()
    page.tell("click", selector='#phase-line [data-phase="shadow_read"] button')
    page.wait("#review-changes tr", "shadow_read_percent")
    page.fill("#review-share", "40")
    page.tell("press", key="Tab")
    page.wait("#review-changes tr", r"shadow_read_percent\s*0\s*40")
    page.check_accessible()
    page.tell("press", key="Escape")
    page.tell("gone", selector="#review")
    assert control.routing() == before
    page.check()


def test_two_browsers_see_each_other(place, browser):
    control, _ = place
    one, two = opened(browser, control), opened(browser, control, dark=True)
    switch(one, "shadow_read")
    two.is_at("shadow_read")
    # What the one looks at is no longer true when it says yes.
    two.tell("click", selector='#phase-line [data-phase="dual_write"] button')
    two.wait("#review-changes table")
    control.patch(shadow_read_percent=70)
    two.tell("click", selector="#review-yes")
    two.wait("#review-problem", "Somebody else changed")
    assert control.routing()["shadow_read_percent"] == 70
    two.tell("click", selector="#review-yes")
    one.is_at("dual_write")
    one.check()
    two.check(refused=["412 PUT /api/v1/phase"])


def test_a_reload_shows_the_same_and_a_log_in_that_ended_asks_again(place, browser):
    control, _ = place
    page = opened(browser, control)
    page.tell("reload")
    page.is_at(control.routing()["phase"])
    page.tell("clear_cookies")
    page.wait("#log-in-why", "The log-in has ended")
    page.check_accessible()
    page.log_in(ADMIN_TOKEN)
    page.button("Log out")
    page.wait("#log-in-why", "Logged out")
    heard = page.tell("heard")
    assert not heard["errors"] and not heard["violations"]


def test_what_is_away_is_said_and_what_comes_back_too(place, browser):
    control, proxy = place
    page = opened(browser, control)
    proxy.stop()
    page.wait("#banners", "Away: ")
    proxy.start()
    page.wait("#dataplanes tr", "in force")
    control.stop()
    page.wait("#banners", "control plane is not reachable")
    control.start()
    # A restart ends log-ins.
    page.wait("#log-in-why", "The log-in has ended")
    page.log_in(ADMIN_TOKEN)


def test_a_data_plane_that_is_gone_for_good_is_forgotten(place, browser):
    control, proxy = place
    page = opened(browser, control)
    proxy.stop()
    page.wait("#dataplanes tr.attention", r"✗ away.*away since .*Forget")
    page.button(f"Forget {proxy.address}")
    page.wait("#notice.good", f"{proxy.address}:{proxy.port}#0 is forgotten.")
    page.wait("#dataplanes", "No data plane has connected yet")
    page.tell("gone", selector="#banners p")
    page.wait("#audit tr:first-child", f"data plane forgotten: .*{proxy.address}")
    page.check()


def test_a_data_plane_that_is_stopped_is_told_in_words(place, browser):
    control, proxy = place
    page = opened(browser, control)
    page.wait("#dataplanes tr", r"follows revision \d+ is in force on all its workers")
    proxy.pause()
    try:
        page.wait("#dataplanes tr", "silent nothing has been heard of it")
        page.wait("#banners", "Nothing is heard of: ")
        page.wait("#dataplanes tr", r"away not connected \(the data plane went silent\)")
    finally:
        proxy.resume()
    page.wait("#dataplanes tr", "follows revision")
    page.check_accessible()
    page.check()


def test_a_setting_is_reviewed_and_stored(lab, browser):
    control = lab.control().start()
    page = opened(browser, control)
    page.wait("#dataplanes", "No data plane has connected yet")
    page.fill("#setting-max_clients", "123")
    page.button("Review the change")
    page.wait("#review-changes tr", r"max_clients\s*as configured\s*123")
    page.check_accessible()
    page.tell("click", selector="#review-yes")
    page.tell("gone", selector="#review")
    page.wait("#audit tr", "max_clients = 123")
    assert json.loads(control.call("GET", "/api/v1/settings")[2])["max_clients"] == 123
    page.check()


def test_what_is_not_possible_is_said(lab, browser):
    control = lab.control().start()
    page = opened(browser, control)
    page.fill("#setting-max_clients", "many")
    page.button("Review the change")
    page.wait("#review-problem", "Not possible: .*max_clients")
    assert not page.tell("enabled", selector="#review-yes")
    page.check(refused=["422 PATCH /api/v1/settings"])


def test_by_keyboard_alone(place, browser):
    control, _ = place
    page = browser.open(control.url("/"))
    page.wait("#log-in")
    page.tell("type", value=ADMIN_TOKEN)  # the field has the focus
    page.tell("press", key="Enter")
    page.wait("#phase-line li.here")

    def tab_to(wanted):
        for _ in range(60):
            page.tell("press", key="Tab")
            if wanted in page.tell("focused"):
                return
        raise AssertionError(f"{wanted} is not to be reached")

    tab_to("passthrough: Go back")
    page.tell("press", key="Enter")
    page.wait("#review-changes table")
    assert page.tell("focused") == "review-no", "the harmless button first"
    page.tell("press", key="Escape")
    page.tell("gone", selector="#review")
    assert "passthrough" in page.tell("focused"), "the focus is back where it was"
    page.tell("press", key="Enter")
    page.wait("#review-changes table")
    tab_to("review-reason")
    page.tell("type", value=REASON)
    tab_to("review-yes")
    page.tell("press", key="Enter")
    page.is_at("passthrough")
    page.wait("#audit tr", REASON)
    assert "passthrough" in page.tell("focused"), "the button is gone, the focus has not gone to the top"
    tab_to("Dismiss")
    page.tell("press", key="Enter")
    page.tell("gone", selector="#notice")
    page.check()


def test_a_button_stays_the_same_while_figures_change(place, browser):
    """A press that fell between two drawings was lost."""
    control, proxy = place
    page = opened(browser, control)
    page.wait("#phase-since", r"for \d+ s")
    page.tell("mark", selector='#phase-line [data-phase="passthrough"] button')
    with Load(proxy, "ks", threads=1, window=2, pause_s=0.02):
        since = page.text("#phase-since")
        wait_until(lambda: page.text("#phase-since") != since, "the phase is looked at again")
        assert control.call("PATCH", "/api/v1/settings", {"max_clients": 11})[0] == 200
        page.wait("#audit tr", "max_clients = 11")
    assert page.tell("stands")
    page.check()


def test_a_wrong_token_is_refused_in_words(lab, browser, pictures):
    control = lab.control().start()
    page = browser.open(control.url("/"))
    page.wait("#log-in-why", "It takes a token of this control plane")
    page.check_accessible()
    page.tell("screenshot", path=str(pictures / "log-in.png"), full=False)
    for _ in range(6):
        page.fill("#token", "cgt_wrong")
        page.button("Log in")
        page.wait("#log-in-why", "Not logged in: ")
        page.tell("idle")
    page.wait("#log-in-why", r"Not logged in: .*\(wait \d+ s\)")
    page.check_accessible()
    page.check(refused=["401 POST /api/v1/session", "429 POST /api/v1/session"])


def test_a_cluster_that_is_out_of_use_is_no_alarm(place, browser):
    control, proxy = place
    page = opened(browser, control)
    control.force("passthrough")
    page.is_at("passthrough")
    proxy.target.stop()
    page.tell("click", selector="details.card > summary")
    page.wait("#gates tr", "target healthy.*does not hold")
    assert page.text("#banners") == ""
    proxy.target.start()
    page.check()
