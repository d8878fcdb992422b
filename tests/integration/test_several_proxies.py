"""Several proxies on one machine behind one port: clients are spread over them, they are restarted one by one under load, and the
control plane sees each."""

import os
import subprocess
import sys

import pytest

from support.load import RetryingLoad, reads_from
from support.programs import SYSTEM_PYTHON, http
from support.waiting import wait_until


def add_proxy(lab, clusters, control, name, leader=None):
    """A proxy that shares the port of leader, with an HTTP port and a state directory of its own."""
    state = lab.directory / f"state-{name}"
    state.mkdir()
    shared = {} if leader is None else {
        "PROXY_ADDRESSES": leader.address, "PROXY_QUERY_ADDRESS": leader.address, "PROXY_QUERY_PORT": str(leader.port),
    }  # fmt: skip
    settings = {"CONTROL_SOCKET": str(control.socket_path), "STATE_DIRECTORY": str(state), "PROXY_SHARE_PORT": "true", **shared}
    return lab.proxy(*clusters, name, **settings)


def converged(control, count):
    """count data planes, none left over, all following the present revision."""

    def agree():
        planes, wanted = control.dataplanes(), control.routing()["revision"]
        assert len(planes) == count, planes
        return all(plane["state"] == "follows" and plane["applied_revision"] == wanted for plane in planes) and planes

    return wait_until(agree, f"{count} of {count} data planes follow", 20)


@pytest.fixture
def sharing(lab, named_pair):
    """control, [one, two]: both on one port."""
    control = lab.control().start()
    one = add_proxy(lab, named_pair, control, "one").start()
    two = add_proxy(lab, named_pair, control, "two", one).start()
    converged(control, 2)
    return control, [one, two]


def test_both_serve_clients_and_each_is_seen(sharing):
    control, proxies = sharing
    clients = [proxies[0].connect() for _ in range(32)]
    served = [proxy.metric("zdm_client_connections_total") for proxy in proxies]
    assert sum(served) == 32 and min(served) > 0, served
    assert {plane["address"] for plane in control.dataplanes()} == {
        f"{proxies[0].address}:{proxies[0].port}#0/{proxy.http_port}" for proxy in proxies
    }
    for to_target in (True, False):
        assert control.patch(forward_reads_to_target=to_target)[0] == 200
        assert {reads_from(client, "ks") for client in clients} == {"target" if to_target else "origin"}
    for client in clients:
        client.close()


def test_a_rolling_restart_under_load_fails_no_request(sharing):
    control, proxies = sharing
    with RetryingLoad(proxies[0], "ks") as load:
        for turn in range(3):
            for proxy in proxies:
                assert proxy.stop() == 0
                wait_until(lambda: sum(plane["state"] == "away" for plane in control.dataplanes()) == 1, "one is away")
                status, state = control.patch(forward_reads_to_target=turn % 2 == 0)
                assert status == 200, state
                so_far = list(load.requests)
                wait_until(lambda: all(now > before + 20 for now, before in zip(load.requests, so_far)), "all clients go on")
                proxy.start()
                converged(control, 2)
    load.check(at_least=100)
    print(f"{load.total} requests, {load.repeated} of them repeated on a new connection, 6 restarts")
    assert load.repeated >= 1, "the restarts were not noticed at all: nothing was tested"


def test_a_killed_one_fails_no_request_that_is_repeated(sharing):
    control, proxies = sharing
    with RetryingLoad(proxies[0], "ks") as load:
        for proxy in proxies:
            proxy.kill()
            so_far = list(load.requests)
            wait_until(lambda: all(now > before + 20 for now, before in zip(load.requests, so_far)), "all clients go on")
            proxy.start()
            converged(control, 2)
    load.check(at_least=40)


def test_who_does_not_share_is_not_let_in(sharing, lab, named_pair):
    control, proxies = sharing
    alone = add_proxy(lab, named_pair, control, "alone", proxies[0])
    alone.settings["PROXY_SHARE_PORT"] = "false"
    alone.launch()
    wait_until(lambda: "proxies share a port with PROXY_SHARE_PORT=true" in alone.log(), "the third says what is missing")
    assert http("GET", alone.url("/health/readiness"))[0] == 503
    assert alone.stop() == 0


LISTEN = """
import socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
listener.bind((sys.argv[1], int(sys.argv[2])))
listener.listen()
print("listening", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_another_user_s_process_cannot_take_part(sharing, lab, named_pair):
    """Neither side: it cannot join ours, and we do not join it."""
    control, proxies = sharing
    stranger = [SYSTEM_PYTHON, "-c", LISTEN, proxies[0].address]
    joined = subprocess.run([*stranger, str(proxies[0].port)], user=65534, cwd="/", capture_output=True, text=True, stdin=subprocess.DEVNULL,
                            timeout=20)  # fmt: skip
    assert joined.returncode != 0 and "Address already in use" in joined.stderr
    late = add_proxy(lab, named_pair, control, "late")
    with subprocess.Popen([*stranger[:-1], late.address, str(late.port)], user=65534, cwd="/", stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:  # fmt: skip
        assert process.stdout.readline() == "listening\n"
        late.launch()
        wait_until(lambda: "by a program of another user" in late.log(), "the proxy says why it cannot listen")
        process.stdin.close()
    late.wait_up()
