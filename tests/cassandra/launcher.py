#!/usr/bin/env python3
"""Runs real Apache Cassandra nodes without a container engine: Maven fetches the jars, OpenJDK 17 runs them.

As a library (the tests): Node(version, name, address, directory).start() / wait_ready() / stop() / kill() / pause() / resume().
As a program (scripts/cassandra.sh, scripts/demo.sh): one single-node origin and one single-node target,
`launcher.py start` leaves them running with their pids in the directory, `launcher.py stop` ends exactly those.

Only the Python standard library is used, so it runs before any virtual environment exists.
"""

import argparse
import os
import pathlib
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time

import certificates

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parent.parent / "build" / "cassandra"

# Packages of java.base that Cassandra reaches into; JDK 17 keeps them closed unless told otherwise.
JAVA_BASE = """jdk.internal.misc jdk.internal.ref jdk.internal.reflect jdk.internal.math jdk.internal.module
jdk.internal.util.jar jdk.internal.loader jdk.internal.vm sun.nio.ch java.io java.lang java.lang.ref java.lang.reflect
java.lang.module java.math java.net java.nio java.util java.util.concurrent java.util.concurrent.atomic""".split()
OTHER_EXPORTS = """java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry java.rmi/sun.rmi.server
java.sql/java.sql jdk.unsupported/sun.misc""".split()

# One name per line of cassandra.yaml that the two versions spell differently.
YAML_BY_VERSION = {
    "3.11": """
commitlog_sync: periodic
commitlog_sync_period_in_ms: 10000
commitlog_segment_size_in_mb: 8
key_cache_size_in_mb: 4
counter_cache_size_in_mb: 4
file_cache_size_in_mb: 32
memtable_heap_space_in_mb: 64
memtable_offheap_space_in_mb: 64
start_rpc: false
enable_user_defined_functions: true
""",
    "5.0": """
commitlog_sync: periodic
commitlog_sync_period: 10000ms
commitlog_segment_size: 8MiB
key_cache_size: 4MiB
counter_cache_size: 4MiB
file_cache_size: 32MiB
networking_cache_size: 16MiB
memtable_heap_space: 64MiB
memtable_offheap_space: 64MiB
user_defined_functions_enabled: true
""",
}


# What --tls may say: clients may use TLS or not, must use it, must use it and show a certificate.
TLS_MODES = ("optional", "required", "mutual")


class LaunchError(RuntimeError):
    """A node could not be fetched, started or reached; the message says which and why."""


def libraries(version):
    """The directory with the jars of a version; Maven fills it the first time."""
    directory = BUILD / f"lib-{version}"
    complete = directory / ".complete"
    if complete.exists():
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    command = ["mvn", "-B", "-q", "-f", str(HERE / f"cassandra-{version}.xml"), "dependency:copy-dependencies",
               "-DincludeScope=runtime", f"-DoutputDirectory={directory}"]
    try:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, check=False)
    except FileNotFoundError as error:
        raise LaunchError("mvn is not installed (Debian package: maven)") from error
    if result.returncode != 0:
        raise LaunchError(f"Maven could not fetch Cassandra {version}:\n{result.stdout}")
    complete.touch()
    return directory


def cql_frame(opcode, body=b""):
    """A version 3 request frame with stream id 1: both versions of Cassandra here speak it."""
    return struct.pack(">BBhBi", 3, 0, 1, opcode, len(body)) + body


def cql_answer(connection):
    """Reads one frame; returns its opcode and body."""
    header = receive(connection, 9)
    _, _, _, opcode, length = struct.unpack(">BBhBi", header)
    return opcode, receive(connection, length)


def receive(connection, size):
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionError("closed")
        data += piece
    return data


class Node:
    """One single-node cluster. Its files, log and pid live in `directory`.

    password: asks for one, user cassandra, password cassandra. tls: one of TLS_MODES, or None for none;
    it needs `made`, the certificates (certificates.make) that name this address. lasting: schema changes reach the disk one by
    one; without it they take a fraction of the time, and are not there after a kill."""

    def __init__(self, version, name, address, directory, port=9042, password=False, tls=None, made=None, lasting=True):
        self.version = version
        self.name = name
        self.address = address
        self.port = port
        self.password = password
        self.tls = tls
        self.made = made
        self.lasting = lasting
        self.directory = pathlib.Path(directory)
        self.process = None

    @property
    def log(self):
        return self.directory / "system.log"

    def write_files(self):
        for name in ("data", "commitlog", "hints", "saved_caches", "cdc_raw"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        login, permission = (("PasswordAuthenticator", "CassandraAuthorizer") if self.password
                             else ("AllowAllAuthenticator", "AllowAllAuthorizer"))
        (self.directory / "cassandra.yaml").write_text(f"""cluster_name: {self.name}
num_tokens: 4
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "{self.address}"
listen_address: {self.address}
start_native_transport: true
rpc_address: {self.address}
native_transport_port: {self.port}
storage_port: 7000
ssl_storage_port: 7001
authenticator: {login}
authorizer: {permission}
role_manager: CassandraRoleManager
data_file_directories: ["{self.directory}/data"]
commitlog_directory: {self.directory}/commitlog
hints_directory: {self.directory}/hints
saved_caches_directory: {self.directory}/saved_caches
cdc_raw_directory: {self.directory}/cdc_raw
auto_snapshot: false
auto_bootstrap: false
concurrent_reads: 8
concurrent_writes: 8
concurrent_counter_writes: 8
memtable_allocation_type: heap_buffers
disk_failure_policy: stop
commit_failure_policy: stop
{self.encryption()}{YAML_BY_VERSION[self.version]}""")

    def encryption(self):
        if self.tls is None:
            return ""
        return f"""client_encryption_options:
  enabled: true
  optional: {"true" if self.tls == "optional" else "false"}
  require_client_auth: {"true" if self.tls == "mutual" else "false"}
  store_type: PKCS12
  keystore: {self.made.server_p12}
  keystore_password: {certificates.STORE_PASSWORD}
  truststore: {self.made.trust_p12}
  truststore_password: {certificates.STORE_PASSWORD}
"""

    def command(self):
        jars = ":".join(sorted(str(jar) for jar in libraries(self.version).glob("*.jar")))
        flags = [java_program(), "-Xms512m", "-Xmx1g", "-Xss512k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
                 "-Djdk.attach.allowAttachSelf=true", "-Djava.awt.headless=true"]
        if self.version == "3.11":
            flags.append("-Djava.security.manager=allow")
            # Its jamm sizes prepared statements by field offsets, which JDK 17 denies for lambdas; as an agent it need not.
            flags += [f"-javaagent:{jar}" for jar in libraries(self.version).glob("jamm-*.jar")]
        if not self.lasting:
            flags.append("-Dcassandra.test.flush_local_schema_changes=false")
        for package in JAVA_BASE:
            flags += [f"--add-opens=java.base/{package}=ALL-UNNAMED", f"--add-exports=java.base/{package}=ALL-UNNAMED"]
        flags += [f"--add-exports={name}=ALL-UNNAMED" for name in OTHER_EXPORTS]
        flags += ["--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED",
                  f"-Dcassandra.config=file://{self.directory}/cassandra.yaml",
                  f"-Dcassandra.storagedir={self.directory}",
                  f"-Dlogback.configurationFile={HERE}/logback.xml",
                  f"-Dcassandra.jmx.local.port={free_port()}",
                  "-Dcassandra-foreground=yes", "-Dcassandra.skip_wait_for_gossip_to_settle=0",
                  "-Dcassandra.ring_delay_ms=1000", "-Dcassandra.superuser_setup_delay_ms=0",
                  "-cp", jars, "org.apache.cassandra.service.CassandraDaemon"]
        return flags

    def start(self):
        """Starts the daemon and returns at once; wait_ready() tells when it serves."""
        if self.is_listening():
            raise LaunchError(f"{self.address}:{self.port} is already in use: the {self.name} node cannot start there")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.write_files()
        with open(self.log, "ab") as log:
            # A session of its own: a Ctrl-C at the terminal is for whoever started the nodes, who then stops them.
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            cwd=self.directory, start_new_session=True)
        (self.directory / "pid").write_text(f"{self.process.pid}\n")
        return self

    def is_listening(self):
        with socket.socket() as probe:
            probe.settimeout(2)
            return probe.connect_ex((self.address, self.port)) == 0

    def connect(self):
        """A socket to the node, in TLS where it must be."""
        plain = socket.create_connection((self.address, self.port), timeout=5)
        if self.tls in (None, "optional"):
            return plain
        context = ssl.create_default_context(cafile=self.made.ca_pem)
        context.load_cert_chain(self.made.client_pem, self.made.client_key)
        try:
            return context.wrap_socket(plain, server_hostname=self.address)
        except OSError:
            plain.close()
            raise

    def is_serving(self):
        """True when a client could log in now."""
        try:
            with self.connect() as connection:
                options = b"\x00\x01" + b"\x00\x0bCQL_VERSION" + b"\x00\x053.0.0"
                connection.sendall(cql_frame(0x01, options))
                opcode, _ = cql_answer(connection)
                if opcode == 0x03:  # AUTHENTICATE: the default superuser is created some time after the port opens
                    token = b"\x00cassandra\x00cassandra"
                    connection.sendall(cql_frame(0x0F, struct.pack(">i", len(token)) + token))
                    opcode, _ = cql_answer(connection)
                    return opcode == 0x10
                return opcode == 0x02
        except OSError:
            return False

    def wait_ready(self, seconds=180):
        deadline = time.monotonic() + seconds
        while not self.is_serving():
            if self.process is not None and self.process.poll() is not None:
                raise LaunchError(f"the {self.name} node (Cassandra {self.version}) ended with status "
                                  f"{self.process.returncode}; the end of {self.log}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise LaunchError(f"the {self.name} node (Cassandra {self.version}) does not answer on {self.address}:{self.port} "
                                  f"after {seconds} s; the end of {self.log}:\n{self.log_tail()}")
            time.sleep(0.25)
        return self

    def log_tail(self, lines=30):
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return "(no log)"

    def stop(self, seconds=30):
        """SIGTERM, then SIGKILL for one that does not go."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def pause(self):
        """Returns once every thread has stopped: on a busy machine that is well after the signal was sent."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)


def java_program():
    """OpenJDK 17 as Debian installs it, whatever JAVA_HOME says: these versions of Cassandra are particular."""
    found = sorted(pathlib.Path("/usr/lib/jvm").glob("java-17-openjdk-*/bin/java"))
    return str(found[0]) if found else "java"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stop_recorded(directory):
    """Ends the node whose pid is in the directory, if that pid is still that node."""
    path = pathlib.Path(directory) / "pid"
    try:
        pid = int(path.read_text())
        command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return
    if str(directory).encode() not in command:
        return  # the number went to another program since
    for number, seconds in ((signal.SIGCONT, 0), (signal.SIGTERM, 30), (signal.SIGKILL, 10)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and is_running(pid):
            time.sleep(0.1)
        if not is_running(pid):
            break
    path.unlink(missing_ok=True)


def is_running(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def nodes_of(options):
    """The pair that the options describe, origin first."""
    directory = options.directory.resolve()
    made = None
    if options.tls and options.action == "start":
        made = certificates.make(directory / "certificates", [options.origin, options.target, *options.certified])
    versions = {"Origin": options.pair[0], "Target": options.pair[1]}
    return [Node(versions[name], name, address, directory / name.lower(), options.port, options.password, options.tls, made,
                 lasting=not options.fleeting)
            for name, address in (("Origin", options.origin), ("Target", options.target))]


def version_pair(text):
    """3.11-5.0 to ("3.11", "5.0")."""
    versions = tuple(text.split("-"))
    if len(versions) != 2 or not set(versions) <= set(YAML_BY_VERSION):
        raise argparse.ArgumentTypeError(f"{text!r} is no pair of {' and '.join(YAML_BY_VERSION)}, such as 3.11-5.0")
    return versions


def main():
    parser = argparse.ArgumentParser(description="A real Cassandra origin and a real target on loopback addresses.")
    parser.add_argument("action", choices=("fetch", "start", "stop"))
    parser.add_argument("--directory", type=pathlib.Path, default=BUILD / "nodes", help="where the nodes keep their files")
    parser.add_argument("--pair", type=version_pair, default=version_pair("3.11-5.0"), metavar="3.11-5.0",
                        help="versions of origin and target, each 3.11 or 5.0")
    parser.add_argument("--origin", default="127.0.0.2", help="address of the origin")
    parser.add_argument("--target", default="127.0.0.3", help="address of the target")
    parser.add_argument("--port", type=int, default=9042, help="CQL port of both")
    parser.add_argument("--password", action="store_true", help="ask for a password: user cassandra, password cassandra")
    parser.add_argument("--tls", choices=TLS_MODES, help="serve clients in TLS; the certificates are made in DIRECTORY/certificates: "
                        "optional also serves plain ones, mutual wants a client certificate")
    parser.add_argument("--fleeting", action="store_true", help="fast schema changes, which a kill forgets")
    parser.add_argument("--certified", action="append", default=[], metavar="ADDRESS",
                        help="a further address or name that the server certificate is for, such as a proxy's; may be repeated")
    options = parser.parse_args()
    if options.action == "fetch":
        for version in dict.fromkeys(options.pair):
            libraries(version)
        return 0
    try:
        nodes = nodes_of(options)
    except certificates.CertificateError as error:
        print(f"launcher: {error}", file=sys.stderr)
        return 1
    if options.action == "stop":
        for node in nodes:
            stop_recorded(node.directory)
        return 0
    started = []
    try:
        for node in nodes:
            started.append(node.start())
        for node in nodes:
            node.wait_ready()
            print(f"{node.name}: Cassandra {node.version} on {node.address}:{node.port}, log {node.log}", flush=True)
    except (LaunchError, KeyboardInterrupt) as error:
        for node in started:
            node.stop(5)
        print(f"launcher: {error or 'interrupted'}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
