"""What rclone's sentences mean, and what a person gets to see of them."""

from __future__ import annotations

import pytest

from vaultfs.errors import (
    RemoteError,
    RemoteFullError,
    RemoteGoneError,
    RemoteNotConfiguredError,
    RemoteObjectMissingError,
    RemotePermissionError,
    RemoteSignInError,
    RemoteUnavailableError,
    UsageError,
)
from vaultfs.remote.faults import kind_of, meaning
from vaultfs.remote.program import parse_version
from vaultfs.remote.rclone import describe, secrets_in

S3 = "operation error S3: PutObject, https response error StatusCode: {}, RequestID: 4, HostID: , api error {}"
SENTENCES: list[tuple[type[RemoteError], str]] = [
    (RemoteObjectMissingError, "failed to find object: object not found"),
    (RemoteGoneError, "error in ListJSON: directory not found"),
    (RemoteGoneError, S3.format(404, "NoSuchBucket: The specified bucket does not exist")),
    (RemoteNotConfiguredError, 'didn\'t find section in config file ("drvie")'),
    (RemoteNotConfiguredError, 'didn\'t find backend called "s4"'),
    (RemoteUnavailableError, 'Propfind "http://127.0.0.1:401/v": dial tcp 127.0.0.1:401: connect: connection refused'),
    (RemoteUnavailableError, "couldn't connect SSH: dial tcp: lookup nas.example on 1.1.1.1:53: no such host"),
    (RemoteUnavailableError, "googleapi: Error 403: User Rate Limit Exceeded, userRateLimitExceeded"),
    (RemoteUnavailableError, "googleapi: Error 403: Quota exceeded for quota metric 'Queries' of service 'drive'"),
    (RemoteUnavailableError, S3.format(503, "SlowDown: Please reduce your request rate")),
    (RemoteUnavailableError, "HTTP error 429 (429 Too Many Requests) returned body"),
    (RemoteUnavailableError, "words that no one has seen before"),
    (RemoteFullError, "googleapi: Error 403: The user's Drive storage quota has been exceeded., storageQuotaExceeded"),
    (RemoteFullError, "write /mnt/x: no space left on device"),
    (RemoteFullError, "write /mnt/x: disk quota exceeded"),
    (RemoteFullError, "upload failed: path/insufficient_space/"),
    (RemoteFullError, "Put: 507 Insufficient Storage"),
    (RemoteFullError, "quotaLimitReached: Insufficient Space Available"),
    (RemoteSignInError, 'couldn\'t fetch token: invalid_grant: maybe token expired? - try "rclone config reconnect"'),
    (RemoteSignInError, "ssh: handshake failed: ssh: unable to authenticate, attempted methods [none password]"),
    (RemoteSignInError, "read metadata failed: 401 Unauthorized: 401 Unauthorized"),
    (RemoteSignInError, S3.format(403, "InvalidAccessKeyId: The Access Key Id you provided does not exist")),
    (RemoteSignInError, S3.format(403, "SignatureDoesNotMatch: The request signature does not match")),
    (RemoteSignInError, "Failed to load config file: unable to decrypt configuration and not allowed to ask"),
    (RemotePermissionError, S3.format(403, "AccessDenied: Access Denied")),
    (RemoteNotConfiguredError, S3.format(400, "InvalidBucketName: bucket name must be >= 3 characters")),
    (RemoteError, S3.format(400, "MalformedXML: The XML you provided was not well-formed")),
    (RemoteUnavailableError, S3.format(500, "InternalError: We encountered an internal error")),
    (RemoteUnavailableError, S3.format(409, "OperationAborted: A conflicting operation is in progress")),
    (RemotePermissionError, "failed to open file: permission denied"),
    (RemotePermissionError, "mkdir /mnt/x: read-only file system"),
    (RemotePermissionError, "googleapi: Error 403: Insufficient Permission, insufficientFilePermissions"),
]


@pytest.mark.parametrize(("kind", "text"), SENTENCES)
def test_the_kind_of_a_sentence(kind: type[RemoteError], text: str) -> None:
    assert kind_of(text) is kind


def test_only_one_kind_is_worth_another_try() -> None:
    kinds = {kind for kind, _ in SENTENCES}
    assert len({kind.exit_code for kind in kinds}) == len(kinds)


def test_what_only_the_vendor_reads_is_left_out() -> None:
    message = meaning(S3.format(403, "AccessDenied: Access Denied"), remote="r").message
    assert message.startswith("The remote r does not allow it: PutObject, StatusCode: 403, api error AccessDenied")


SPEC = ':s3,provider=Other,access_key_id=AKIA77,secret_access_key=\'x,"y:z\',endpoint="http://h:9":bucket/path'


def test_a_person_sees_the_cause_and_no_secret() -> None:
    text = f"""failed to make "{SPEC}": AKIA77 with x,"y:z\nor 'x,"y:z' is wrong: {"very " * 100}: 401 Unauthorized."""
    error = meaning(text, remote=describe(SPEC), secrets=secrets_in(SPEC))
    assert isinstance(error, RemoteSignInError)
    assert "AKIA77" not in error.message
    assert "y:z" not in error.message
    assert "401 Unauthorized. Nothing" in error.message
    assert len(error.message) < 600
    assert "\n" not in error.message


ESCAPES = "\x1b]52;c;cm0gLXJmIH4=\x07 \x1b[2J\x1b[H \x9b31m \u202etxt \x00 \udc80 Zürich …"


def test_a_terminal_has_nothing_to_obey_in_what_a_server_says() -> None:
    message = meaning(f"HTTP error 500 (500 {ESCAPES})\r\nVault is fine.", remote="r").message
    assert message.isprintable()
    assert r"HTTP error 500 (500 \x1b]52;c;cm0gLXJmIH4=\x07 \x1b[2J\x1b[H \x9b31m \u202etxt \x00 \udc80" in message
    assert "Zürich …) Vault is fine. Nothing was lost" in message


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ("drive:agent-vault", "drive:agent-vault"),
        ("my drive:", "my drive:"),
        (SPEC, ":s3:bucket/path"),
        (":sftp,host=nas,pass=abc,ask_password:vault", ":sftp:vault"),
        (":local:/srv/a:b,c", ":local:/srv/a:b,c"),
        ("b2,hard_delete=true:bucket", "b2:bucket"),
    ],
)
def test_how_a_remote_is_called(spec: str, label: str) -> None:
    assert describe(spec) == label


@pytest.mark.parametrize("spec", ["", "nothing", ":", "a,b=c", "s3,x='y:z", "http//x"])
def test_what_is_no_remote(spec: str) -> None:
    with pytest.raises(UsageError, match="a remote is a directory"):
        describe(spec)


def test_the_version_is_read_from_what_rclone_prints() -> None:
    assert parse_version("rclone v1.75.2\n- os/version: debian") == (1, 75)
    assert parse_version("rclone v1.60.1-DEV\n") == (1, 60)
    assert parse_version("bash: rclone: not found") is None
