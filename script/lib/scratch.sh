# shellcheck shell=bash
# A scratch server: a private installation of the machine's PostgreSQL with
# pg_netstat in it, and a cluster of its own, below one directory. The machine's own
# servers and installation are left alone. Source common.sh first.
#
# PostgreSQL finds its library and share directories relative to where its binary
# really is: copies of the programs in a tree of links are an installation.

# scratch_install DIR: makes the installation. Build first (make).
scratch_install() {
	local root=$1 bin lib share
	id -u "$SERVER_USER" >/dev/null || die "there is no user $SERVER_USER to run a server as"
	bin=$("$PG_CONFIG" --bindir) lib=$("$PG_CONFIG" --pkglibdir) share=$("$PG_CONFIG" --sharedir)
	chmod 0755 "$root"
	mkdir -p "$root$bin" "$root$lib" "$root$share/extension"
	cp -L "$bin"/{postgres,initdb,pg_ctl,psql,pgbench} "$root$bin/"
	ln -s "$lib"/* "$root$lib/"
	find "$share" -mindepth 1 -maxdepth 1 ! -name extension -exec ln -s -t "$root$share" {} +
	ln -s "$share"/extension/* "$root$share/extension/"
	rm -f "$root$lib"/pg_netstat* "$root$share"/extension/pg_netstat*
	make -s -C extension install DESTDIR="$root" >/dev/null || return
	install -m 0750 bin/pg_netstat-agent "$root$lib/pg_netstat-agent"
	if is_root; then
		script/lib/permit "$root$lib/pg_netstat-agent" "$root$lib/pg_netstat-agent" \
			"$(id -gn "$SERVER_USER")" cap_net_raw,cap_bpf=p ""
	fi
	SCRATCH_BIN=$root$bin
}

# scratch_init DIR PORT: makes the cluster in DIR/data. Only this user, and root, get to its
# socket, which trusts; from the network it wants the password in DIR/socket/pgpass.
scratch_init() {
	local root=$1 port=$2
	mkdir "$root/data" "$root/socket"
	chmod 0700 "$root/data" "$root/socket"
	if is_root; then
		chown "$SERVER_USER" "$root/data" "$root/socket"
	fi
	# shellcheck disable=SC2016 # the inner shell's
	od -An -N 16 -tx1 /dev/urandom | tr -d ' \n' | as_server sh -c 'umask 077; cat >"$1"' _ "$root/socket/password"
	as_server "$SCRATCH_BIN/initdb" -D "$root/data" -U postgres --auth-local=trust --auth-host=scram-sha-256 \
		--pwfile="$root/socket/password" --no-sync -E UTF8 --locale=C >"$root/initdb.log" 2>&1 ||
		die "initdb failed: $(tail -n 3 "$root/initdb.log")"
	(umask 077 && echo "*:*:*:*:$(cat "$root/socket/password")" >"$root/socket/pgpass")
	scratch_set "$root" "port = $port" "unix_socket_directories = '$root/socket'" \
		"shared_preload_libraries = 'pg_netstat'" "fsync = off" "log_line_prefix = '%m [%p] %b '"
}

# scratch_set DIR SETTING...: appends settings, "name = value" each.
scratch_set() {
	local root=$1
	shift
	printf '%s\n' "$@" | as_server tee -a "$root/data/postgresql.conf" >/dev/null
}

# scratch_start DIR: starts the server, in the namespaces of the caller.
scratch_start() {
	local root=$1
	as_server "$SCRATCH_BIN/pg_ctl" -s -w -t 60 -D "$root/data" -l "$root/data/log" start </dev/null >/dev/null 2>&1 ||
		die "the server does not start: $(as_server tail -n 5 "$root/data/log")"
}

# scratch_stop DIR: stops it if it runs.
scratch_stop() {
	local root=$1
	if [ -f "$root/data/postmaster.pid" ]; then
		as_server "$SCRATCH_BIN/pg_ctl" -s -m fast -w -t 30 -D "$root/data" stop >/dev/null 2>&1 ||
			as_server "$SCRATCH_BIN/pg_ctl" -s -m immediate -w -t 30 -D "$root/data" stop >/dev/null 2>&1 || true
	fi
}

# scratch_sql DIR PORT [psql's arguments]: asks by the Unix socket, which is no traffic.
scratch_sql() {
	local root=$1 port=$2
	shift 2
	"$SCRATCH_BIN/psql" -X -h "$root/socket" -p "$port" -U postgres -d postgres -v ON_ERROR_STOP=1 "$@"
}

# free_port: a TCP port that nobody uses now.
free_port() {
	local port
	for port in $(shuf -i 20000-30000 -n 50); do
		if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			echo "$port"
			return
		fi
	done
	die "no free port found"
}
