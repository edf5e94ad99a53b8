#!/usr/bin/env bash
# cpack makes the Debian packages, each with its files and what it needs, and lintian finds neither error nor warning in them.
# ctest: TIMEOUT 300
set -euo pipefail
: "${FVD_BUILD_DIR:?the build directory}"

skip() { echo "package: $*: skipped" && exit 77; }
. "$(dirname "${BASH_SOURCE[0]}")/../support/links.sh"
for name in cpack dpkg-deb dpkg-shlibdeps file; do command -v "$name" >/dev/null || skip "no $name"; done

fail() {
  echo "package: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && cpack -G DEB --config "$FVD_BUILD_DIR/CPackConfig.cmake" -B "$work/packages") >"$work/log" 2>&1 ||
  { cat "$work/log" && fail "cpack"; }
cd "$work/packages"

lists() { # lists PACKAGE PATH...: that it has these files.
  local package=$1 path
  shift
  dpkg-deb -c "$package"_*.deb | sed 's/ -> .*//' | awk '{ print $6 }' | sed 's|^\./||; /\/$/d' | sort >"$work/$package"
  for path in "$@" "usr/share/doc/$package/copyright" "usr/share/doc/$package/changelog.Debian.gz"; do
    grep -qxF "$path" "$work/$package" || fail "$package lacks $path: $(<"$work/$package")"
  done
}
needs() { # needs PACKAGE NAME...: that it depends on these packages.
  local package=$1 depends name
  shift
  depends=", $(dpkg-deb -f "$package"_*.deb Depends),"
  for name in "$@"; do [[ "$depends" == *", $name "* || "$depends" == *", $name,"* ]] || fail "$package: $depends"; done
}

lists fvdfs usr/bin/fvdfs usr/bin/fvd usr/sbin/mount.fvdfs usr/share/man/man1/{fvdfs,fvd,fvd-check}.1.gz \
  usr/share/man/man5/fvd-format.5.gz usr/share/doc/fvdfs/{docs/format.md,examples/backup.sh,changelog.gz} \
  usr/lib/systemd/system/fvdfs@.service usr/share/bash-completion/completions/{fvd,fvdfs} \
  usr/share/zsh/vendor-completions/_fvd usr/share/fish/vendor_completions.d/{fvd,fvdfs}.fish
lists libfvd0 usr/lib/libfvd.so.0
lists libfvd-dev usr/lib/libfvd.{a,so} usr/include/fvd/{image,status,version}.h usr/lib/cmake/fvd/fvd-config.cmake
needs fvdfs fuse3 libfuse3-3 libc6
needs libfvd0 libisal2
needs libfvd-dev libfvd0 libisal-dev
dpkg-deb -x fvdfs_*.deb "$work/fvdfs.tree"
mapfile -t documents < <(find "$work/fvdfs.tree/usr/share/doc" -name '*.md')
((${#documents[@]})) || fail "fvdfs has no documents"
dead=$(dead_links "${documents[@]}")
[[ -z "$dead" ]] || fail "dead links in the documents of fvdfs: $dead"
[[ -z "$(sort "$work"/{fvdfs,libfvd0,libfvd-dev} | uniq -d)" ]] || fail "a file is in two packages"

if command -v lintian >/dev/null; then
  lintian --fail-on error,warning --allow-root ./*.deb >"$work/lintian" 2>&1 || { cat "$work/lintian" && fail "lintian"; }
else
  echo "no lintian here: it was not asked"
fi
