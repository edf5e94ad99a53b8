#!/usr/bin/env bash
# What the shells offer on command lines of fvd and fvdfs. bash's functions run as bash would run them, fish completes by
# itself, and zsh's functions run on stand-ins for those of its completion system.
set -euo pipefail
: "${FVD_BINARY:?the program fvd}" "${FVDFS_BINARY:?the program fvdfs}"
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
scripts=$source_dir/src/cli/completion
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "completion: $*" >&2
  exit 1
}

same() { [[ "$2" == "$3" ]] || fail "$1: offers '$2', not '$3'"; }

mkdir "$work/bin" "$work/images"
ln -s "$FVD_BINARY" "$work/bin/fvd"
ln -s "$FVDFS_BINARY" "$work/bin/fvdfs"
PATH=$work/bin:$PATH
cd "$work/images"
mkdir folder info
touch notes.txt
fvd create disk.fvd 16M >/dev/null
fvd snapshot create -d 'as it came' disk.fvd base
fvd snapshot create disk.fvd 'be sure'
fvd snapshot create disk.fvd '2026-11-24T03:00'
fvd snapshot create disk.fvd 'C:\'
fvd snapshot create disk.fvd 'a $(touch x) `touch x`'

. "$scripts/fvd.bash"

compopt() { [[ "$2" != filenames ]] || treated=$1; }

# offered WORD...: what bash offers for the last of the words, on one line. As bash does, splits words at = and :, and
# appends / to what it takes for a folder.
offered() {
  local word part i treated='' COMPREPLY=()
  COMP_WORDS=()
  for word in "$@"; do
    while [[ "$word" == *[!\\][=:]* ]]; do
      part=${word%%[=:]*}
      word=${word#"$part"}
      COMP_WORDS+=("$part" "${word:0:1}")
      word=${word:1}
    done
    COMP_WORDS+=("$word")
  done
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  "_$1"
  for i in "${!COMPREPLY[@]}"; do
    [[ "$treated" != -o || ! -d "${COMPREPLY[i]}" ]] || COMPREPLY[i]+=/
  done
  ((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}" | paste -s -d '|'
}
offers() { # offers EXPECTED WORD...: where EXPECTED has the words with | between.
  local expected=$1
  shift
  same "bash: $*" "$(offered "$@")" "$expected"
}

commands_of() { "$@" --help | sed -n '/^commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' | sort; }
for group in fvd 'fvd snapshot'; do
  # shellcheck disable=SC2086 # words
  same "bash: $group" "$(offered $group '' | tr '|' '\n' | sort)" "$({ commands_of $group; [ "$group" != fvd ] || echo help; } | sort)"
done
while read -r command; do # Every option of every command, as --help has them.
  # shellcheck disable=SC2086 # words
  same "bash: fvd $command --" "$(offered fvd $command --)" \
    "$(fvd $command --help | sed -n 's/^ \{2,6\}\(-., \)\?\(--[a-z-]*\).*/\2/p' | paste -s -d '|')"
done < <(commands_of fvd | grep -vx snapshot && commands_of fvd snapshot | sed 's/^/snapshot /')
offers 'snapshot' fvd sna
offers 'info' fvd inf # there is a folder that is called so
offers '--json' fvd info --j
offers 'disk.fvd|folder/|info/' fvd info ''
offers 'disk.fvd' fvd info --json d
offers 'notes.txt' fvd info n # no image begins so
offers 'disk.fvd' fvd snapshot goto d
offers 'base|be\ sure' fvd snapshot goto disk.fvd b
offers 'be\ sure' fvd snapshot delete disk.fvd 'be\ s'
offers 'be sure' fvd snapshot delete disk.fvd '"be s'
offers '00' fvd snapshot delete disk.fvd 2026-11-24T03:
offers '2026-11-24T03:00' fvd snapshot delete disk.fvd '2026-11-24T03\:'
offers 'a\ \$\(touch\ x\)\ \`touch\ x\`' fvd snapshot goto disk.fvd a # ... and is no command
offers 'base' fvd snapshot rename disk.fvd ba
offers '' fvd snapshot rename disk.fvd base ''
offers '' fvd snapshot create disk.fvd ''
offers '' fvd snapshot create -d ''
offers 'disk.fvd|folder/|info/' fvd snapshot create -d text ''
offers 'raw' fvd create -F ''
offers 'notes.txt' fvd create -b n
offers '' fvd create x.fvd ''
offers '' fvd info disk.fvd ''
offers '' fvd snapshot goto notes.txt ''
offers '' fvd nonsense ''

options=$(fvdfs --help | sed -n '/^Options/,/^Mount options/p' | grep -oE -- '(^| )--?[A-Za-z][a-z-]*' | tr -d ' ' |
  sort -u)
same "bash: fvdfs -" "$(offered fvdfs - | tr '|' '\n' | sort -u)" "$options"
mount_options=$(fvdfs --help | sed -n '/^Mount options/,/^$/p' | sed '1d; s/   [^ ].*//; /^ \{10\}/d' | tr -d ' ' |
  tr ',' '\n' | sed 's/=.*/=/; /^$/d' | sort -u)
same "bash: fvdfs -o" "$(offered fvdfs -o '' | tr '|' '\n' | sort -u)" "$mount_options"
offers 'ro,allow_other|ro,allow_root' fvdfs -o ro,allow_
offers 'disk.fvd|folder/|info/' fvdfs -o ro ''
offers 'folder/|info/' fvdfs --log-level info disk.fvd ''
offers 'stderr|syslog' fvdfs --log-target s
offers 'notes.txt' fvdfs --pidfile n

for file in "$scripts"/*; do # What one shell offers for fvdfs, all offer.
  [[ "$file" != */fvd.fish ]] || continue
  for option in $options $mount_options; do
    case "$file $option" in
      *.fish\ --*) option="-l ${option#--}" ;;
      *.fish\ -*) option="-s ${option#-}" ;;
      */_fvd\ *=) option=${option%=}: ;;
    esac
    grep -qF -- "$option" "$file" || fail "${file##*/} lacks $option"
  done
done

if command -v fish >/dev/null; then
  export HOME=$work
  for file in "$scripts"/*.fish; do fish -n "$file"; done
  fish_offers() { # fish_offers LINE: what fish offers at its end.
    fish -c "source $scripts/fvd.fish; source $scripts/fvdfs.fish; complete -C '$1'" | sort | paste -s -d '|'
  }
  same fish "$(fish_offers 'fvd snapshot g')" "$(fvd --complete snapshot g)"
  same fish "$(fish_offers 'fvd snapshot goto disk.fvd ba')" $'base\tas it came'
  [[ "$(fish_offers 'fvd info ')" == disk.fvd* ]] || fail "fish offers $(fish_offers 'fvd info ')"
  same fish "$(fish_offers 'fvdfs -o ro,shr' | cut -f 1)" 'ro,shrink'
  same fish "$(fish_offers 'fvdfs --log-target j' | cut -f 1)" journald
else
  echo "no fish here: its completion was not tried"
fi

if command -v zsh >/dev/null; then
  zsh -n "$scripts/_fvd"
  zsh_offers() { # zsh_offers WORD...: what _fvd hands on for the last of them.
    zsh -f -c '_files() { print -r -- files $*; return 0 }
      _describe() { print -rl -- "${(P@)2}" }
      service=fvd words=("$@") CURRENT=$# PREFIX=${@[$#]}
      _run() { . '"$scripts"'/_fvd }; _run' zsh "$@" | paste -s -d '|'
  }
  same zsh "$(zsh_offers fvd snapshot goto disk.fvd b)" 'base:as it came|be sure'
  same zsh "$(zsh_offers fvd snapshot goto disk.fvd 2)" '2026-11-24T03\:00'
  same zsh "$(zsh_offers fvd snapshot goto disk.fvd C)" 'C\:\\'
  same zsh "$(zsh_offers fvd info d)" 'files -g *.fvd(-.)'
  same zsh "$(zsh_offers fvd create -b d)" 'files'
  same zsh "$(zsh_offers fvd nonsense '')" ''
else
  echo "no zsh here: its completion was not tried"
fi
