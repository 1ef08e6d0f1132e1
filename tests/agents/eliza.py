"""One turn with ElizaOS, which is a server: start it, say one thing in a channel, stop it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from tests.agents.programs import PROGRAMS, shelf

if TYPE_CHECKING:
    from pathlib import Path

PORT = 18081
PAUSE = 1.0  # it stores its reply after it has answered, and says nowhere that it has done so
CHANNEL = "11111111-1111-4111-8111-111111111111"
_SERVER = "00000000-0000-0000-0000-000000000000"  # its own default
_PERSON = "22222222-2222-4222-8222-222222222222"
_QUIET = {
    "ELIZA_NO_AUTO_INSTALL": "1", "ELIZA_NONINTERACTIVE": "1", "ELIZA_SKIP_LOCAL_CLI_DELEGATION": "1",
    "ELIZA_NO_PLUGIN_AUTO_INSTALL": "1", "ELIZA_UI_ENABLE": "false",
    "npm_config_fetch_retries": "0",  # or its look for updates tries for a minute
}  # fmt: skip


class Eliza:
    """A running server; `output` is what it printed."""

    def __init__(self, state: Path, environment: dict[str, str], cwd: Path) -> None:
        home = shelf() / "eliza/node_modules"
        path = f"{home}/bun/bin:{home}/.bin:{environment['PATH']}"
        character = str(state / "character.json")
        self.output: list[str] = []
        self._ready = threading.Event()  # /api/agents lists agents before they can answer
        self._process = subprocess.Popen(
            [home / "bun/bin/bun", PROGRAMS["eliza"].path, "start", "-p", str(PORT), "--character", character],
            env=environment | _QUIET | {"PATH": path, "PGLITE_DATA_DIR": str(state / ".elizadb")}, cwd=cwd,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            self.output.append(line)
            if "Started agents" in line:
                self._ready.set()
        self._ready.set()

    def say(self, message: str, seconds: float) -> str:
        """The reply; empty where the server has ended or did not answer."""
        if not self._ready.wait(seconds) or self._process.poll() is not None:
            return ""
        try:
            return self._answer(message)
        except urllib.error.URLError as error:
            self.output.append(f"(no answer: {error})\n")  # it ended meanwhile: its own last words are what counts
            return ""

    def _answer(self, message: str) -> str:
        agent = self._call("/agents")["data"]["agents"][0]["id"]
        about = {"isDm": True, "targetUserId": agent, "user_display_name": "person"}
        said = self._call(
            f"/messaging/channels/{CHANNEL}/messages",
            {
                "author_id": _PERSON, "content": message, "message_server_id": _SERVER,
                "source_type": "client_chat", "transport": "http", "metadata": about,
            },
        )  # fmt: skip
        return str((said.get("agentResponse") or {}).get("text") or "")

    def _call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{PORT}/api{path}",
            json.dumps(body).encode() if body else None,
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.loads(answer.read())

    def stop(self, seconds: float = 30) -> int:
        """As a person does, with Ctrl-C; its exit code, or that of a kill if it does not end."""
        time.sleep(PAUSE)
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """At once, with all that it started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()
