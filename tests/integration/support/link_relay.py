"""A relay on the control link that loses, repeats, delays, reorders, cuts and alters frames on purpose. The data plane connects to
it as to the control plane; what no fault is asked for passes unchanged. docs/control-link.md describes the frames."""

import contextlib
import json
import os
import socket
import struct
import threading
import time

# What a fault does with a frame: bytes, whether it ends the link after them.
HEADER = struct.Struct(">I")
TO_CONTROL = ("HELLO", "ACK", "NACK", "STATS")  # said by data planes; SNAPSHOT and REFUSED by the control plane, PING by both


def frame(body):
    return HEADER.pack(len(body)) + body


def encode(message):
    return frame(json.dumps(message).encode())


class Fault:
    """Applies to the next `times` frames of one type that pass in one direction."""

    def __init__(self, kind, act, times):
        self.kind, self.act, self.left = kind, act, times
        self.done = threading.Event()

    def wait(self, timeout=15):
        assert self.done.wait(timeout), f"no {self.kind} has come by"


class Direction:
    """Frames one way. A fault's act gets (message, data, send) and sends what is to arrive."""

    def __init__(self):
        self.lock = threading.Lock()
        self.faults, self.seen = [], []

    def add(self, kind, act, times=1):
        fault = Fault(kind, act, times)
        with self.lock:
            self.faults.append(fault)
        return fault

    def lose(self, kind, times=1):
        return self.add(kind, lambda message, data, send: None, times)

    def repeat(self, kind, times=1):
        return self.add(kind, lambda message, data, send: send(data + data), times)

    def delay(self, kind, seconds, times=1):
        """The frame and all behind it: a stream keeps its order."""

        def late(message, data, send):
            time.sleep(seconds)
            send(data)

        return self.add(kind, late, times)

    def swap(self, kind):
        """The next frame of this type arrives after the one of this type that follows it."""
        held = []

        def hold(message, data, send):
            if held:
                send(data + held.pop())
            else:
                held.append(data)

        return self.add(kind, hold, 2)

    def truncate(self, kind, keep):
        """Only the first bytes of the frame arrive; what is sent behind it follows at once."""
        return self.add(kind, lambda message, data, send: send(data[:keep]))

    def alter(self, kind, change, times=1):
        """change(message) gives the message that arrives instead."""
        return self.add(kind, lambda message, data, send: send(encode(change(dict(message)))), times)

    def garble(self, kind, data):
        """These bytes arrive in its place."""
        return self.add(kind, lambda message, original, send: send(data))

    def clear(self):
        with self.lock:
            self.faults.clear()

    def types(self):
        return [message["type"] for message in list(self.seen)]

    def last(self, kind):
        return next((message for message in reversed(list(self.seen)) if message["type"] == kind), None)

    def pass_on(self, data, send):
        message = json.loads(data[HEADER.size :])
        with self.lock:
            fault = next((fault for fault in self.faults if fault.kind == message["type"]), None)
            if fault:
                fault.left -= 1
                if fault.left == 0:
                    self.faults.remove(fault)
            self.seen.append(message)
        if fault is None:
            send(data)
            return
        fault.act(message, data, send)
        if fault.left == 0:
            fault.done.set()


class LinkRelay:
    """with LinkRelay(path, control.socket_path) as relay: … CONTROL_SOCKET=path."""

    def __init__(self, path, upstream):
        self.path, self.upstream = str(path), str(upstream)
        self.to_control, self.to_dataplane = Direction(), Direction()
        self.lock = threading.Lock()
        self.links = 0  # made so far
        self.open, self.threads = [], []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(16)

    def __enter__(self):
        self._start(self._accept)
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive(), "the relay hangs"
        os.unlink(self.path)

    def _start(self, run, *arguments):
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                lower, _ = self.listener.accept()
            except OSError:
                return
            upper = socket.socket(socket.AF_UNIX)
            try:
                upper.connect(self.upstream)
            except OSError:
                upper.close()
                lower.close()
                continue
            with self.lock:
                self.open += [lower, upper]
                self.links += 1
            self._start(self._pump, lower, upper, self.to_control)
            self._start(self._pump, upper, lower, self.to_dataplane)

    @staticmethod
    def _read(source, count):
        data = b""
        while len(data) < count:
            piece = source.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def _pump(self, source, sink, direction):
        with contextlib.suppress(EOFError, OSError):
            while True:
                header = self._read(source, HEADER.size)
                direction.pass_on(header + self._read(source, *HEADER.unpack(header)), sink.sendall)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)  # what goes the other way may still arrive

    def cut(self):
        """Ends every link that stands."""
        with self.lock:
            links, self.open = self.open, []
        for link in links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def heal(self):
        self.to_control.clear()
        self.to_dataplane.clear()
