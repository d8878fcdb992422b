"""The control plane may die at any moment: the data path does not notice, and nothing is forgotten."""

import pytest

from support.load import Load, reads_from
from support.waiting import wait_until


def synced(control, proxy):
    return wait_until(
        lambda: proxy.metric("zdm_control_connected") == 1
        and proxy.metric("zdm_routing_revision") == control.routing()["revision"],
        "the proxy has the control plane's revision",
        timeout=20,
    )


def test_kill_9_under_load(controlled):
    control, proxy, _ = controlled
    assert control.patch(forward_reads_to_target=True)[0] == 200
    before = control.routing()
    with Load(proxy, "ks") as load:
        for _ in range(3):
            control.kill()
            proxy.wait_metric("zdm_control_connected", 0)
            so_far = load.total
            wait_until(lambda: load.total > so_far + 500, "the load goes on")
            assert proxy.metric("zdm_routing_revision") == before["revision"]
            control.start()
            assert control.routing() == before
            synced(control, proxy)
    load.check(at_least=100)
    with proxy.connect() as client:
        assert reads_from(client, "ks") == "target"
        assert control.patch(forward_reads_to_target=False)[0] == 200
        assert reads_from(client, "ks") == "origin"


def test_a_data_plane_restarted_alone_serves_the_last_good_state(controlled):
    control, proxy, _ = controlled
    assert control.patch(forward_reads_to_target=True)[0] == 200
    revision = control.routing()["revision"]
    control.kill()
    proxy.stop()
    proxy.start()
    assert proxy.metric("zdm_routing_revision") == revision
    with proxy.connect() as client:
        assert reads_from(client, "ks") == "target"
    proxy.kill()  # and after a crash as well
    proxy.start()
    with proxy.connect() as client:
        assert reads_from(client, "ks") == "target"
    control.start()
    synced(control, proxy)
    assert control.routing()["revision"] == revision


def test_a_change_while_the_data_plane_is_down_reaches_it_when_it_is_back(controlled):
    control, proxy, _ = controlled
    proxy.stop()
    status, _ = control.patch(forward_reads_to_target=True)
    assert status in (200, 202)
    proxy.start()
    synced(control, proxy)
    with proxy.connect() as client:
        wait_until(lambda: reads_from(client, "ks") == "target", "reads have moved")


@pytest.mark.parametrize("content", [b"", b"{", b"\0" * 100, b'{"revision":"x"}', b"[" * 100_000])
def test_a_corrupt_last_good_file_is_named_and_left_aside(controlled, content):
    control, proxy, state = controlled
    assert control.patch(forward_reads_to_target=True)[0] == 200
    control.kill()
    proxy.stop()
    files = [path for path in state.iterdir() if "last-good" in path.name]
    assert files, "no last-good file"
    for path in files:
        path.write_bytes(content)
    proxy.start()
    with proxy.connect() as client:
        assert reads_from(client, "ks") == "origin"  # what the settings say
    assert [line for line in proxy.log().splitlines() if ("level=error" in line or "level=warning" in line) and "last-good" in line]
    control.start()
    with proxy.connect() as client:
        wait_until(lambda: reads_from(client, "ks") == "target", "the control plane's state is back", timeout=20)


def test_a_control_plane_that_is_stopped_holds_nothing_up(controlled):
    control, proxy, _ = controlled
    with Load(proxy, "ks") as load:
        control.pause()
        so_far = load.total
        wait_until(lambda: load.total > so_far + 1000, "the load goes on")
        control.resume()
        assert control.patch(forward_reads_to_target=True)[0] in (200, 202)
    load.check()
    synced(control, proxy)


def test_the_proxy_starts_before_the_control_plane(lab):
    origin, target = lab.pair()
    control = lab.control()
    state = lab.directory / "state"
    state.mkdir()
    proxy = lab.proxy(origin, target, CONTROL_SOCKET=str(control.socket_path), STATE_DIRECTORY=str(state)).start()
    assert proxy.metric("zdm_control_connected") == 0
    control.start()
    synced(control, proxy)


def test_without_a_control_plane_the_settings_count(lab, named_pair):
    proxy = lab.proxy(*named_pair, FORWARD_READS_TO_TARGET="true").start()
    with proxy.connect() as client:
        assert reads_from(client, "ks") == "target"
    assert proxy.metric("zdm_routing_revision") == 0
