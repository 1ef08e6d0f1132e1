# shellcheck shell=bash
# Shared by the two commands: installs, makes the work directory, and clears it away at the end.

source "$(dirname -- "${BASH_SOURCE[0]}")/../.ci/setup.sh"

# prepare KIND [PEER...]: VENV with the extra KIND is there, the peers where they can be had, $work is an empty
# directory on a disk.
prepare() {
  local kind=$1 parent=${TMPDIR:-/var/tmp}
  shift
  ensure_packages "${RUN_PACKAGES[@]}" git
  (($# == 0)) || try_packages "$@"
  ensure_venv "$kind"
  ensure_fuse
  [[ $(stat -f -c %T "$parent") != tmpfs ]] || say "# $parent is in memory: set TMPDIR to a directory on a disk"
  work=$(mktemp -d "$parent/vaultfs-bench.XXXXXX")
  trap clear_away EXIT
  trap 'exit 143' TERM INT HUP
  export PATH=$VENV/bin:$PATH PYTHONPATH=$PROJECT
}

# The programs unmount what they mounted; this is for when they could not.
clear_away() {
  local code=$? mount
  trap - EXIT
  while read -r mount; do
    say "# unmounting $mount"
    fusermount3 -uz "$mount" 2>/dev/null || umount -l "$mount" || true
  done < <(findmnt -rn -o TARGET | grep -F "$work/" || true)
  rm -rf --one-file-system "$work"
  exit "$code"
}
