# fish completion for fvdfs(1).

# The elements of an -o list: what was typed before the last comma stays.
function __fvdfs_mount_options
    set -l before (commandline -ct | string match -r '.*,')
    printf "$before%s\n" ro rw allow_other allow_root uid= gid= umask= default_permissions shrink writeback_cache \
        force_share fsname= subtype= max_read= max_readahead= auto_unmount log_level= log_file= log_target= pidfile= suid nosuid dev nodev exec noexec atime \
        noatime nodiratime norelatime nostrictatime sync async dirsync context= fscontext= defcontext= rootcontext=
end

complete -c fvdfs -s h -l help -f -d 'print the options'
complete -c fvdfs -s V -l version -f -d 'print the version'
complete -c fvdfs -s f -l foreground -d 'stay in the foreground'
complete -c fvdfs -s d -l debug -d 'print every request'
complete -c fvdfs -s r -l read-only -d 'mount read-only'
complete -c fvdfs -s o -l options -x -a '(__fvdfs_mount_options)' -d 'mount options'
complete -c fvdfs -l log-level -x -a 'trace debug info warning error critical off' -d 'how much to log'
complete -c fvdfs -l log-file -r -F -d 'append the log to a file'
complete -c fvdfs -l log-target -x -a 'stderr syslog journald' -d 'where the log goes'
complete -c fvdfs -l pidfile -r -F -d 'write the process id to a file'
complete -c fvdfs -l force-share -d 'read the image although another process writes it'
