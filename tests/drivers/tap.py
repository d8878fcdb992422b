"""A listener between a driver and the proxy that passes every byte on and notes what the two agree upon: drivers seldom tell whether
they compress, and fall back in silence when they may not."""

import contextlib
import socket
import struct
import threading

from support.wire import NAMES, Reader


class Greeting:
    """One direction of a connection, parsed until the handshake is over; from then on bytes may be compressed or in segments."""

    def __init__(self, on_frame):
        self.buffer, self.on_frame = bytearray(), on_frame

    def feed(self, data):
        if self.on_frame is None:
            return
        self.buffer += data
        while self.on_frame is not None and len(self.buffer) >= 9:
            version, _, _, opcode, length = struct.unpack(">BBhBi", self.buffer[:9])
            if len(self.buffer) < 9 + length:
                return
            body = bytes(self.buffer[9 : 9 + length])
            del self.buffer[: 9 + length]
            if self.on_frame(version & 0x7F, NAMES.get(opcode), body):
                self.on_frame = None


class Tap:
    """A context; `address` and `port` are where to connect: the proxy's own address, which drivers also read in system.local. `agreed`
    holds (version, compression) of each handshake that went well."""

    def __init__(self, proxy):
        self.address, self.upstream = proxy.address, (proxy.address, proxy.port)
        self.agreed, self.sockets = [], []
        self.listener = socket.create_server((self.address, 0), backlog=128)
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        for each in (self.listener, *self.sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def accept(self):
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                client, _ = self.listener.accept()
                self.sockets.append(client)
                self.join(client)

    def join(self, client):
        """Connects a driver with the proxy, or hangs up on it as the proxy did."""
        try:
            server = socket.create_connection(self.upstream)
        except OSError:
            client.close()
            return
        self.sockets.append(server)
        asked = {}

        def on_request(version, name, body):
            if name == "STARTUP":
                reader = Reader(body)
                asked.update({reader.string(): reader.string() for _ in range(reader.unpack("H"))}, version=version)
            return name == "STARTUP"

        def on_answer(_, name, body):
            is_agreed = name in ("READY", "AUTHENTICATE")
            if is_agreed:
                self.agreed.append((asked["version"], asked.get("COMPRESSION")))
            return is_agreed

        for source, sink, greeting in ((client, server, Greeting(on_request)), (server, client, Greeting(on_answer))):
            threading.Thread(target=pump, args=(source, sink, greeting), daemon=True).start()


def pump(source, sink, greeting):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            greeting.feed(data)
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
