"""A model on loopback for real programs: the same answer to the same request, at once, and no network needed."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.agents.model_dialects import BY_PATH
from tests.agents.model_requests import answer

PORT = 18080  # stands in the programs' own settings, so it is the same everywhere; each turn has its own network


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing of it on the terminal."""

    def _json(self, value: Any, code: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _missing(self) -> None:
        self._json({"error": {"message": "not found", "type": "not_found_error"}}, 404)

    def do_GET(self) -> None:
        """The models there are: one."""
        if not self.path.partition("?")[0].rstrip("/").endswith("/models"):
            self._missing()
            return
        one = {"id": "fake-model", "object": "model", "created": 0, "owned_by": "fake", "context_length": 200_000}
        self._json({"object": "list", "data": [one]})

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        """An answer in the dialect of the path."""
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0].rstrip("/")
        try:
            body = json.loads(raw or b"{}")
        except ValueError:
            body = {}
        if path.endswith("/count_tokens"):
            self._json({"input_tokens": 10})
        elif path.endswith("/embeddings"):
            self._embeddings(body)
        elif found := next((BY_PATH[end] for end in BY_PATH if path.endswith(end)), None):
            self._say(found[1](body, *answer(found[0], body)))
        else:
            self._missing()

    def _embeddings(self, body: dict[str, Any]) -> None:
        given = body.get("input")
        number = len(given) if isinstance(given, list) else 1
        data = [{"object": "embedding", "index": at, "embedding": [0.01] * 1536} for at in range(number)]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        self._json({"object": "list", "model": "fake", "usage": usage, "data": data})

    def _say(self, said: Any) -> None:
        if isinstance(said, dict):
            self._json(said)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for name, data in said:
            text = data if isinstance(data, str) else json.dumps(data)
            self.wfile.write(f"{f'event: {name}' if name else ''}\ndata: {text}\n\n".lstrip("\n").encode())
        self.wfile.flush()
        self.close_connection = True


class Model:
    """The server, in a thread, for as long as the `with` lasts."""

    def __init__(self, port: int = PORT) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
