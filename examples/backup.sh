#!/usr/bin/env bash
# Incremental backup of a mounted image to another machine, through ssh: examples/backup.sh MOUNTPOINT HOST IMAGE
#
# Takes a snapshot and sends it to the image IMAGE on HOST, made there at the first time; from the second time on only what
# changed since the one before. The virtual machine goes on running. Here only the newest snapshot of a backup stays, to
# tell the next what changed; there all do, until someone deletes them. A transfer that breaks off leaves IMAGE as it
# was, and the next run sends all that is missing. For a user who may log in to HOST with a key and run fvd there.
set -euo pipefail
(($# == 3)) || { echo "usage: backup.sh MOUNTPOINT HOST IMAGE" >&2 && exit 2; }
mountpoint=$1 host=$2 image=$3
[[ -d "$mountpoint/.fvd/send" ]] || { echo "backup: no image is mounted at $mountpoint" >&2 && exit 1; }
there() { ssh "$host" "$(printf '%q ' "$@")"; }
shopt -s nullglob

new=backup-$(date --utc +%Y-%m-%dT%H:%M:%SZ)
size=$(stat -c %s "$mountpoint/current-state")
there sh -c "[ -e \"\$1\" ] || fvd create \"\$1\" $size" sh "$image" >/dev/null
names=$(there fvd snapshot list --json "$image" | sed -n 's/^ *"name": "\(backup-[^"]*\)",$/\1/p')

# The newest snapshot of a backup that both have.
mine=("$mountpoint"/snapshots/backup-????-??-??T??:??:??Z)
mine=("${mine[@]##*/}")
old=''
for name in "${mine[@]}"; do
  if grep -qxF "$name" <<<"$names"; then old=$name; fi
done

mkdir "$mountpoint/snapshots/$new"
there fvd receive "$image" <"$mountpoint/.fvd/send/${old:+$old..}$new"
for name in "${mine[@]}"; do rmdir "$mountpoint/snapshots/$name"; done
