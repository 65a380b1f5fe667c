# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Shared by tools/demo, tools/test and .ci/run: packages, configuring and building, with the time
# that each stage took. Expects `set -euo pipefail`; sets `root` and changes into it. A stage runs
# where errexit is off, so its functions return at the first failure themselves.
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
cd -- "$root" || exit

packages=(
  g++ cmake ninja-build ccache pkg-config python3
  libcaf-dev libfmt-dev libyaml-cpp-dev prometheus-cpp-dev libcivetweb-dev libhwy-dev
  libuv1-dev libxxhash-dev libcli11-dev nlohmann-json3-dev libcurl4-openssl-dev libgtest-dev libgmock-dev
)

say() { printf '\n== %s\n' "$*"; }

# stage NAME COMMAND...: runs the command and prints how long it took.
stage() {
  local name=$1 begin=$SECONDS status=0
  shift
  say "$name"
  "$@" || status=$?
  if ((status == 0)); then
    printf -- '-- %s: %d s\n' "$name" $((SECONDS - begin))
  else
    printf -- '-- %s: failed after %d s\n' "$name" $((SECONDS - begin)) >&2
  fi
  return "$status"
}

missing_packages() {
  local name
  for name in "${packages[@]}"; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null) == installed ]] ||
      printf '%s\n' "$name"
  done
}

# Installs what is missing. Nothing happens, and the network is not needed, when all is there.
install_packages() {
  if ! command -v dpkg-query >/dev/null; then
    echo "This needs Debian 12 or Ubuntu 24.04 for its packages; elsewhere build with CMake." >&2
    return 1
  fi
  local missing as_root=()
  mapfile -t missing < <(missing_packages)
  if ((${#missing[@]} == 0)); then
    echo "all ${#packages[@]} packages are installed"
    return 0
  fi
  if ((EUID != 0)); then
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
      as_root=(sudo)
    else
      echo "Packages are missing. Run this as root, then try again:" >&2
      echo "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
      return 1
    fi
  fi
  "${as_root[@]}" apt-get update -q || return
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# configure PRESET [CMAKE ARGUMENTS]: only where it has not been done with these arguments;
# ninja itself configures again when a CMake file has changed.
configure() {
  local preset=$1 stamp="build/$1/.configured"
  if [[ -f $stamp && -f build/$preset/build.ninja && $(<"$stamp") == "$*" ]]; then
    echo "build/$preset is configured"
    return 0
  fi
  cmake --preset "$@" || return
  printf '%s' "$*" >"$stamp"
}

# build PRESET [TARGETS]: all cores.
build() {
  local preset=$1 targets=()
  shift
  (($#)) && targets=(--target "$@")
  cmake --build "build/$preset" --parallel "$(nproc)" "${targets[@]}"
}
