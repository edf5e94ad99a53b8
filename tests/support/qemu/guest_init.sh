#!/bin/busybox sh
# The whole user space of a test's virtual machine. The disk holds an ext4 in its first 64 MiB; the rest is for records.
#
# fvd_mode=write: writes numbered records, each synced before the next, both as sectors after the ext4 and as lines of
# /log in it; says "SYNCED n" when record n is stable. Another process keeps the disk busy. Each record is marked
# "before", or "after" once a line was typed on the console; after ten of those the machine powers off.
# fvd_mode=read: says how many records it finds in each place, whether any is out of sequence, and how many are marked
# "after", as "RAW count wrong after" and "EXT4 count wrong after".
# fvd_mode=agent: runs QEMU's guest agent; says "READY" when it has written /fresh, not synced; after a line was typed on the
# console it writes and syncs /after, says "WRITTEN", and powers off.
# fvd_mode=probe: says "ALIVE".
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
exec </dev/ttyS0 >/dev/ttyS0 2>&1
if grep -q fvd_mode=probe /proc/cmdline; then
  echo ALIVE
  poweroff -f
fi
while read -r module; do insmod "/modules/$module"; done </modules/order
tries=0
until [ -b /dev/vda ] || [ $((tries += 1)) -gt 100 ]; do sleep 0.1; done

count_records() {
  tr -d '\000' | awk -v word="$1" '$1 == "record" { if ($2 != ++n) wrong = 1; if ($3 != "before") after++ }
    END { print word, n + 0, wrong + 0, after + 0 }'
}

if ! mount -t ext4 /dev/vda /mnt; then
  echo "cannot mount the disk"
  poweroff -f
fi
case "$(cat /proc/cmdline)" in
  *fvd_mode=write*)
    (read -r line </dev/ttyS0 && : >/after) &
    (while [ ! -e /stop ]; do dd if=/dev/urandom of=/mnt/noise bs=64k count=32 conv=notrunc,fsync 2>/dev/null; done) &
    noise=$!
    n=0 left=10
    while [ $left -gt 0 ]; do
      mark=before
      if [ -e /after ]; then
        mark=after
        left=$((left - 1))
      fi
      n=$((n + 1))
      printf '%-511s\n' "record $n $mark" | dd of=/dev/vda bs=512 seek=$((131072 + n)) conv=notrunc,fsync 2>/dev/null &&
        echo "record $n $mark" | dd of=/mnt/log oflag=append conv=notrunc,fsync 2>/dev/null &&
        echo "SYNCED $n"
    done
    : >/stop
    wait $noise
    ;;
  *fvd_mode=agent*)
    mkdir -p /var/run
    qemu-ga -m virtio-serial -p "$(ls /dev/vport*p1)" -t /var/run -f /var/run/agent.pid &
    agent=$!
    echo unsynced >/mnt/fresh
    echo READY
    read -r line </dev/ttyS0
    echo thawed | dd of=/mnt/after conv=fsync 2>/dev/null && echo WRITTEN
    kill $agent
    ;;
  *)
    dd if=/dev/vda bs=1M skip=64 2>/dev/null | count_records RAW
    count_records EXT4 </mnt/log
    echo here >/mnt/back
    ;;
esac
umount /mnt && echo "UNMOUNTED"
poweroff -f
