# shellcheck shell=bash
# For scripts that run in a mount namespace of their own. Source it there; it does its work at once.
#
# The namespace began with a copy of every mount on the machine, and as long as a copy is there, what another test unmounts
# is not free: its loop device stays busy and its daemon does not end. What tests mount goes from here.
while read -r mounted_source mounted_at mounted_type _; do
  if [[ "$mounted_at" != / && ("$mounted_type" == fuse.* || "$mounted_source" == /dev/loop*) ]]; then
    umount -l "$(printf '%b' "$mounted_at")" 2>/dev/null || true
  fi
done < <(tac /proc/self/mounts)
unset mounted_source mounted_at mounted_type
