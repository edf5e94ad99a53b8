# fish completion for fvd(1). What may follow in a command line it asks fvd itself.

function __fvd_complete
    set -l before (commandline -opc)
    set -l typed (commandline -ct)
    for line in ($before[1] --complete $before[2..] "$typed" 2>/dev/null)
        switch $line
            case :images
                __fish_complete_suffix .fvd
            case :files
                __fish_complete_path "$typed"
            case '*'
                echo $line
        end
    end
end

complete -c fvd -f -a '(__fvd_complete)'
