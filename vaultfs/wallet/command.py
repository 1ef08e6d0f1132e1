"""An external program as signer: hardware, a phone, remote approval, a key service.

`command:CMD` is split as a shell would split it, but no shell runs it. It is called in two ways:

    CMD public-key      prints the Ed25519 public key
    CMD sign            reads the message from standard input to its end, prints the signature

Answers are raw bytes (32 or 64, nothing else), or one line of hex, base64 with padding, or base58. Exit code
0 means done, any other no. Standard error and the terminal are the program's own, to ask the person.
"""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

from vaultfs.errors import SignerError, UsageError
from vaultfs.wallet.signer import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Signer
from vaultfs.wallet.text import parse_fixed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vaultfs.wallet.surroundings import Surroundings

TIMEOUT_SECONDS = 120.0  # a person may have to find the phone first


class CommandSigner(Signer):
    """Signs by running a program. `command:CMD`."""

    kind = "command"

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], timeout: float = TIMEOUT_SECONDS
    ) -> None:
        """`command` is program and arguments; each call may take `timeout` seconds."""
        self._command = list(command)
        self._environment = dict(environment)
        self._timeout = timeout
        self._public_key: bytes | None = None

    @classmethod
    def from_spec(cls, argument: str, around: Surroundings) -> CommandSigner:
        """From what stands after `command:`. `VAULTFS_SIGNER_TIMEOUT` sets the seconds each call may take."""
        try:
            command = shlex.split(argument)
        except ValueError:
            raise UsageError(detail="The signer command has an unfinished quotation") from None
        if not command:
            raise UsageError(detail="Say which program signs: command:CMD") from None
        text = around.environment.get("VAULTFS_SIGNER_TIMEOUT", str(TIMEOUT_SECONDS))
        try:
            timeout = float(text)
        except ValueError:
            timeout = 0
        if not 0 < timeout <= 24 * 3600:
            raise UsageError(detail="VAULTFS_SIGNER_TIMEOUT must be a number of seconds, up to a day")
        return cls(command, around.environment, timeout)

    @property
    def public_key(self) -> bytes:
        """What `CMD public-key` answers, asked once. 32 bytes."""
        if self._public_key is None:
            self._public_key = self._run("public-key", b"", PUBLIC_KEY_BYTES)
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """What `CMD sign` answers, asked each time. 64 bytes."""
        return self._run("sign", message, SIGNATURE_BYTES)

    def _run(self, action: str, given: bytes, size: int) -> bytes:
        program = self._command[0]
        try:
            done = subprocess.run(  # noqa: S603 - the person named this program
                [*self._command, action],
                input=given,
                stdout=subprocess.PIPE,
                env=self._environment,
                timeout=self._timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SignerError(detail=f"{program} {action} did not answer in {self._timeout:g} s") from None
        except OSError as error:
            raise SignerError(detail=f"{program} cannot be run ({error.strerror})") from None
        except ValueError:
            raise SignerError(detail="the command holds a NUL byte") from None
        if done.returncode != 0:
            raise SignerError(detail=f"{program} {action} ended with exit code {done.returncode}")
        answer = parse_fixed(done.stdout, size)
        if answer is None:
            raise SignerError(detail=f"{program} {action} must print {size} bytes, raw or as text")
        return answer
