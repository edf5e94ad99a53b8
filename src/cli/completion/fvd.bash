# bash completion for fvd(1) and fvdfs(1). What may follow in a command line of fvd it asks fvd itself.
# shellcheck shell=bash disable=SC2088,SC2162

# Sets $cur, the word that is typed, and $before, an array of those before it, as the program would get them: bash also
# splits words at = and :, unless they are quoted. $cut is what of $cur lies before the last such split.
_fvd_words() {
  local i raw word joins=0
  before=() cur='' cut=''
  for ((i = 1; i <= COMP_CWORD; i++)); do
    raw=${COMP_WORDS[i]}
    if [[ "$raw" == [\"\']* ]]; then
      word=${raw#[\"\']} word=${word%["${raw:0:1}"]}
    else
      IFS= read word <<<"$raw" # takes the backslashes out
    fi
    [[ "$word" != '~/'* ]] || word=$HOME/${word#'~/'}
    if [[ "$raw" == [=:] ]] && ((i > 1)) || ((joins)); then
      cut=$cur cur+=$word
      [[ "$raw" != [=:] ]] || cut=$cur
    else
      ((i == 1)) || before+=("$cur")
      cur=$word cut=''
    fi
    joins=0
    [[ "$raw" != [=:] ]] || joins=1
  done
}

# _fvd_reply LINE...: those that fit; bash replaces only what follows $cut.
_fvd_reply() {
  local line
  for line in "$@"; do
    [[ "$line" != "$cur"* ]] || COMPREPLY+=("${line#"$cut"}")
  done
}

_fvd_files() { # _fvd_files [COMPGEN-OPTION]...
  local found=()
  mapfile -t found < <(compgen "${@--f}" -- "$cur")
  _fvd_reply "${found[@]}"
}

# Images are called *.fvd as a rule; where none is, any file may be one.
_fvd_images() {
  _fvd_files -f -X '!*.fvd'
  if ((${#COMPREPLY[@]})); then _fvd_files -d; else _fvd_files; fi
}

_fvd() {
  local cur cut before=() lines=() line words=()
  COMPREPLY=()
  _fvd_words
  mapfile -t lines < <("${COMP_WORDS[0]}" --complete "${before[@]}" "$cur" 2>/dev/null)
  compopt -o filenames 2>/dev/null
  for line in "${lines[@]}"; do
    case "$line" in
      :images) _fvd_images ;;
      :files) _fvd_files ;;
      *) words+=("${line%%$'\t'*}") ;;
    esac
  done
  _fvd_reply "${words[@]}"
  # As files, words would get a / where a folder is called so, and those with $ or ` would not be quoted: a name that an
  # image holds must not run as a command.
  if ((${#words[@]} && ${#COMPREPLY[@]})) && [[ "${COMP_WORDS[COMP_CWORD]}" != [\"\']* ]]; then
    compopt +o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(printf '%q\n' "${COMPREPLY[@]}")
  fi
}

_fvdfs() {
  local cur cut before=() word last='' operands=0 list found=()
  COMPREPLY=()
  _fvd_words
  for word in "${before[@]}"; do
    case "$last" in
      -o | --options | --log-level | --log-file | --log-target | --pidfile) last='' ;;
      *)
        last=$word
        [[ "$word" == -* ]] || ((++operands))
        ;;
    esac
  done
  case "$last" in
    -o | --options)
      compopt -o nospace 2>/dev/null
      list=''
      [[ "$cur" != *,* ]] || list=${cur%,*},
      mapfile -t found < <(compgen -P "$list" -W 'ro rw allow_other allow_root uid= gid= umask= default_permissions shrink
        writeback_cache force_share fsname= subtype= max_read= max_readahead= auto_unmount log_level= log_file= log_target= pidfile= suid nosuid dev nodev exec
        noexec atime noatime nodiratime norelatime nostrictatime sync async dirsync context= fscontext= defcontext=
        rootcontext=' -- "${cur##*,}")
      _fvd_reply "${found[@]}"
      ;;
    --log-level) _fvd_reply trace debug info warning error critical off ;;
    --log-target) _fvd_reply stderr syslog journald ;;
    --log-file | --pidfile)
      compopt -o filenames 2>/dev/null
      _fvd_files
      ;;
    *)
      if [[ "$cur" == -* ]]; then
        _fvd_reply -h --help -V --version -f --foreground -d --debug -r --read-only -o --options --log-level \
          --log-file --log-target --pidfile --force-share
        return
      fi
      compopt -o filenames 2>/dev/null
      case $operands in
        0) _fvd_images ;;
        1) _fvd_files -d ;;
      esac
      ;;
  esac
}

complete -F _fvd fvd
complete -F _fvdfs fvdfs
