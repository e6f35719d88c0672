# Sourced by the scripts beside it: servers that come as Debian packages.

# Install packages unless PROGRAM is there already. A machine that cannot install them leaves the script out, and says so.
#   debian PROGRAM PACKAGE...
debian() {
    local program=$1
    shift
    PATH=$PATH:/usr/sbin:/sbin
    command -v "$program" >/dev/null && return
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update -q && apt-get install -q -y --no-install-recommends "$@"; } >/dev/null 2>&1 || true
    fi
    command -v "$program" >/dev/null && return
    printf 'LEFT OUT: %s needs %s; on Debian, as root: apt-get install %s\n' "$(basename "$0")" "$program" "$*" >&2
    exit 0
}

# A directory that is gone, with every process whose id stands in its file "pids", when the script ends.
#   work_dir; echo "$WORK"
work_dir() {
    WORK=$(mktemp -d)
    : >"$WORK/pids"
    trap 'kill $(cat "$WORK/pids") 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$WORK"' EXIT
}

# A port that is free now.
free_port() {
    .venv/bin/python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
