# shellcheck shell=bash disable=SC2034
# Shell functions that see to the Debian packages that building and testing need. Source it; it runs nothing by itself.

# What it takes to build everything but the documentation.
build_packages=(ca-certificates cmake g++ make ninja-build pkg-config libfuse3-dev libboost-program-options-dev
  libspdlog-dev libgtest-dev libgmock-dev nlohmann-json3-dev libisal-dev)
# What the tests use besides.
test_packages=(fuse3 attr e2fsprogs util-linux mount qemu-utils qemu-system-x86 fio busybox-static cpio strace python3
  procps xz-utils libbenchmark-dev postmark qemu-system-common fish zsh lintian dpkg-dev qemu-guest-agent
  libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients libxml2-utils apparmor
  openssh-client dropbear-bin)
# What the benchmarks use, to be built and to run.
bench_packages=(libbenchmark-dev fuse3 fio qemu-utils qemu-system-common postmark strace e2fsprogs util-linux mount git
  python3)

# Copies its input, and on a terminal shows the last line of it until it ends.
show_last_line() {
  local line
  while IFS= read -r line; do
    printf '%s\n' "$line"
    [[ ! -t 2 ]] || printf '\r\e[K%.78s' "${line##*$'\r'}" >&2
  done
  [[ ! -t 2 ]] || printf '\r\e[K' >&2
}

# need_packages NAME...: installs those that are missing. An ordinary user is told what to install, and the script ends
# with status 1.
need_packages() {
  local missing=() name
  for name in "$@"; do
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" == installed ]] || missing+=("$name")
  done
  ((${#missing[@]})) || return 0
  if ((EUID != 0)); then
    printf 'Missing packages. Install them, then run this again:\n\n  sudo apt-get install %s\n\n' "${missing[*]}" >&2
    exit 1
  fi
  echo "installing (this may take some minutes): ${missing[*]}"
  local log
  log=$(mktemp)
  # The lists on a machine may be absent or too old to name files that the mirror still has.
  if ! (
    set -o pipefail
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
      </dev/null 2>&1 | show_last_line >"$log"
  ); then
    tail -n 30 "$log" >&2
    echo "could not install ${missing[*]}: see above, then try: apt-get install ${missing[*]}" >&2
    rm -f "$log"
    exit 1
  fi
  rm -f "$log"
}

# guest_kernel DIR: leaves a Linux kernel and its modules for a virtual machine under DIR (DIR/boot/vmlinuz-*,
# DIR/lib/modules/*), taken from Debian's package without installing it. Does nothing when they are there already.
guest_kernel() {
  local directory=$1 package work
  compgen -G "$directory/boot/vmlinuz-*" >/dev/null && return 0
  command -v apt-get >/dev/null || return 1
  mkdir -p "$directory"
  work=$(mktemp -d)
  ((EUID != 0)) || chmod 755 "$work"
  package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: *\(linux-image-[0-9].*\)/\1/p' |
    head -n 1)
  if [[ -z "$package" ]] || ! (cd "$work" && apt-get download "$package" >/dev/null 2>&1) ||
    ! dpkg -x "$work"/linux-image-*.deb "$directory"; then
    rm -rf "$work"
    echo "could not fetch the package linux-image-cloud-amd64" >&2
    return 1
  fi
  rm -rf "$work"
}
