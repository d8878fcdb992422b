"""What DSE does and cqlsim does not: continuous paging, put between a proxy and a cluster that speaks DSE's versions. Everything
else goes through as it came."""

import contextlib
import socket
import struct
import threading

from support import wire
from support.waiting import wait_until

REVISE_REQUEST = 0xFF
CONTINUOUS_PAGING = 0x80000000  # of a request
PAGE, LAST_PAGE = 0x40000000, 0x80000000  # of Rows metadata
CANCEL, MORE = 1, 2


def page(number, is_last, size):
    """RESULT Rows with one row (n int, pad blob)."""
    flags = PAGE | 0x01 | (LAST_PAGE if is_last else 0)
    columns = wire.string("n") + struct.pack(">H", 9) + wire.string("pad") + struct.pack(">H", 3)
    metadata = struct.pack(">Ii", flags, 2) + struct.pack(">i", number) + wire.string("ks") + wire.string("t") + columns
    return struct.pack(">i", 2) + metadata + struct.pack(">i", 1) + wire.value(wire.int_value(number)) + wire.value(bytes(size))


def page_of(frame):
    """(number, whether it is the last, length of the pad) of such a page."""
    kind, flags, _, number = struct.unpack(">iIii", frame.body[:16])
    assert frame.name == "RESULT" and kind == 2 and flags & PAGE
    return number, bool(flags & LAST_PAGE), len(frame.body) - len(page(number, False, 0))


class ContinuousPaging:
    """Looks like the cluster to a proxy: address, port, user, password. A QUERY with the continuous paging flag whose text is
    `pages COUNT SIZE` is answered with so many pages, each when `step` is released; of `pages 0 SIZE` there is no end."""

    def __init__(self, cluster):
        self.cluster, self.name = cluster, cluster.name
        self.address, self.user, self.password = cluster.address, None, None
        self.listener = socket.create_server((cluster.address, 0))
        self.port = self.listener.getsockname()[1]
        self.step = threading.Semaphore(0)
        self.revisions = []  # (what, stream id) as they arrived
        self.running = {}  # stream id: event that ends it
        self.is_closing = False
        self.sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.is_closing = True
        for _ in range(1000):
            self.step.release()
        for one in [self.listener, *self.sockets]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection((self.cluster.address, self.cluster.port))
                self.sockets += [client, server]
                lock = threading.Lock()
                threading.Thread(target=self._down, args=(server, client, lock), daemon=True).start()
                threading.Thread(target=self._up, args=(client, server, lock), daemon=True).start()

    @staticmethod
    def _frames(source):
        buffer = b""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                buffer += data
                while len(buffer) >= 9 and len(buffer) >= 9 + struct.unpack(">i", buffer[5:9])[0]:
                    end = 9 + struct.unpack(">i", buffer[5:9])[0]
                    yield buffer[:end]
                    buffer = buffer[end:]

    def _down(self, server, client, lock):
        for frame in self._frames(server):
            with lock, contextlib.suppress(OSError):
                client.sendall(frame)
        client.close()

    def _up(self, client, server, lock):
        with contextlib.suppress(OSError):
            for frame in self._frames(client):
                version, _, stream, opcode, _ = struct.unpack(">BBhBi", frame[:9])
                if opcode == REVISE_REQUEST:
                    self._revise(client, lock, version, stream, frame[9:])
                elif opcode == wire.OPCODES["QUERY"] and b"pages " in frame:
                    text = frame[13 : 13 + struct.unpack(">i", frame[9:13])[0]].decode()
                    flags = struct.unpack(">I", frame[13 + len(text) + 2 :][:4])[0]
                    assert flags & CONTINUOUS_PAGING
                    count, size = (int(word) for word in text.split()[-2:])
                    self.running[stream] = threading.Event()
                    arguments = (client, lock, version, stream, count, size)
                    threading.Thread(target=self._page, args=arguments, daemon=True).start()
                else:
                    server.sendall(frame)
        server.close()

    @staticmethod
    def _answer(client, lock, version, stream, body):
        with lock, contextlib.suppress(OSError):
            client.sendall(struct.pack(">BBhBi", version | 0x80, 0, stream, wire.OPCODES["RESULT"], len(body)) + body)

    def _page(self, client, lock, version, stream, count, size):
        number, end = 0, self.running[stream]
        while not end.is_set() and (count == 0 or number < count):
            self.step.acquire()
            if self.is_closing or end.is_set():
                return
            number += 1
            self._answer(client, lock, version, stream, page(number, number == count, size))

    def _revise(self, client, lock, version, stream, body):
        what, named = struct.unpack(">ii", body[:8])
        self.revisions.append((what, named))
        wait_until(lambda: named in self.running, "the request it names is running here")
        if what == CANCEL:
            self.running[named].set()
        self._answer(client, lock, version, stream, struct.pack(">i", 1))
