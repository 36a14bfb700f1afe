"""An open-loop HTTP client: requests leave when they are due, whoever still waits.

Latency counts from the time at which a request was due, so a server that stalls pays for every
request that would have come meanwhile (no coordinated omission). A due request that finds no
idle connection waits for one, and that wait counts too.
"""  # noqa: INP001 - a script, no package

import asyncio
import json
import random
import sys
import time
from collections import deque

CONNECTIONS, LATE_S = 64, 2.0


class Wire(asyncio.Protocol):
    """One kept connection; at most one request in hand."""

    def __init__(self, load):
        self.load, self.due, self.buffer, self.need = load, 0.0, b"", -1

    def connection_made(self, transport):
        self.transport = transport
        self.load.idle(self)

    def ask(self, due, data):
        self.due, self.buffer, self.need = due, b"", -1
        self.transport.write(data)

    def data_received(self, data):
        self.buffer += data
        if self.need < 0:
            head = self.buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            heads = self.buffer[:head].lower()
            place = heads.find(b"content-length:")
            if place < 0:  # chunked: ends with an empty chunk
                if not self.buffer.endswith(b"0\r\n\r\n"):
                    return
                self.need = len(self.buffer)
            else:
                self.need = head + 4 + int(heads[place + 15 :].split(b"\r\n", 1)[0])
        if len(self.buffer) >= self.need:
            self.load.answered(self, self.buffer[9:12] == b"200")

    def connection_lost(self, exc):
        self.load.lost(self)


class Load:
    """Sends at a constant rate for some seconds."""

    def __init__(self, port, rate, seconds, requests):
        self.port, self.rate, self.seconds, self.requests = port, rate, seconds, requests
        self.free, self.waiting = deque(), deque()
        self.times, self.failed, self.sent = [], 0, 0

    def idle(self, wire):
        if self.waiting:
            wire.ask(*self.waiting.popleft())
        else:
            self.free.append(wire)

    def answered(self, wire, good):
        self.times.append(time.perf_counter() - wire.due)
        self.failed += not good
        self.idle(wire)

    def lost(self, wire):
        if wire in self.free:
            self.free.remove(wire)

    def send_due(self, began, now, total=float("inf")):
        """Send what is due by now, or queue it where no connection is idle."""
        while self.sent < total and (due := began + self.sent / self.rate) <= now:
            data = self.requests[self.sent % len(self.requests)]
            if self.free:
                self.free.popleft().ask(due, data)
            else:
                self.waiting.append((due, data))
            self.sent += 1

    async def run(self):
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            await loop.create_connection(lambda: Wire(self), "127.0.0.1", self.port)
        cpu, began = time.process_time(), time.perf_counter()
        total = int(self.rate * self.seconds)
        while self.sent < total:
            self.send_due(began, time.perf_counter(), total)
            await asyncio.sleep(max(0.0005, began + self.sent / self.rate - time.perf_counter()))
        within = len(self.times)
        ended = time.perf_counter()
        while len(self.times) < total and time.perf_counter() < ended + LATE_S:
            await asyncio.sleep(0.005)
        times = sorted(self.times)
        spent = time.perf_counter() - began

        def at(q):
            return 1e3 * times[min(len(times) - 1, int(q * len(times)))] if times else None

        return {
            "offered": total, "answered": len(times), "within": within, "failed": self.failed,
            "seconds": spent, "window_s": ended - began, "p50_ms": at(0.5), "p99_ms": at(0.99),
            "client_cpu_s": time.process_time() - cpu,
        }  # fmt: skip


def bodies(path, shape, viewers, count=20_000):
    """Return whole requests of viewers drawn uniformly with a fixed seed."""
    rng, found = random.Random(3), []
    for _ in range(count):
        viewer = rng.randrange(viewers)
        body = json.dumps(
            {"inputs": [{"name": "viewer", "shape": [1], "datatype": "INT64", "data": [viewer]}]}
            if shape == "v2"
            else {"user_id": [viewer]}
            if shape == "rows"
            else {"user_id": viewer, "k": 50}
        ).encode()
        found.append(
            b"POST %s HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
            % (path.encode(), len(body), body)
        )
    return found


def main():
    """Read one JSON line a window on standard input, answer one."""
    import uvloop

    made = {}
    for line in sys.stdin:
        asked = json.loads(line)
        key = (asked["path"], asked["shape"])
        made.setdefault(key, bodies(*key, asked["viewers"]))
        load = Load(asked["port"], asked["rate"], asked["seconds"], made[key])
        print(json.dumps(uvloop.run(load.run())), flush=True)


if __name__ == "__main__":
    main()
