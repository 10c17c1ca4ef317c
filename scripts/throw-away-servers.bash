# Servers that live as long as the script that sources this, on 127.0.0.1 and unix sockets only.
# shellcheck shell=bash
#
# Needs: $root (the repository), $work (a folder of the script's own, which others may pass
# through) and $work/log. Ends what it started, and nothing else.

# The signal that ends each process at once, by process id.
declare -A ending=()

# background SIGNAL NAME COMMAND...: starts a process that writes to log/NAME and ends by that
# signal; its process id is in $!. Killed scripts end no children: the kernel does it for them.
background() {
    local signal=$1 name=$2
    shift 2
    setpriv --pdeathsig "$signal" -- "$@" >"$work/log/$name" 2>&1 </dev/null &
    ending[$!]=$signal
}

# end_all: ends what still runs, and waits for it, without the shell's messages about killed jobs.
end_all() {
    local pid turns=0
    for pid in $(jobs -pr); do kill -s "${ending[$pid]:-TERM}" "$pid" || true; done
    while [ -n "$(jobs -pr)" ]; do
        sleep 0.1
        [ $((turns += 1)) -gt 100 ] || continue
        for pid in $(jobs -pr); do kill -s KILL "$pid" || true; done
    done
    wait || true
} 2>/dev/null

# until_ready PID WHAT COMMAND...: waits for a command to succeed; fails if the process ends.
until_ready() {
    local pid=$1 what=$2 turns=0
    shift 2
    until "$@" >/dev/null 2>&1; do
        kill -0 "$pid" 2>/dev/null || { echo "$what has ended before it answered" >&2; return 1; }
        [ $((turns += 1)) -lt 900 ] || { echo "$what does not answer" >&2; return 1; }
        sleep 0.1
    done
}

# A port of 127.0.0.1 that is free at this moment.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# on_a_free_port START...: runs START PORT, with another port if that one was taken in between.
on_a_free_port() {
    local attempt
    for attempt in 1 2 3; do
        "$@" "$(free_port)" && return 0
        echo "$1: attempt $attempt of 3 failed" >&2
    done
    return 1
}

# The folder of initdb and postgres: $RESHARE_PG_BIN, PATH, Debian's newest.
postgres_programs() {
    local initdb
    initdb=$(PATH=${RESHARE_PG_BIN:-$PATH} command -v initdb) ||
        initdb=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
    [ -x "$initdb" ] || { echo "no PostgreSQL server found: run scripts/setup" >&2; return 1; }
    dirname "$initdb"
}

# start_postgres: a cluster whose socket is in $work/postgres; its superuser is postgres.
start_postgres() {
    local programs cluster=$work/postgres name as_user=()
    programs=$(postgres_programs)
    mkdir "$cluster"
    # The server refuses to run as root.
    if [ "$(id -u)" -eq 0 ]; then
        id postgres >/dev/null 2>&1 && name=postgres || name=nobody
        as_user=(--reuid "$name" --regid "$(id -g "$name")" --clear-groups)
        chown "$name" "$cluster"
    fi
    # PGDATA, PGPORT and the like are about another server.
    for name in "${!PG@}"; do unset "$name"; done
    (cd "$cluster" && exec setpriv "${as_user[@]}" -- "$programs/initdb" -D "$cluster/data" -N -U postgres \
        --auth=trust --encoding=UTF8 --locale=C --no-instructions) >"$work/log/initdb" 2>&1
    # Nothing is synced: it is gone in a minute.
    background INT postgres setpriv "${as_user[@]}" --pdeathsig INT -- \
        "$programs/postgres" -D "$cluster/data" -k "$cluster" -c listen_addresses= -c port=5432 -c fsync=off \
        -c full_page_writes=off -c synchronous_commit=off -c wal_level=minimal -c max_wal_senders=0 \
        -c max_wal_size=2GB -c shared_buffers=64MB
    until_ready $! PostgreSQL psql --no-psqlrc --command 'SELECT 1' "$(database_url postgres postgres)"
}

# database_url DATABASE ROLE
database_url() { echo "postgresql:///$1?host=$work/postgres&port=5432&user=$2"; }

# start_kms PORT: LocalStack, without docker; AWS_ENDPOINT_URL is http://127.0.0.1:PORT then.
start_kms() {
    local python=${RESHARE_LOCALSTACK_PYTHON:-$root/target/localstack-env/bin/python}
    mkdir -p "$work/kms"
    # Killed at the end, since it takes seconds to end by itself.
    background KILL kms env -i PATH="$PATH" HOME="$work/kms" FILESYSTEM_ROOT="$work/kms" TMPDIR="$work/kms" SERVICES=kms \
        GATEWAY_LISTEN="127.0.0.1:$1" DNS_ADDRESS=0 DISABLE_EVENTS=1 SKIP_SSL_CERT_DOWNLOAD=1 \
        PYTHONDONTWRITEBYTECODE=1 "$python" "$root/fixtures/python/loopback_localstack.py"
    # Its own log first: another process might answer on the port.
    until_ready $! LocalStack grep -qx Ready. "$work/log/kms" &&
        curl --silent --fail --noproxy '*' "http://127.0.0.1:$1/_localstack/health" >/dev/null &&
        kms_url=http://127.0.0.1:$1
}

# start_nginx NAME ADDRESS PORT: passes TLS connections for NAME at 127.0.0.1:PORT on to ADDRESS,
# with the configuration that the repository has.
start_nginx() {
    local config=$work/nginx/nginx-passthrough.conf changed
    mkdir -p "$work/nginx"
    sed -e "s/receiver\.mpc\.example 127\.0\.0\.1:8443;/$1 $2;/" -e "s/listen 443;/listen 127.0.0.1:$3;/" \
        "$root/deploy/nginx-passthrough.conf" >"$config"
    changed=$(diff "$root/deploy/nginx-passthrough.conf" "$config" | grep -c '^>' || true)
    [ "$changed" -eq 2 ] || { echo "deploy/nginx-passthrough.conf has other lines (1) to (3)" >&2; return 1; }
    PATH=$PATH:/usr/sbin background TERM nginx nginx -e stderr -c "$config" \
        -g "daemon off; pid \"$work/nginx/pid\";"
    until_ready $! nginx test -s "$work/nginx/pid" && nginx_port=$3
}
