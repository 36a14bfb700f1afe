"""Viewers who never wait, and who note which version answered each of them.

Reads one JSON line, `{"port", "path", "rate"}`; sends at that rate until standard input ends;
then answers one JSON line with a row `[sent_s, status, version]` a request, in which `sent_s`
is on the machine's monotonic clock, and status 0 is a lost connection or no answer. With
`"timed": true` a row of an answer ends with its milliseconds from when it was due.
"""  # noqa: INP001 - a script, no package

import asyncio
import json
import re
import sys
import time

from serving_client import Load, Wire, bodies

VIEWERS, LATE_S = 100_000, 5.0
VERSION = re.compile(rb'"model_version":"([^"]*)"')


class NotedWire(Wire):
    """Also keeps when its request left."""

    sent_s = 0.0

    def ask(self, due, data):
        self.sent_s = time.monotonic()
        super().ask(due, data)


class Noted(Load):
    """Until it is told to end."""

    def __init__(self, port, rate, requests, timed=False):
        super().__init__(port, rate, 0.0, requests)
        self.timed = timed
        self.rows, self.ending = [], asyncio.Event()

    def answered(self, wire, good):
        found = VERSION.search(wire.buffer)
        row = (wire.sent_s, int(wire.buffer[9:12]), found[1].decode() if found else "")
        ms = (1e3 * (time.monotonic() - wire.due),) if self.timed else ()
        self.rows.append((*row, *ms))
        self.idle(wire)

    def lost(self, wire):
        if wire in self.free:
            self.free.remove(wire)
        else:  # with a request in hand
            self.rows.append((wire.sent_s, 0, ""))
        asyncio.ensure_future(self.connect())

    async def connect(self):
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: NotedWire(self), "127.0.0.1", self.port)

    async def run(self):
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin.fileno(), self.ending.set)
        for _ in range(64):
            await self.connect()
        print("ready", flush=True)
        began = time.monotonic()
        while not self.ending.is_set():
            self.send_due(began, time.monotonic())
            await asyncio.sleep(max(0.0003, began + self.sent / self.rate - time.monotonic()))
        ended = time.monotonic()
        while len(self.rows) < self.sent and time.monotonic() < ended + LATE_S:
            await asyncio.sleep(0.005)
        self.rows += [(ended, 0, "")] * (self.sent - len(self.rows))


def main():
    """Send until standard input ends, then tell."""
    import uvloop

    asked = json.loads(sys.stdin.readline())
    requests = bodies(asked["path"], "plain", VIEWERS)

    async def send():
        load = Noted(asked["port"], asked["rate"], requests, asked.get("timed", False))
        await load.run()
        return load.rows

    print(json.dumps(uvloop.run(send())), flush=True)


if __name__ == "__main__":
    main()
