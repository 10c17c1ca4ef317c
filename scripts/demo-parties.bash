# Parties on one machine that share nothing but what is carried between them: each has a home and an
# environment of its own. Every command is printed as that party would type it.
# shellcheck shell=bash
#
# Needs: $root (the repository), $work (a folder), `fail`, and `background` of throw-away-servers.bash.

# show WHO COMMAND...: prints a command as that party types it, broken before a flag where it is long.
show() {
    local line="$1\$" word next
    shift
    while [ $# -gt 0 ]; do
        word=$1
        [[ $word =~ ^[A-Za-z0-9_./:=,@%+\>-]+$ ]] || word="'$word'"
        if [[ $word == -* ]] && next="$line $1 ${2:-}" && [ ${#next} -gt 100 ]; then
            printf '%s \\\n' "$line"
            line='       '
        fi
        line+=" $word"
        shift
    done
    printf '%s\n' "$line"
} >&3
exec 3>&1

declare -A environment=()

# move_in WHO: a home, as on a machine of its own.
move_in() {
    mkdir -m 700 "$work/$1"
    environment[$1]=
}

# export_at WHO NAME=VALUE...: what a party's shell has in its environment.
export_at() {
    local who=$1 pair
    shift
    for pair in "$@"; do
        show "$who" export "$pair"
        environment[$who]+=$pair$'\n'
    done
}

# shell_of WHO: sets `shell` to the words that run a command in that party's home and environment.
shell_of() {
    mapfile -t shell < <(printf '%s' "${environment[$1]}")
    shell=(env -i --chdir="$work/$1" HOME="$work/$1" PATH="${reshare%/*}:$PATH" "${shell[@]}")
}

# at WHO COMMAND...: prints a command and runs it there.
at() {
    show "$@"
    quietly_at "$@"
}
quietly_at() {
    local who=$1 shell code=0
    shift
    shell_of "$who"
    "${shell[@]}" "$@" || code=$?
    [ $code -eq 0 ] || fail "exit code $code at $who: $*"
}

# to_file WHO FILE COMMAND...: the same, with the output in a file of that party.
to_file() {
    local who=$1 file=$2
    shift 2
    show "$who" "$@" '>' "$file"
    quietly_at "$who" "$@" >"$work/$who/$file"
}

# carry WHAT FROM TO...: a file or folder travels.
carry() {
    local what=$1 from=$2 to
    shift 2
    for to in "$@"; do
        printf '   %s: %s -> %s\n' "$what" "$from" "$to"
        cp -R "$work/$from/$what" "$work/$to/"
    done
}

# at_once WHO LOG COMMAND...: prints a command and starts it there; its process id is in $!.
at_once() {
    local who=$1 log=$2 shell
    shift 2
    show "$who" "$@"
    shell_of "$who"
    background TERM "$log" "${shell[@]}" "$@"
}
