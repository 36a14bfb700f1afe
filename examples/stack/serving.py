"""What the three servers share: JSON over HTTP, on the port in MLG_PORT."""

import json
import os
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Answer = Callable[[str, dict[str, str]], Any]
"""Takes path and query; returns what to answer, or None for 404."""


def serve(answer: Answer) -> None:
    """Answer GET requests until the process is ended; `/health` says that it runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query))
            found = {"ok": True} if parts.path == "/health" else answer(parts.path, query)
            body = json.dumps(found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    port = int(os.environ["MLG_PORT"])
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
