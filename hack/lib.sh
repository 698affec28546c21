# Sourced by the scripts under hack/: versions, where things are cached, and how to say what is wrong.
# shellcheck shell=bash disable=SC2034
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${CHURN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/churn-operator}
# shellcheck source=hack/versions.env
source "$REPO/hack/versions.env"

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# Twelve hex digits that stand for everything read from stdin.
digest() { sha256sum | cut -c1-12; }

# The virtual environment of this checkout. $CACHE/venv is that of the checkout that was set up last.
venv() { echo "$CACHE/venv-$(cat "$REPO/requirements-dev.txt" - <<<"$PYTHON" | digest)"; }

# Installs the Debian packages that are missing.
need_packages() {
  local package missing=()
  for package; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]} == 0)) && return
  command -v apt-get >/dev/null || die "this needs Debian $DEBIAN or a relative: there is no apt-get to install ${missing[*]}"
  ((EUID == 0)) || die "not root, and these Debian packages are missing: ${missing[*]}"
  say "installing ${missing[*]}"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
    >"$CACHE/apt.log" 2>&1 || die "apt-get could not install ${missing[*]}: see $CACHE/apt.log"
}

need_commands() {
  local name
  for name; do command -v "$name" >/dev/null || die "this needs $name, and it is not on the PATH"; done
}

docker_runs() { command -v docker >/dev/null && docker info >/dev/null 2>&1; }

# Runs a function while no other process runs one under the same name.
alone() { # name function argument…
  local name=$1
  shift
  (flock 9 && "$@") 9>"$CACHE/$name.lock"
}

# Puts uv, pip's faster relative, into the cache and sets UV_BIN. It lies alone in its folder, so that an image can borrow it.
need_uv() {
  UV_BIN=$CACHE/uv-$UV/bin/uv
  [[ -x $UV_BIN ]] || alone uv install_uv
}

install_uv() {
  [[ -x $UV_BIN ]] && return
  need_packages python3-venv
  local venv=$CACHE/uv-$UV/venv
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet "uv==$UV"
  mkdir -p "${UV_BIN%/*}"
  ln "$venv/bin/uv" "$UV_BIN"
}

# KUBECONFIG, KUBECTL, HELM, AUDIT_LOG and their like become variables of the script.
use_cluster() {
  local line
  while IFS= read -r line; do export "${line?}"; done < <("$REPO/hack/cluster/cluster" env)
}

# Images are built in a storage of our own.
buildah_() { buildah --root "$CACHE/buildah" --runroot /run/churn-operator-buildah "$@"; }

# This checkout's code runs, whichever checkout the virtual environment was made from.
export PYTHONPATH=$REPO/operator
mkdir -p "$CACHE"
