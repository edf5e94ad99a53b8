# shellcheck shell=bash disable=SC2154
# An ordinary user for a script that runs in a mount namespace of its own, with a /dev/fuse as on a system for users.
# Source it there. The script has a directory $work, the programs under test, and a function skip.
. "$(dirname "${BASH_SOURCE[0]}")/namespace.sh"

# ssh takes to the terminal that it reads from, if any, and is stopped for it where timeout runs it in the background.
exec </dev/null

user=fvdtest$$-$RANDOM user_is_made=no

# The user, with a home in $work that has a directory mnt, and copies of the programs, which may lie where the user cannot
# reach them.
make_user() {
  useradd --no-create-home --home-dir "$work/home" --shell /bin/sh "$user" 2>/dev/null || skip "no user can be made"
  user_is_made=yes
  mkdir -p "$work"/{dev,bin} "$work"/home/{mnt,tmp}
  mount -t tmpfs -o mode=755 fvdfs-test "$work/dev"
  mknod -m 666 "$work/dev/fuse" c 10 229 && mount --bind "$work/dev/fuse" /dev/fuse || skip "no /dev/fuse can be made"
  cp "$FVD_BINARY" "$work/bin/fvd"
  cp "$FVDFS_BINARY" "$work/bin/fvdfs"
  chmod 755 "$work" "$work/bin" "$work/bin"/*
  chown -R "$user" "$work/home"
  run_as "$user" 10 ': <>/dev/fuse' 2>/dev/null || skip "/dev/fuse cannot be opened here"
}

# For cleaning up: what make_user made, as far as it came, but for files.
remove_user() {
  umount -l "$work/home/mnt" 2>/dev/null
  [[ "$user_is_made" == no ]] || userdel --force "$user" 2>/dev/null
  umount /dev/fuse "$work/dev" 2>/dev/null
}

# run_as USER SECONDS SCRIPT: in the home of the test's user.
run_as() {
  timeout -k 5 "$2" runuser -u "$1" -- env PATH="$work/bin:$PATH" HOME="$work/home" TMPDIR="$work/home/tmp" \
    FVD_BINARY="$work/bin/fvd" FVDFS_BINARY="$work/bin/fvdfs" bash -euo pipefail -c "cd $work/home; $3"
}
