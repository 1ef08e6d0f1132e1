"""What rclone's words mean: one of our errors for each failure, told apart by what helps.

rclone gives no codes, so this reads the sentences of its back ends. Words that are not known count as unavailable:
trying again costs little and ends at the call's deadline, and the sentence is shown in `status`.
"""

from __future__ import annotations

import re

from vaultfs.errors import (
    RemoteError,
    RemoteFullError,
    RemoteGoneError,
    RemoteNotConfiguredError,
    RemoteObjectMissingError,
    RemotePermissionError,
    RemoteSignInError,
    RemoteUnavailableError,
)

#: In this order: the first that matches decides, so what is more particular stands further up.
_MEANINGS: list[tuple[type[RemoteError], str]] = [
    (
        RemoteNotConfiguredError,
        (
            r"didn't find section in config|didn't find backend called|unknown provider|config name contains invalid"
            r"|need the .* (?:option|parameter)|must (?:set|provide|supply)|couldn't parse|error parsing|invalid option"
            r"|is a file not a directory|InvalidBucketName"
        ),
    ),
    # Before "quota": Drive calls both rationing and a full disk a quota.
    (
        RemoteUnavailableError,
        (
            r"rateLimitExceeded|too many requests|\b429\b \w|StatusCode: 4(?:08|09|29)|SlowDown|quota metric|throttl"
            r"|RequestTimeTooSkewed|connection refused|connection reset|no such host|i/o timeout|network is unreachable"
            r"|no route to host|TLS handshake timeout|context deadline exceeded|unexpected EOF|broken pipe"
        ),
    ),
    (
        RemoteFullError,
        (
            r"no space left|disk quota|quota ?exceeded|storageQuota|over(?: the)? quota"
            r"|insufficient[ _]?(?:space|storage)|not enough (?:free )?(?:space|storage)|StorageFull|storage limit"
            r"|file too (?:large|big)|quotaLimitReached"
        ),
    ),
    (
        RemoteSignInError,
        (
            r"401 Unauthorized|StatusCode: 401|Error 401|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken"
            r"|InvalidToken|InvalidClientTokenId|TokenRefreshRequired|invalid_grant|invalid_client|invalid_token"
            r"|token (?:has )?expired|empty token|couldn't fetch token|failed to (?:get|refresh) token|no refresh token"
            r"|unable to authenticate|login incorrect|not logged in|bad credentials|invalid credentials"
            r"|NoCredentialProviders|static credentials are empty|no EC2 IMDS role|failed to refresh cached credentials"
            r"|unable to decrypt config|encrypted config|knownhosts|key is unknown|host key"
        ),
    ),
    (
        RemotePermissionError,
        (
            r"permission denied|AccessDenied|access denied|403 Forbidden|StatusCode: 403|Error 403|Forbidden: Forbidden"
            r"|insufficientFilePermissions|insufficient (?:file )?(?:permission|scope)|read-only file system"
            r"|operation not permitted|SSH_FX_PERMISSION_DENIED|writing .*not permitted"
        ),
    ),
    (RemoteGoneError, r"directory not found|NoSuchBucket|bucket (?:does not exist|not found)|couldn't find bucket"),
    (RemoteObjectMissingError, r"object not found|NoSuchKey"),
    (RemoteError, r"StatusCode: 4\d\d|Error 400|400 Bad Request"),
]
_PATTERNS = [(kind, re.compile(words, re.IGNORECASE)) for kind, words in _MEANINGS]
_NOISE = re.compile(
    r"(?:panic received: fatal error: |operation error \w+: |https response error |RequestID: [^,]*, |HostID: [^,]*, )"
)
_LONGEST = 300


def kind_of(text: str) -> type[RemoteError]:
    """The class of error that rclone's sentence stands for."""
    return next((kind for kind, pattern in _PATTERNS if pattern.search(text)), RemoteUnavailableError)


def in_one_line(text: str) -> str:
    """What others said, as a terminal can show it: a server's words may hold sequences that a terminal obeys."""
    words = " ".join(text.split())
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in words)


def meaning(text: str, *, remote: str, name: str = "", secrets: tuple[str, ...] = ()) -> RemoteError:
    """The error for a person: rclone's sentence in one line, without what must not be shown."""
    kind = kind_of(text)
    for secret in secrets:
        text = text.replace(secret, "…")
    text = _NOISE.sub("", text)
    detail = in_one_line(text).rstrip(".")
    if len(detail) > _LONGEST:  # the cause stands at the end
        detail = f"{detail[:60]} … {detail[60 - _LONGEST :]}"
    return kind(remote=remote, detail=detail, object=name)
