# What bash reads before the commands of a page (BASH_ENV). They stop at the first one that fails; it is named by its line.
unset BASH_ENV
set -euo pipefail
server= typed=

# `recalign serve` goes to the background, and the page goes on when it is ready. The next one, or the end of the page,
# stops it with SIGTERM; it must then exit with 0.
recalign() {
    if [ "$1" != serve ]; then
        command recalign "$@" || return
        return 0
    fi
    stop_server
    local port=8000 previous= word
    for word in "$@"; do
        if [ "$previous" = --port ]; then port=$word; fi
        previous=$word
    done
    command recalign "$@" &
    server=$!
    for _ in $(seq 300); do
        if curl --silent --fail --output /dev/null "127.0.0.1:$port/readyz"; then return; fi
        if ! kill -0 "$server" 2> /dev/null; then
            server=
            echo "recalign serve has ended" >&2
            return 1
        fi
        sleep 0.2
    done
    echo "recalign serve is not ready after a minute" >&2
    return 1
}

stop_server() {
    if [ -n "$server" ]; then
        kill -TERM "$server"
        wait "$server"
        server=
    fi
}

while read -r start; do
    if [ -n "$start" ]; then source "$start"; fi
done <<< "$STARTS"
trap stop_server EXIT
# Of what runs within `recalign` above nothing is told: the page's own line is.
trap 'case $BASH_COMMAND in return*) ;; *) typed=$BASH_COMMAND; echo "[$SECONDS s] line $LINENO: $typed" >&2 ;; esac' DEBUG
trap 'echo "FAILED: $PAGE, line $LINENO: $typed" >&2' ERR
