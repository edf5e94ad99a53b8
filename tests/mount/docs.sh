#!/usr/bin/env bash
# The documents' recipes for hypervisors work as they are printed: every block marked sh of docs/hypervisors.md is run,
# the machines stopped before their first instruction. What cannot be run here is at least well-formed, and no link
# between documents is dead.
# ctest: TIMEOUT 300
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../support/qemu/rig.sh"
. "$(dirname "${BASH_SOURCE[0]}")/../support/links.sh"
need python3 qemu-system-x86_64
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# blocks FILE LANGUAGE: into $work/blocks/LANGUAGE.N.
blocks() {
  rm -rf "$work/blocks"
  mkdir "$work/blocks"
  awk -v language="$2" -v out="$work/blocks/$2." '
    /^```/ { inside = !inside && $0 == "```" language; if (inside) file = out sprintf("%02d", ++n); next }
    inside { print >file }' "$1"
  [[ -e "$work/blocks/$2.01" ]] || fail "no $2 in ${1##*/}"
}

# The files that links lead to are there.
dead=$(dead_links "$top"/*.md "$top"/{docs,bench}/*.md)
[[ -z "$dead" ]] || fail "dead links: $dead"

# So are the headings that links lead to, and the files that are named.
python3 - "$top" <<'PYTHON' || fail "the documents refer to what is not there"
import pathlib, re, sys
top = pathlib.Path(sys.argv[1])
documents = [*top.glob("*.md"), *top.glob("docs/*.md"), *top.glob("bench/*.md")]
folders = ["src", "fuse", "tests", "bench", "examples", "docs", "include"]
files = [path.relative_to(top).as_posix() for folder in folders for path in (top / folder).rglob("*") if path.is_file()]
errors = []
def headings(path):
    for line in re.findall(r"^#+ (.*)", path.read_text(), re.M):
        yield re.sub(r"[^\w\- ]", "", re.sub(r"\]\(.*?\)", "", line).lower()).replace(" ", "-")
for document in documents:
    text = document.read_text()
    for path, heading in re.findall(r"\]\(([^):#]*)#([^)]+)\)", text):
        if heading not in headings(document.parent / path if path else document):
            errors.append(f"{document.name}: no heading for {path}#{heading}")
    for name in re.findall(r"`((?!\.|build/|MOUNTPOINT|tests/FOLDER)[\w./-]+\.(?:h|cpp|py|sh))`", text):
        if not any(("/" + file).endswith("/" + name) for file in files):
            errors.append(f"{document.name}: no file {name}")
sys.exit("\n".join(errors) or 0)
PYTHON

# The recording in the README still shows what the commands do.
timeout -k 5 200 python3 "$top/docs/demo.py" "$work/demo.svg" >"$work/said" 2>&1 || fail "docs/demo.py: $(<"$work/said")"
commands() { grep -o '>\$ </tspan>.*' "$1"; }
diff <(commands "$work/demo.svg") <(commands "$top/docs/demo.svg") ||
  fail "docs/demo.svg is not of this docs/demo.py: run docs/demo.py docs/demo.svg"

blocks "$top/docs/hypervisors.md" json
for block in "$work/blocks"/*; do python3 -m json.tool "$block" >/dev/null || fail "${block##*/} is not JSON"; done
blocks "$top/docs/libvirt.md" xml
for block in "$work/blocks"/*; do
  python3 -c 'import sys, xml.etree.ElementTree as tree; tree.parse(sys.argv[1])' "$block" || fail "${block##*/} is not XML"
done
blocks "$top/docs/service.md" yaml
if command -v promtool >/dev/null; then
  promtool check rules "$work/blocks/yaml.01" >"$work/said" 2>&1 || fail "promtool: $(<"$work/said")"
fi
if command -v apparmor_parser >/dev/null; then # The lines for AppArmor, as part of a profile; nothing is loaded.
  { echo 'profile fvdfs-test {' && grep '^    /.*,$' "$top/docs/libvirt.md" && echo '}'; } >"$work/profile"
  (($(wc -l <"$work/profile") == 4)) || fail "libvirt.md should have two lines for AppArmor: $(<"$work/profile")"
  apparmor_parser --skip-kernel-load --skip-cache "$work/profile" >"$work/said" 2>&1 || fail "AppArmor: $(<"$work/said")"
else
  echo "no apparmor_parser here: the lines for AppArmor were not checked"
fi
blocks "$top/docs/libvirt.md" sh
for block in "$work/blocks"/*; do sh -n "$block" || fail "${block##*/} is not a script"; done

# The programs by their names. A machine starts with all its devices, tells of its disks, and is ended.
mkdir "$work/bin" "$work/there"
ln -s "$FVD_BINARY" "$work/bin/fvd"
printf '#!/bin/sh\nexec "%s" --pidfile "%s" "$@"\n' "$FVDFS_BINARY" "$pidfile" >"$work/bin/fvdfs"
cat >"$work/bin/qemu-system-x86_64" <<SCRIPT
#!/bin/sh
echo "machine: \$*"
printf 'info block\nquit\n' | timeout -k 5 60 "$(command -v qemu-system-x86_64)" "\$@" -accel tcg -S -display none \\
  -vga none -net none -serial none -monitor stdio
SCRIPT
chmod 755 "$work/bin"/fvdfs "$work/bin/qemu-system-x86_64"
PATH=$work/bin:$PATH
cd "$work/there"
mountpoint=$work/there/vm # for cleaning up

blocks "$top/docs/hypervisors.md" sh
for block in "$work/blocks"/*; do
  bash -euo pipefail "$block" >"$work/said" 2>&1 || { cat "$block" "$work/said" && fail "${block##*/} fails"; }
  if [[ -e "$pidfile" ]]; then daemon=$(<"$pidfile"); fi
  (($(grep -c '^machine' "$work/said") <= $(grep -c 'virtio-backend' "$work/said"))) ||
    { cat "$work/said" && fail "a machine does not have its disk"; }
  if grep -q vmdk "$block"; then
    grep -q 'file format: vmdk' "$work/said" || fail "not a VMDK: $(<"$work/said")"
    printf there | dd of=vm/current-state seek=100000000 oflag=seek_bytes conv=notrunc status=none
    qemu-img compare -f vmdk -F raw vm.vmdk vm/current-state >"$work/said" || fail "the VMDK: $(<"$work/said")"
  fi
done
grep -q consistent "$work/said" || fail "the blocks should end in fvd check: $(<"$work/said")"
