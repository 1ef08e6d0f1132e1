# shellcheck shell=bash
# Shared by ./quickstart, ./test, .ci/run and benchmarks/: what this machine lacks, and the project's own venv.
# Sourced, never run. Sets PROJECT (the directory of the project) and, after `ensure_venv`, VENV.

PROJECT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly LACKING=3 # exit code: something must be installed that only the administrator can install

say() { printf '%s\n' "$*" >&2; }

die() {
  local code=$1
  shift
  say "$@"
  exit "$code"
}

# quietly WHAT COMMAND...: runs it silently; where it fails, says so and shows the end of what it printed.
quietly() {
  local what=$1 log code=0
  shift
  log=$(mktemp)
  "$@" >"$log" 2>&1 </dev/null || code=$?
  if ((code)); then
    say "Failed: $what (exit code $code). The end of what it said:"
    tail -n 25 "$log" >&2
  fi
  rm -f "$log"
  return "$code"
}

has() { command -v "$1" >/dev/null 2>&1; }

# What a Python is asked: whether it is new enough, makes virtual environments, and can have modules in C compiled.
readonly IS_NEW='import sys; assert sys.version_info >= (3, 11)'
readonly HAS_VENV='import ensurepip, venv'
readonly HAS_HEADERS='import os, sysconfig; assert os.path.exists(sysconfig.get_paths()["include"] + "/Python.h")'

# python_command: the first Python that is new enough. The system's own comes first if nothing is missing: it is built
# with profile-guided optimization, those of pyenv are not, and the daemon then takes a tenth longer.
python_command() {
  local name
  if [[ -z ${PYTHON:-} ]] && /usr/bin/python3 -c "$IS_NEW; $HAS_VENV; $HAS_HEADERS" 2>/dev/null; then
    echo /usr/bin/python3
    return
  fi
  for name in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
    if has "$name" && "$name" -c "$IS_NEW" 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  return 1
}

python_has() {
  local python
  python=$(python_command) && "$python" -c "$1" >/dev/null 2>&1
}

# present PACKAGE: whether what we want from the Debian package is here, wherever it came from.
present() {
  case $1 in
  python3) python_command >/dev/null ;;
  python3-venv) python_has "$HAS_VENV" ;;
  python3-dev) python_has "$HAS_HEADERS" ;;
  libpython3-testsuite) python_has 'import test.test_os, test.support' ;;
  libfuse3-dev) has pkg-config && pkg-config --exists fuse3 ;;
  libc6-dev) [[ -e /usr/include/stdio.h ]] ;;
  fuse3) has fusermount3 ;;
  attr) has getfattr ;;
  acl) has setfacl ;;
  openssh-client) has ssh-agent ;;
  procps) has ps ;;
  systemd) has systemd-analyze ;;
  bash-completion) [[ -e /usr/share/bash-completion/bash_completion ]] ;;
  *) has "$1" ;;
  esac
}

# package_name PACKAGE: as Debian calls it where the name depends on the Python.
package_name() {
  if [[ $1 == libpython3-testsuite ]]; then
    "$(python_command || echo python3)" -c 'import sys; print("libpython3.%d-testsuite" % sys.version_info[1])'
  else
    printf '%s\n' "$1"
  fi
}

# missing PACKAGE...: those of them that are not present, one on a line.
missing() {
  local name
  for name in "$@"; do
    present "$name" || package_name "$name"
  done
}

# install_packages PACKAGE...: by apt, as root or through sudo; fails where neither can be had.
install_packages() {
  local -a as_root=()
  if ((EUID != 0)); then
    # Without a terminal sudo could only wait for a password that nobody types.
    if has sudo && { sudo -n true 2>/dev/null || [[ -t 0 && -t 2 ]]; }; then
      as_root=(sudo)
      sudo -v || return 1
    else
      return 1
    fi
  fi
  has apt-get || return 1
  say "Installing: $*"
  as_root+=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
  quietly "apt-get update" "${as_root[@]}" update || return 1
  quietly "apt-get install $*" "${as_root[@]}" install --no-install-recommends "$@"
}

# ensure_packages PACKAGE...: installs what is missing; where that cannot be done, says what to ask for and ends.
ensure_packages() {
  local -a lacking
  mapfile -t lacking < <(missing "$@")
  ((${#lacking[@]})) || return 0
  install_packages "${lacking[@]}" || die "$LACKING" "These Debian packages are needed, and could not be installed here:

    ${lacking[*]}

Ask the administrator of this machine for them:  apt-get install ${lacking[*]}
Then run this again. Nothing else needs an administrator."
  mapfile -t lacking < <(missing "$@")
  ((${#lacking[@]} == 0)) || die "$LACKING" "Installed, but still not found: ${lacking[*]}. Python 3.11 or newer is needed."
}

# try_packages PACKAGE...: as above for what is useful but not needed: each on its own, and no failure ends anything.
try_packages() {
  local name
  local -a one
  for name in "$@"; do
    mapfile -t one < <(missing "$name")
    ((${#one[@]} == 0)) || install_packages "${one[@]}" || say "Going on without ${one[*]}: the tests that need it are skipped."
  done
}

# What building and running takes. pyfuse3 comes as source and is compiled against libfuse.
# shellcheck disable=SC2034  # used by the scripts that source this
readonly RUN_PACKAGES=(python3 fuse3 pkg-config libfuse3-dev gcc libc6-dev python3-dev python3-venv)

# ensure_venv run|dev: VENV is a virtual environment with the project (for dev: and the test tools) in it, up to date.
ensure_venv() {
  local kind=$1 what=$PROJECT python digest
  python=$(python_command) || die "$LACKING" "Python 3.11 or newer is needed (Debian 12 and later have it)."
  digest=$("$python" -c 'import sys; print(sys.version)' | cat - "$PROJECT/pyproject.toml" | sha256sum | cut -c1-32)
  VENV=${VAULTFS_VENV:-$PROJECT/.venv}
  _venv_ready "$digest" "$kind" && return 0
  if [[ -z ${VAULTFS_VENV:-} && (! -w $PROJECT || (-e $VENV && ! -w $VENV)) ]]; then
    # Somebody else's checkout: an ordinary user still gets an environment.
    VENV=${XDG_CACHE_HOME:-$HOME/.cache}/vaultfs-venv-$(printf %s "$PROJECT" | sha256sum | cut -c1-8)
    _venv_ready "$digest" "$kind" && return 0
  fi
  [[ $kind == run ]] || what+="[$kind]"
  say "Preparing $VENV: a minute or two the first time"
  if ! "$VENV/bin/python" -c 'import pip' 2>/dev/null || ! grep -qsx "$digest" "$VENV/.base"; then
    rm -rf "$VENV"
    quietly "making a virtual environment" "$python" -m venv "$VENV" || exit 1
    printf '%s\n' "$digest" >"$VENV/.base"
  fi
  quietly "pip install" "$VENV/bin/python" -m pip install -q --disable-pip-version-check \
    -e "$what" || die 1 "Is the network there? pip needs it once."
  printf '%s\n' "$digest" >"$VENV/.ready-$kind"
}

_venv_ready() {
  local digest=$1 kind=$2
  # What the tests need contains what running needs.
  { grep -qsx "$digest" "$VENV/.ready-$kind" || grep -qsx "$digest" "$VENV/.ready-dev"; } &&
    "$VENV/bin/python" -c 'import vaultfs, pyfuse3' 2>/dev/null
}

# ensure_fuse: the kernel's side.
ensure_fuse() {
  if [[ ! -e /dev/fuse ]] && ((EUID == 0)); then
    modprobe fuse 2>/dev/null || true
  fi
  [[ -e /dev/fuse ]] || die "$LACKING" "There is no /dev/fuse here: the kernel's fuse module is needed (modprobe fuse, as root). \
In a container, start it with: --device /dev/fuse --cap-add SYS_ADMIN"
  if [[ ! -r /dev/fuse || ! -w /dev/fuse ]]; then
    die "$LACKING" "You may not open /dev/fuse. It is open to all where udev runs; ask for: chmod 0666 /dev/fuse"
  fi
}
