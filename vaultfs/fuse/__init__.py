"""Kernel requests to tree calls, nothing else. The only importer of pyfuse3."""
