#!/usr/bin/env bash
# The counters of mounted images for Prometheus: examples/prometheus-textfile.sh DIRECTORY MOUNTPOINT...
#
# Writes DIRECTORY/fvdfs.prom for the textfile collector of node_exporter (--collector.textfile.directory=DIRECTORY), with
# a label that tells the images apart. For a timer, every minute, say. An image whose mount does not answer is left out,
# and fvdfs_up tells so.
set -euo pipefail
(($# >= 2)) || { echo "usage: prometheus-textfile.sh DIRECTORY MOUNTPOINT..." >&2 && exit 2; }
directory=$1
shift
file=$(mktemp "$directory/.fvdfs.XXXXXX")
trap 'rm -f "$file"' EXIT

{
  for mountpoint in "$@"; do
    label=${mountpoint//\\/\\\\} label=${label//\"/\\\"}
    up=0
    # A metric's lines belong together, whatever image they are of: number 0 is its description, then its values.
    if metrics=$(timeout 10 cat "$mountpoint/.fvd/metrics" 2>/dev/null); then
      up=1
      label=$label awk '
        /^# / { print $3, 0, $0; next }
        {
          name = $1; rest = $0; sub(/^[^ ]* /, "", rest); labels = ""
          if (match(name, /\{.*\}$/)) {
            labels = "," substr(name, RSTART + 1, RLENGTH - 2)
            name = substr(name, 1, RSTART - 1)
          }
          print name, 1, name "{mountpoint=\"" ENVIRON["label"] "\"" labels "} " rest
        }' <<<"$metrics"
    fi
    echo "fvdfs_up 0 # HELP fvdfs_up Whether the mount answers."
    echo "fvdfs_up 0 # TYPE fvdfs_up gauge"
    echo "fvdfs_up 1 fvdfs_up{mountpoint=\"$label\"} $up"
  done
} | LC_ALL=C sort -s -k 1,2 | awk '!seen[$0]++ { sub(/^[^ ]+ [01] /, ""); print }' >"$file"
chmod 644 "$file"
mv "$file" "$directory/fvdfs.prom"
