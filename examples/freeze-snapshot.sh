#!/usr/bin/env bash
# A snapshot of a running virtual machine with its file systems at rest:
#   examples/freeze-snapshot.sh MOUNTPOINT SNAPSHOT --domain DOMAIN    (libvirt: virsh domfsfreeze and domfsthaw)
#   examples/freeze-snapshot.sh MOUNTPOINT SNAPSHOT --agent SOCKET     (QEMU: the guest agent's socket on the host)
#
# Without freezing a snapshot is what a power cut would leave: sound, but a journal must be replayed, and what programs in
# the machine had not written is not in it. The machine needs qemu-guest-agent. It is always thawed: by a guardian that
# waits for the end of this script, however it ends, kill -9 included.
set -euo pipefail
(($# == 4)) && [[ "$3" == --domain || "$3" == --agent ]] ||
  { echo "usage: freeze-snapshot.sh MOUNTPOINT SNAPSHOT {--domain DOMAIN | --agent SOCKET}" >&2 && exit 2; }
target=$1/snapshots/$2 way=$3 machine=$4
[[ -d "$1/snapshots" ]] || { echo "freeze-snapshot: no image is mounted at $1" >&2 && exit 1; }
[[ ! -e "$target" ]] || { echo "freeze-snapshot: there is a snapshot $2 already" >&2 && exit 1; }

guest() { # guest {ping|freeze|thaw}
  if [[ "$way" == --domain ]]; then
    local call=("domfs$1" "$machine")
    [[ "$1" != ping ]] || call=(qemu-agent-command "$machine" '{"execute":"guest-ping"}')
    timeout --signal=KILL 60 virsh --quiet "${call[@]}" >/dev/null
    return
  fi
  python3 - "$machine" "$1" <<'PYTHON'
import json, os, socket, sys
def told(kind, error, trace):
    print("freeze-snapshot: the guest agent at {}: {}".format(sys.argv[1], getattr(error, "strerror", None) or error), file=sys.stderr)
sys.excepthook = told
agent = socket.socket(socket.AF_UNIX)
agent.settimeout(60)
agent.connect(sys.argv[1])
answers = agent.makefile("rb")
def ask(command, **arguments):
    agent.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
# 0xFF ends what an earlier client left half said, and is answered with an error where there was nothing; the answer with
# this number ends what is still unread.
agent.sendall(b"\xff")
number = int.from_bytes(os.urandom(3), "big")
ask("guest-sync-delimited", id=number)
while True:
    line = answers.readline()
    if not line:
        sys.exit("freeze-snapshot: the guest agent does not answer")
    try:
        if json.loads(line.lstrip(b"\xff")).get("return") == number:
            break
    except ValueError:
        pass
if sys.argv[2] == "ping":
    sys.exit(0)
command = "guest-fsfreeze-" + sys.argv[2]
ask(command)
answer = json.loads(answers.readline().lstrip(b"\xff"))
if "return" not in answer:
    sys.exit("freeze-snapshot: {}: {}".format(command, answer["error"]["desc"]))
PYTHON
}

# Whether an agent answers at all: once a freeze was tried, only thawing will do, and that takes its time to fail.
guest ping || exit 1

# The guardian freezes too, so that no freeze can come after its thaw. Its input ends when this script does.
coproc guardian {
  trap '' INT TERM HUP PIPE
  answer=failed
  ! guest freeze || answer=frozen
  echo "$answer" 2>/dev/null || true
  cat >/dev/null
  for _ in 1 2 3 4 5; do
    guest thaw && exit 0
    sleep 1
  done
  echo "freeze-snapshot: $machine could NOT be thawed; try: virsh domfsthaw, or guest-fsfreeze-thaw" >&2
  exit 1
}
# shellcheck disable=SC2154 # bash sets it
guardian_id=$guardian_PID guardian_input=${guardian[1]}

status=0
read -r answer <&"${guardian[0]}" && [[ "$answer" == frozen ]] || status=1
if ((status == 0)); then timeout 60 mkdir "$target" || status=$?; fi
exec {guardian_input}>&-
wait "$guardian_id" || status=$?
exit "$status"
