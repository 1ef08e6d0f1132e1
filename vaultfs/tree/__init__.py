"""The working tree: inodes, names, content, journal. Plain calls that never wait."""

from vaultfs.tree.inode import ROOT, Inode
from vaultfs.tree.opening import create_store, open_store
from vaultfs.tree.state import Device
from vaultfs.tree.tree import OpenFile, Tree, TreeStats

__all__ = ["ROOT", "Device", "Inode", "OpenFile", "Tree", "TreeStats", "create_store", "open_store"]
