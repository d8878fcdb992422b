"""What a person may not do is said in words; what is dangerous wants a word typed first."""

import json

import pytest

from steps import REASON, ask_for, opened, press
from support.waiting import wait_until


def token_of(control, role):
    status, _, body = control.call("POST", "/api/v1/tokens", {"name": f"a-{role}", "role": role})
    assert status == 201, body
    return json.loads(body)["token"]


def gate_of(control, name):
    return next(gate for gate in json.loads(control.call("GET", "/api/v1/phase")[2])["gates"] if gate["name"] == name)


def test_a_viewer_sees_everything_and_is_told_that_it_changes_nothing(place, browser):
    control, _ = place
    page = opened(browser, control, token_of(control, "viewer"))
    page.wait("#who", r"a-viewer \(viewer\)")
    page.wait("#role-note", "you see everything and change nothing.*role operator")
    page.wait("#settings-note", "to change them takes the role operator")
    page.wait("#audit tr", "store created")
    page.wait("#plots-note", "the last hour")
    assert page.tell("count", selector="#phase-line button") == 0
    assert not page.tell("enabled", selector="#setting-max_clients")
    page.check_accessible()
    page.check()


def test_an_operator_moves_but_does_not_force(place, browser, pictures):
    control, proxy = place
    page = opened(browser, control, token_of(control, "operator"))
    page.wait("#who", r"a-operator \(operator\)")
    assert not page.tell("visible", selector="#role-note")
    proxy.target.stop()
    page.wait("#banners", "target cluster: ")
    ask_for(page, "shadow_read")
    page.wait("#review-checks", "Not ready: .*target healthy.*does not hold")
    page.fill("#review-reason", REASON)
    page.wait("#review-missing", "Not every check holds. Forcing it needs the role admin.")
    assert not page.tell("enabled", selector="#review-yes") and not page.tell("visible", selector="#review-force-line")
    page.check_accessible()
    page.tell("screenshot", path=str(pictures / "held.png"), full=False)
    proxy.target.start()
    page.wait("#review-checks", "Ready: all", timeout_ms=30000)  # the dialog follows the checks
    page.tell("click", selector="#review-yes")
    page.is_at("shadow_read")
    page.check()


def test_a_check_that_ceases_to_hold_before_the_press_changes_nothing(place, browser):
    """The page has not looked since: the control plane judges by itself."""
    control, proxy = place
    page = opened(browser, control, token_of(control, "operator"))
    ask_for(page, "shadow_read")
    page.wait("#review-checks", "Ready: all")
    page.tell("hold", path="/api/v1/phase")
    proxy.target.stop()
    wait_until(lambda: not gate_of(control, "target_healthy")["ok"], "the control plane has heard of it")
    page.tell("click", selector="#review-yes")
    page.wait("#review-problem", "Nothing was changed: .*target_healthy")
    page.wait("#review-checks", "Not ready: .*target healthy.*does not hold")
    assert not page.tell("enabled", selector="#review-yes") and control.routing()["phase"] == "dual_write"
    proxy.target.start()
    page.tell("release", path="/api/v1/phase")
    page.wait("#review-checks", "Ready: all", timeout_ms=30000)
    press(page)
    page.is_at("shadow_read")
    page.check(refused=["409 PUT /api/v1/phase"])


@pytest.mark.parametrize("way, end, onward", [([], "passthrough", "dual_write"), (["target_primary"], "target_only", "target_primary")])
def test_leaving_an_end_wants_its_name_typed(place, browser, pictures, way, end, onward):
    control, _ = place
    for phase in [*way, end]:
        control.force(phase)
    page = opened(browser, control)
    ask_for(page, onward)
    page.wait("#review-warning", "the target|the origin")
    page.wait("#review-missing", f"Type {onward} to confirm.")
    for wrong in (end, onward.upper(), onward[:-1]):
        page.fill("#review-typed", wrong)
        assert not page.tell("enabled", selector="#review-yes"), wrong
        page.wait("#review-missing", f"Type {onward} to confirm.")
    page.check_accessible()
    page.tell("screenshot", path=str(pictures / f"leaving-{end}.png"), full=False)
    page.fill("#review-typed", onward)
    if page.tell("visible", selector="#review-force-line"):
        page.tell("click", selector="#review-force")
        page.wait("#review-missing", "Forcing needs a reason")
    page.fill("#review-reason", REASON)
    page.tell("click", selector="#review-yes")
    page.is_at(onward)
    page.check()
