# shellcheck shell=bash
# What the scripts share. Source it from a script that runs in the root of the
# repository, under set -u.

# Where an unprivileged user's PATH does not lead: ip, nft, setcap, ethtool. And the
# Go that bootstrap unpacked, if it had to.
export PATH=$PWD/.cache/go/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin

note() {
	if [ -t 2 ]; then printf '\033[1m%s\033[0m\n' "$*" >&2; else printf '== %s\n' "$*" >&2; fi
}
die() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }

# find_pg_config: the one on the PATH, if its server is there. Where only another version's
# headers are installed, as libpq-dev's pg_config may find, the newest that has a server.
find_pg_config() {
	local each
	for each in pg_config $(printf '%s\n' /usr/lib/postgresql/*/bin/pg_config /usr/pgsql-*/bin/pg_config | sort -Vr); do
		if have "$each" && [ -x "$("$each" --bindir)/postgres" ]; then
			echo "$each"
			return
		fi
	done
	echo pg_config
}

# use_postgres: sets PG_CONFIG, unless it came from outside. Again after script/bootstrap.
pg_config_given=${PG_CONFIG-}
use_postgres() {
	PG_CONFIG=${pg_config_given:-$(find_pg_config)}
	export PG_CONFIG
}
use_postgres

# The header comment of a script is its help.
help_of() { sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$1"; }

# The user that runs scratch servers: PostgreSQL refuses to be root.
if is_root; then SERVER_USER=postgres; else SERVER_USER=$(id -un); fi

# as_server COMMAND...: runs a command as that user.
as_server() {
	if is_root; then
		setpriv --reuid="$SERVER_USER" --regid="$(id -gn "$SERVER_USER")" --init-groups -- "$@"
	else
		"$@"
	fi
}

# scratch_directory NAME: makes a directory that the server's user can reach, on a file
# system that lets programs run and gives them their capabilities. Debian 13's /tmp does not.
scratch_directory() {
	local base options
	for base in "${TMPDIR:-/tmp}" /tmp /var/tmp /var/lib; do
		options=,$(findmnt -n -o OPTIONS -T "$base"),
		case $options in *,nosuid,* | *,noexec,*) continue ;; esac
		if [ -w "$base" ] && as_server test -x "$base"; then
			mktemp -d "$base/$1.XXXXXX"
			return
		fi
	done
	die "no directory for scratch files: all are mounted nosuid or noexec, or $SERVER_USER may not enter them; set TMPDIR"
}
