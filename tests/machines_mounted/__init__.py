"""Two machines, real mounts, the real command, a real S3 server on loopback: what a person has."""
