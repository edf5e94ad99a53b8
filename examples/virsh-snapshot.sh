#!/usr/bin/env bash
# As virsh's snapshot commands, for a domain of libvirt whose disk is a current-state:
#   examples/virsh-snapshot.sh create DOMAIN NAME    frozen and thawed if the domain runs and has a guest agent
#   examples/virsh-snapshot.sh revert DOMAIN NAME    ends the domain, goes to the snapshot, starts it again if it ran
#   examples/virsh-snapshot.sh delete DOMAIN NAME
#   examples/virsh-snapshot.sh list DOMAIN
set -euo pipefail
usage() { echo "usage: virsh-snapshot.sh {create|revert|delete} DOMAIN NAME, or list DOMAIN" >&2 && exit 2; }
die() { echo "virsh-snapshot: $*" >&2 && exit 1; }
(($# >= 2)) || usage
action=$1 domain=$2 name=${3-}
[[ "$action" == list || -n "$name" ]] || usage

mapfile -t disks < <(virsh --quiet domblklist "$domain" | awk '{ sub(/^ *[^ ]+ +/, "") } /\/current-state$/')
((${#disks[@]} == 1)) || die "$domain has ${#disks[@]} disks that are a current-state: this is for one"
mountpoint=${disks[0]%/current-state}
if [[ ! -d "$mountpoint/snapshots" ]]; then
  die "no image is mounted at $mountpoint; mount it first (systemctl start fvdfs@$domain, where that is how it is mounted)"
fi
state=$(virsh --quiet domstate "$domain")

case "$action" in
  create)
    if [[ "$state" == running* ]] && virsh --quiet qemu-agent-command "$domain" '{"execute":"guest-ping"}' >/dev/null 2>&1; then
      exec "$(dirname "${BASH_SOURCE[0]}")/freeze-snapshot.sh" "$mountpoint" "$name" --domain "$domain"
    fi
    mkdir "$mountpoint/snapshots/$name"
    ;;
  revert)
    [[ -d "$mountpoint/snapshots/$name" ]] || die "no snapshot $name"
    ran=no image=$(findmnt -nro SOURCE --mountpoint "$mountpoint" | tail -n 1)
    if [[ "$state" != shut\ off* && "$state" != crashed* ]]; then
      ran=yes
      virsh --quiet destroy "$domain"
    fi
    go_to() { # Where a hook of libvirt unmounts the image with the end of the machine, the tool does it.
      if [[ -d "$mountpoint/snapshots" ]]; then
        mv "$mountpoint/snapshots/$name" "$mountpoint/snapshots/current-state"
      else
        "${FVD_BINARY-fvd}" snapshot goto "$image" "$name"
      fi
    }
    for ((tries = 0; tries < 100; tries++)); do # until QEMU has let go of the disk
      go_to 2>/dev/null && break || sleep 0.1
    done
    ((tries < 100)) || go_to
    if [[ "$state" == paused* ]]; then paused=--paused; else paused=''; fi
    [[ "$ran" == no ]] || virsh --quiet start "$domain" $paused
    ;;
  delete) rmdir "$mountpoint/snapshots/$name" ;;
  list) cat "$mountpoint/.fvd/tree" ;;
  *) usage ;;
esac
