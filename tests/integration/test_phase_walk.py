"""The walk through the phases with two real data planes under load: every step is in force when the call returns, reads move to where
the phase says, no request fails. Phases that ask for what the data planes do not announce are refused with their name."""

import json

import pytest

from support.control_plane import ctl
from support.load import Load, reads_from
from support.waiting import wait_until

# Forward and back again, from where a new store begins; the shares make every read count.
STEPS = ["shadow_read", "canary_read", "target_primary", "target_only", "target_primary", "canary_read", "shadow_read", "dual_write",
         "passthrough", "dual_write"]  # fmt: skip
NEEDS = {"canary_read": "canary_reads", "passthrough": "write_switches", "target_only": "write_switches"}
SHARES = {"shadow_read": {"shadow_read_percent": 100}, "canary_read": {"canary_read_percent": 100}}
READS_FROM_TARGET = ("canary_read", "target_primary", "target_only")
REASON = "the play walks"


@pytest.fixture
def fleet(lab, named_pair):
    """control, two proxies that follow it."""
    control = lab.control().start()
    proxies = []
    for number in (1, 2):
        state = lab.directory / f"state-{number}"
        state.mkdir()
        proxies.append(lab.proxy(*named_pair, name=f"proxy-{number}", CONTROL_SOCKET=str(control.socket_path), STATE_DIRECTORY=str(state)).start())
    wait_until(lambda: sum(plane["in_sync"] for plane in control.dataplanes()) == 2, "both proxies follow")
    return control, proxies


def by_rest(control, phase):
    body = {"phase": phase, "confirm": phase, "force": True, "reason": REASON, **SHARES.get(phase, {})}
    status, _, answer = control.call("PUT", "/api/v1/phase", body, {"If-Match": "*"})
    return status == 200, json.loads(answer)["detail"] if status != 200 else ""


def by_command(control, phase):
    share = ["--percent", "100"] if phase in SHARES else []
    code, _, err = ctl(control, "phase", "set", phase, "--confirm", phase, "--force", "--reason", REASON, *share)
    assert code in (0, 1), err
    return code == 0, err


@pytest.mark.parametrize("move", [by_rest, by_command])
def test_the_walk_under_load(fleet, move):
    control, proxies = fleet
    announced = set.intersection(*(set(plane["features"].split(",")) for plane in control.dataplanes()))
    with proxies[0].connect() as one, proxies[1].connect() as two, Load(proxies[0], "ks") as load, Load(proxies[1], "ks") as other:
        walked = 0
        for phase in STEPS:
            before = control.routing()
            done, detail = move(control, phase)
            if NEEDS.get(phase, "routing") not in announced:
                assert not done and NEEDS[phase] in detail and any(plane["address"] in detail for plane in control.dataplanes())
                assert control.routing() == before
                continue
            if before["phase"] == phase:
                continue
            assert done, detail
            walked += 1
            state = control.routing()
            assert state["phase"] == phase and all(plane["applied_revision"] == state["revision"] for plane in control.dataplanes())
            expected = "target" if phase in READS_FROM_TARGET else "origin"
            assert [reads_from(client, "ks") for client in (one, two)] == [expected] * 2, phase
        assert walked >= 4 and control.routing()["phase"] == "dual_write"
    load.check(at_least=20)
    other.check(at_least=20)
    rows = json.loads(control.call("GET", f"/api/v1/audit?limit={walked}")[2])["entries"]
    assert all(row["reason"] == REASON and row["phase_after"] for row in rows)


def test_live_settings_are_refused_or_in_force(fleet):
    """Never agreed to silently."""
    control, proxies = fleet
    status, _, answer = control.call("PATCH", "/api/v1/settings", {"max_clients": 2})
    body = json.loads(answer)
    if all("live_settings" in plane["features"].split(",") for plane in control.dataplanes()):
        assert status == 200 and body["max_clients"] == 2
    else:
        assert status == 409 and "live_settings" in body["detail"]
        assert json.loads(control.call("GET", "/api/v1/settings")[2])["max_clients"] is None
