"""The programs a measurement needs, as processes that end with it: stub clusters, HAProxy, our proxy, peers."""

import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import time

PORT, PORT_TLS, PORT_METRICS = 19042, 19142, 19001
ORIGIN, TARGET, HAPROXY, OURS = "127.0.41.1", "127.0.41.2", "127.0.41.3", "127.0.41.4"

HAPROXY_SETTINGS = """
global
    nbthread 1
    maxconn 9000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend plain
    bind {haproxy}:{port}
    default_backend origin
frontend tls
    bind {haproxy}:{port_tls} ssl crt {certificate}
    default_backend origin
backend origin
    server origin {origin}:{port}
"""


class Failure(Exception):
    """Something that makes a measurement impossible; its text is for people."""


def listens(address, port):
    try:
        socket.create_connection((address, port), 1).close()
        return True
    except OSError:
        return False


class Programs:
    """Starts programs and ends them, by pid, whatever happens."""

    def __init__(self, binaries, work):
        self.binaries = pathlib.Path(binaries)
        self.work = pathlib.Path(work)
        self.running = {}

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # for all that are started
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for name in list(self.running):
            self.stop(name)

    def start(self, name, command, address, port, environment=None):
        """Returns the pid once address:port answers."""
        if listens(address, port):
            raise Failure(f"{address}:{port} is taken, where {name} should listen")
        log = self.work / f"{name}.log"
        with open(log, "wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                       env=environment, start_new_session=True)
        self.running[name] = process
        deadline = time.monotonic() + 60
        while not listens(address, port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failure(f"{name} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        return process.pid

    def stop(self, name):
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stub(self, name, address):
        return self.start(name, [self.binaries / "cqlstub", "--listen", address, "--port", str(PORT), "--name", name], address, PORT)

    def certificate(self):
        """A self-signed certificate: the paths of the certificate, its key, and both in one file."""
        certificate, key, both = (self.work / name for name in ("certificate.pem", "key.pem", "both.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                        "-subj", "/CN=bench", "-keyout", key, "-out", certificate], check=True, capture_output=True)
        both.write_bytes(certificate.read_bytes() + key.read_bytes())
        return certificate, key, both

    def haproxy(self, certificate):
        program = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
        settings = self.work / "haproxy.cfg"
        settings.write_text(HAPROXY_SETTINGS.format(haproxy=HAPROXY, port=PORT, port_tls=PORT_TLS, origin=ORIGIN, certificate=certificate))
        return self.start("haproxy", [program, "-db", "-f", settings], HAPROXY, PORT)

    def ours(self, name="cloudgate", port=PORT, metrics=PORT_METRICS, certificate=None, key=None, prefix=(), workers=1):
        """Our proxy at its defaults, with one worker and room for many clients."""
        environment = {
            "PATH": os.environ["PATH"],
            "ORIGIN_CASSANDRA_CONTACT_POINTS": ORIGIN, "ORIGIN_CASSANDRA_PORT": str(PORT),
            "ORIGIN_CASSANDRA_USERNAME": "", "ORIGIN_CASSANDRA_PASSWORD": "",
            "TARGET_CASSANDRA_CONTACT_POINTS": TARGET, "TARGET_CASSANDRA_PORT": str(PORT),
            "TARGET_CASSANDRA_USERNAME": "", "TARGET_CASSANDRA_PASSWORD": "",
            "PROXY_ADDRESSES": OURS, "PROXY_QUERY_ADDRESS": OURS, "PROXY_QUERY_PORT": str(port),
            "PROXY_METRICS_ADDRESS": OURS, "PROXY_METRICS_PORT": str(metrics),
            "PROXY_WORKERS": str(workers), "MAX_CLIENTS_THRESHOLD": "20000",
        }
        if certificate:
            environment |= {"PROXY_TLS_CERT_PATH": str(certificate), "PROXY_TLS_KEY_PATH": str(key)}
        return self.start(name, [*prefix, self.binaries / "cloudgate-proxy"], OURS, port, environment)
