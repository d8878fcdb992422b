"""TLS around the programs: a terminator in front of a cluster that speaks none, and clients that speak it."""

import contextlib
import selectors
import socket
import ssl
import threading

from .programs import free_port


class Front(threading.Thread):
    """Listens at an address, takes TLS off and passes the bytes on to where `route` says; counts what it has seen.

    route(connection): (address, port) for an accepted TLS connection, or None to drop it."""

    def __init__(self, context, address, route, port=None):
        super().__init__(daemon=True)
        self.context, self.address, self.route = context, address, route
        self.port = port or free_port(address)
        self.listener = socket.create_server((address, self.port), backlog=128)
        self.accepted = self.resumed = self.failed = 0
        self.server_names = []
        self.is_stopping = False
        self.pairs = set()
        self.lock = threading.Lock()
        if context is not None:
            context.sni_callback = self._on_name

    def _on_name(self, connection, name, _context):
        connection.asked_for = name

    def run(self):
        with contextlib.suppress(OSError):
            while not self.is_stopping:
                plain, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain):
        plain.settimeout(20)
        try:
            secured = self.context.wrap_socket(plain, server_side=True)
        except (OSError, ssl.SSLError):
            self.failed += 1
            plain.close()
            return
        self.accepted += 1
        self.resumed += bool(secured.session_reused)
        self.server_names.append(getattr(secured, "asked_for", None))
        where = self.route(secured)
        try:
            behind = where and socket.create_connection(where, timeout=20)
        except OSError:
            behind = None
        if not behind:
            secured.close()
            return
        with self.lock:
            self.pairs.add((secured, behind))
        # One thread for both ways: an SSL object must not be used by two at once.
        try:
            _pump(secured, behind)
        except (OSError, ssl.SSLError):
            pass
        finally:
            with self.lock:
                self.pairs.discard((secured, behind))
            secured.close()
            behind.close()

    def disconnect(self):
        """Drops every connection there is."""
        with self.lock:
            pairs = list(self.pairs)
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def stop(self):
        self.is_stopping = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.disconnect()


def _pump(secured, behind):
    """Until either side ends."""
    secured.setblocking(False)
    behind.setblocking(False)
    out = {secured: bytearray(), behind: bytearray()}
    with selectors.DefaultSelector() as readiness:
        for end in (secured, behind):
            readiness.register(end, selectors.EVENT_READ)
        while True:
            for end, other in ((secured, behind), (behind, secured)):
                with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                    while len(out[other]) < 1 << 20:
                        data = end.recv(65536)
                        if not data:
                            return
                        out[other] += data
                with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                    while out[other]:
                        del out[other][: other.send(out[other])]
            for end in (secured, behind):
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if out[end] else 0)
                readiness.modify(end, wanted)
            readiness.select(20)


def server_context(pair, client_authority=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    if client_authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_authority.ca)
    return context


def client_context(authority=None, pair=None, checks_name=True):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = checks_name and authority is not None
    if authority is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(authority.ca)
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    return context


class OverTls:
    """A proxy or a cluster whose connect() speaks TLS, for whoever only knows connect()."""

    def __init__(self, program, context):
        self.program, self.context = program, context

    def connect(self, **options):
        return self.program.connect(tls=self.context, **options)

    def query(self, *texts):
        with self.connect() as connection:
            for text in texts:
                connection.query(text)

    def rows(self, text):
        with self.connect() as connection:
            return connection.rows(text)


class Resuming:
    """A context that offers one session with every connection."""

    def __init__(self, context, session):
        self.context, self.session = context, session

    def wrap_socket(self, plain, **options):
        return self.context.wrap_socket(plain, session=self.session, **options)


def secure(cluster, authority, *names, requires=None, issued=None):
    """Has a cluster that is not started yet serve TLS, with a certificate for its address unless names say otherwise."""
    pair = issued or authority.issue(f"node-{cluster.name}", *(names or [cluster.address]))
    cluster.options += ["--tls-cert", str(pair.cert), "--tls-key", str(pair.key)]
    if requires is not None:
        cluster.options += ["--tls-ca", str(requires.ca), "--tls-require-client-auth"]
    return cluster
