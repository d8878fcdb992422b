"""A local stand-in for Astra: a metadata service over mutual TLS, an SNI proxy before the nodes of a cluster, and the bundle that leads to
them. Both are reached as `localhost`, for which alone their certificate is made."""

import http.server
import json
import threading
import uuid
import zipfile

from .programs import free_port
from .tls import Front, server_context

HOST = "localhost"
ADDRESS = "127.0.0.1"


class Astra:
    def __init__(self, directory, authority, cluster, name="astra", names=(HOST,)):
        self.authority, self.cluster, self.name = authority, cluster, name
        self.pair = authority.issue(f"{name}-server", *names)
        self.user = authority.issue(f"{name}-user")
        self.bundle = directory / f"{name}.zip"
        self.requests = 0
        self.answer = None  # instead of the true one: bytes
        self.http = self.front = None
        self.http_port = free_port(ADDRESS)
        self.nodes = self._nodes()
        self.datacenter = cluster.rows("SELECT data_center FROM system.local")[0][0].decode()

    def _nodes(self):
        """(address, port) of each node by host id."""
        rows = self.cluster.rows("SELECT host_id, rpc_address FROM system.local")
        rows += self.cluster.rows("SELECT host_id, rpc_address FROM system.peers")
        return {str(uuid.UUID(bytes=host)): (".".join(map(str, address)), self.cluster.port) for host, address in rows}

    def start(self):
        self.start_proxy()
        self.start_service()
        self.write_bundle()
        return self

    def start_proxy(self):
        """A new SNI proxy, on a port of its own."""
        if self.front is not None:
            self.front.stop()
        self.front = Front(server_context(self.pair, self.authority), ADDRESS, lambda tls: self.nodes.get(tls.asked_for))
        self.front.start()

    def start_service(self):
        astra = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                astra.requests += 1
                body = astra.answer if astra.answer is not None else json.dumps(astra.metadata()).encode()
                self.send_response(200 if self.path == "/metadata" else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer((ADDRESS, self.http_port), Handler)
        context = server_context(self.pair, self.authority)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True, do_handshake_on_connect=False)
        self.http.handle_error = lambda *_: None  # handshakes that fail are part of the plays
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def metadata(self):
        return {
            "version": 1,
            "region": "here",
            "contact_info": {
                "type": "sni_proxy",
                "local_dc": self.datacenter,
                "sni_proxy_address": f"{HOST}:{self.front.port}",
                "contact_points": list(self.nodes),
            },
        }

    def write_bundle(self, leave_out=(), **changes):
        config = {"host": HOST, "port": self.http_port, "keyspace": "ks", "localDC": self.datacenter} | changes
        entries = {
            "config.json": json.dumps(config),
            "ca.crt": self.authority.ca.read_text(),
            "cert": self.user.cert.read_text(),
            "key": self.user.key.read_text(),
            "cqlshrc": "[connection]\n",
        }
        new = self.bundle.with_suffix(".new")
        with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as bundle:
            for name, text in entries.items():
                if name not in leave_out:
                    bundle.writestr(name, text)
        new.rename(self.bundle)

    def stop_service(self):
        if self.http is not None:
            self.http.shutdown()
            self.http.server_close()
        self.http = None

    def stop(self):
        self.stop_service()
        if self.front is not None:
            self.front.stop()


def settings_for(side, astra):
    """Settings of a proxy that reaches this side by its bundle."""
    return {
        f"{side}_SECURE_CONNECT_BUNDLE_PATH": str(astra.bundle),
        f"{side}_CASSANDRA_CONTACT_POINTS": "",
    }
