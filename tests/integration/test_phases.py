"""Plays of phases and live settings: what the state may be, what data planes must be able to do, and the way from one phase to the
next, with data planes that are played."""

import pytest

from support.control_plane import CANARY, READS, SHADOW, SYSTEM, TO_ORIGIN, TO_TARGET, routing_state
from support.waiting import wait_until

ALL_FEATURES = "routing,write_switches,canary_reads,live_settings"
PASSTHROUGH = {SYSTEM: False, TO_TARGET: False}
TARGET_ONLY = {READS: True, SYSTEM: True, TO_ORIGIN: False}


@pytest.mark.parametrize(
    "change, pointer",
    [
        ({TO_ORIGIN: False, TO_TARGET: False}, TO_TARGET),
        ({TO_TARGET: False}, SYSTEM),  # the default reads system keyspaces from the target
        ({TO_TARGET: False, SYSTEM: False, READS: True}, READS),
        ({TO_TARGET: False, SYSTEM: False, SHADOW: 1}, SHADOW),
        ({TO_TARGET: False, SYSTEM: False, CANARY: 1}, CANARY),
        ({TO_ORIGIN: False}, READS),
        ({TO_ORIGIN: False, READS: True, SYSTEM: False}, SYSTEM),
        ({TO_ORIGIN: False, READS: True, SHADOW: 1}, SHADOW),
        ({READS: True, CANARY: 1}, CANARY),
        ({CANARY: 101}, CANARY),
        ({TO_TARGET: 0}, TO_TARGET),
    ],
)
def test_states_that_make_no_sense_are_refused_by_name(control, change, pointer):
    status, _, problem = control.patch(change)
    assert status == 422 and problem["errors"][0]["pointer"] == f"/{pointer}", problem
    assert control.routing() == routing_state(1)


def test_every_state_is_one_of_the_phases(control, dataplane):
    plane = dataplane(features=ALL_FEATURES)
    wait_until(lambda: plane.snapshots, "it got a snapshot")
    for change, phase in (
        ({SHADOW: 5}, "shadow_read"),
        ({CANARY: 5}, "canary_read"),
        ({SHADOW: 0, CANARY: 0, READS: True}, "target_primary"),
        ({READS: False}, "dual_write"),
        (PASSTHROUGH, "passthrough"),
    ):
        status, _, state = control.patch(change)
        assert (status, state["phase"]) == (200, phase)
        assert plane.applied["revision"] == state["revision"]
        entry = control.get("/api/v1/audit?limit=1")["entries"][0]
        assert entry["phase_after"] == phase
    assert plane.applied["skip_target"] is True and plane.applied["skip_origin"] is False


def test_a_patch_does_not_leave_an_end_without_confirmation(control, dataplane):
    plane = dataplane(features=ALL_FEATURES)
    wait_until(lambda: plane.snapshots, "it got a snapshot")
    assert control.patch(PASSTHROUGH)[0] == 200
    status, _, problem = control.patch({TO_TARGET: True})
    assert status == 409 and "/api/v1/phase" in problem["detail"]
    status, _, problem = control.patch({TO_TARGET: True, READS: True})
    assert status == 409 and "no way from passthrough to target_primary" in problem["detail"]
    assert control.routing()["phase"] == "passthrough"


@pytest.mark.parametrize("change, feature", [
    (PASSTHROUGH, "write_switches"), ({CANARY: 10}, "canary_reads"),
])  # fmt: skip
def test_what_a_data_plane_cannot_do_is_not_asked_of_it(control, dataplane, change, feature):
    able = dataplane(address="able:1#0", features=ALL_FEATURES)
    unable = dataplane(address="unable:1#1")
    wait_until(lambda: able.snapshots and unable.snapshots, "both got a snapshot")
    status, _, problem = control.patch(change)
    assert status == 409 and "unable:1#1" in problem["detail"] and feature in problem["detail"]
    assert control.routing()["revision"] == 1 and len(able.snapshots) == 1
    unable.close()
    wait_until(lambda: not all(entry["connected"] for entry in control.dataplanes()), "it is gone")
    assert control.patch(change)[0] == 200
