#!/usr/bin/env bash
# fvdfs as a service: systemd finds no fault with the unit, and what its lines run does what they are for. They are run
# by hand, in a mount namespace with an installation as /usr/local and stand-ins for the sockets of systemd.
# ctest: TIMEOUT 120
set -euo pipefail
: "${FVD_BUILD_DIR:?the build directory}"

((EUID == 0)) || { echo "service: needs root for a mount namespace: skipped" && exit 77; }
command -v python3 >/dev/null || { echo "service: no python3: skipped" && exit 77; }
if [[ "${1-}" != inside ]]; then
  unshare --mount true 2>/dev/null || { echo "service: no mount namespaces here: skipped" && exit 77; }
  exec timeout -k 10 100 unshare --mount --propagation private bash "${BASH_SOURCE[0]}" inside
fi
. "$(dirname "${BASH_SOURCE[0]}")/../support/namespace.sh"

fail() {
  echo "service: $*" >&2
  [[ ! -s "$work/journal" ]] || sed 's/^/journal: /' "$work/journal" >&2
  exit 1
}

work=$(mktemp -d)
daemon='' listener=''
clean_up() {
  [[ -z "$daemon" ]] || kill -KILL "$daemon" 2>/dev/null || true
  umount -l "$work/dir" 2>/dev/null || true
  [[ -z "$listener" ]] || kill "$listener" 2>/dev/null || true
  umount /etc /run /usr/local 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT
eventually() { # eventually COMMAND...: within ten seconds.
  local tries
  for ((tries = 0; tries < 200; tries++)); do
    ! "$@" || return 0
    sleep 0.05
  done
  return 1
}
mounted() { grep -q " $work/dir fuse.fvdfs " /proc/self/mounts; }

cmake --install "$FVD_BUILD_DIR" --prefix "$work/prefix" >"$work/log" || { cat "$work/log" && fail "cmake --install"; }
mount --bind "$work/prefix" /usr/local
unit=/usr/local/lib/systemd/system/fvdfs@.service
if command -v systemd-analyze >/dev/null; then
  said=$(systemd-analyze verify --man=no "$unit" 2>&1 | grep -i fvdfs || true)
  [[ -z "$said" ]] || fail "systemd-analyze verify says: $said"
else
  echo "no systemd-analyze here: the unit was not verified"
fi

# The configuration, and what systemd would run for fvdfs@test.
mkdir -p "$work/etc/fvdfs" "$work/run/systemd/journal"
printf 'IMAGE=%s\nMOUNTPOINT=%s\nOPTIONS=-o allow_other --log-level info\n' "$work/disk.fvd" "$work/dir" \
  >"$work/etc/fvdfs/test.conf"
cp /etc/passwd /etc/group "$work/etc/"
ln -s /proc/self/mounts "$work/etc/mtab"
mount --bind "$work/etc" /etc
mount --bind "$work/run" /run
run_line() { (become "$1"); }
become() { # become NAME: the command of that line, as systemd would run it: without a shell, quotes as quotes.
  local line
  line=$(sed -n "s/^$1=-\{0,1\}//p" "$unit")
  exec python3 - "$line" "/etc/fvdfs/test.conf" <<'PYTHON'
import os, re, shlex, sys
line, configuration = sys.argv[1:]
for entry in open(configuration):
    name, value = entry.rstrip("\n").split("=", 1)
    os.environ[name] = value
words = []
for word in shlex.split(line):
    if re.fullmatch(r"\$\w+", word):  # $NAME alone: split into words
        words += os.environ.get(word[1:], "").split()
        continue
    word = re.sub(r"(?<!\$)\$\{(\w+)\}", lambda name: os.environ[name[1]], word)
    words.append(word.replace("$$", "$"))
os.execvp(words[0], words)
PYTHON
}

cat >"$work/listen.py" <<'PYTHON'
# Writes down what comes in at the journal's socket, field by field, and at the one for readiness.
import os, select, socket, struct, sys
work = sys.argv[1]
def listen(path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(path)
    return listener
journal, notify = listen("/run/systemd/journal/socket"), listen(work + "/notify")
print("listening", flush=True)
while True:
    for ready in select.select([journal, notify], [], [])[0]:
        data = ready.recv(65536)
        with open(work + ("/journal" if ready is journal else "/states"), "a") as out:
            if ready is notify:
                out.write(data.decode() + "\n")
                continue
            fields = {}
            while data:
                name, data = data.split(b"\n", 1)
                (size,) = struct.unpack("<Q", data[:8])
                fields[name.decode()], data = data[8:8 + size].decode(), data[9 + size:]
            out.write("{SYSLOG_IDENTIFIER} <{PRIORITY}> {MESSAGE}\n".format(**fields))
PYTHON
python3 "$work/listen.py" "$work" >"$work/listening" &
listener=$!
eventually test -s "$work/listening" || fail "the stand-ins do not start"

start() {
  rm -f "$work/states"
  run_line ExecStartPre
  NOTIFY_SOCKET=$work/notify become ExecStart &
  daemon=$!
}
is_ready() { [[ "$(cat "$work/states" 2>/dev/null)" == READY=1 ]]; }
stop() { # As systemd does: SIGTERM, then the line for afterwards, which a clean end leaves nothing to do.
  local status=0
  kill -TERM "$daemon"
  wait "$daemon" || status=$?
  daemon=''
  ((status == 0)) || fail "the daemon ended with status $status"
  ! mounted || fail "still mounted"
  ! run_line ExecStopPost || fail "something was left to unmount"
}

# Before the image is there: a failure (not wrong usage, which would not be tried again), told in the journal.
status=0
run_line ExecStartPre
run_line ExecStart 2>"$work/said" || status=$?
[[ $status == 1 ]] || fail "without an image: status $status, $(<"$work/said")"

/usr/local/bin/fvd create "$work/disk.fvd" 16M >/dev/null
start
eventually is_ready || fail "the service manager is not told: $(cat "$work/states")"
mounted || fail "ready, but not mounted"
printf one | dd of="$work/dir/current-state" conv=notrunc status=none
stop
journal_has() { grep -q "^fvdfs <6> $work/disk.fvd $1" "$work/journal"; }
eventually journal_has "mounted at $work/dir" || fail "the journal lacks the mount"
eventually journal_has closed || fail "the journal lacks the end"

# A daemon that was killed leaves a dead mount. The line for afterwards removes it, and the next start recovers.
start
eventually is_ready || fail "no second start"
kill -KILL "$daemon"
wait "$daemon" 2>/dev/null || true
daemon=''
mounted || fail "the dead mount went by itself: nothing was tried"
run_line ExecStopPost || fail "the dead mount is not removed"
! mounted || fail "the dead mount is still there"
start
eventually is_ready || fail "no start after a crash"
[[ "$(head -c 3 "$work/dir/current-state")" == one ]] || fail "the disk holds something else"
stop

# A name of the abstract kind; and what cannot be a socket is nobody to tell.
for name in "@fvdfs-$$" relative /nonexistent/notify; do
  NOTIFY_SOCKET=$name become ExecStart &
  daemon=$!
  eventually test -e "$work/dir/current-state" || fail "no start with NOTIFY_SOCKET=$name"
  stop
done

kill "$listener"
wait "$listener" 2>/dev/null || true
listener=''
rm /run/systemd/journal/socket
! run_line ExecStart 2>"$work/said" || fail "started without a journal"
grep -q "^fvdfs: cannot log to journald: /run/systemd/journal/socket: No such file" "$work/said" ||
  fail "without a journal it says: $(<"$work/said")"
/usr/local/bin/fvd check "$work/disk.fvd" >/dev/null || fail "the image is not consistent"
