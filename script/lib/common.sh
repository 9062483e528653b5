# shellcheck shell=bash
# What the scripts share. Source it from a script that runs in the root of the
# repository, under set -euo pipefail.

note() {
	if [ -t 2 ]; then printf '\033[1m%s\033[0m\n' "$*" >&2; else printf '== %s\n' "$*" >&2; fi
}
die() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }

# The header comment of a script is its help.
help_of() { sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$1"; }

# As the user that runs scratch servers: PostgreSQL refuses to be root.
SERVER_USER=$(is_root && echo postgres || id -un)
as_server() {
	if is_root; then
		setpriv --reuid="$SERVER_USER" --regid="$(id -gn "$SERVER_USER")" --init-groups -- "$@"
	else
		"$@"
	fi
}

# The Go that bootstrap found or fetched. A distribution's go may be kept from
# fetching the version that go.mod asks for.
use_go() {
	export GOTOOLCHAIN=${GOTOOLCHAIN:-auto}
	if [ -x .cache/go/bin/go ]; then
		PATH=$PWD/.cache/go/bin:$PATH
	fi
	export PATH
}
