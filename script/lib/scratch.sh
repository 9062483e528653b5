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
	bin=$(pg_config --bindir) lib=$(pg_config --pkglibdir) share=$(pg_config --sharedir)
	mkdir -p "$root$bin" "$root$lib" "$root$share/extension"
	cp -L "$bin"/{postgres,initdb,pg_ctl,psql,pgbench} "$root$bin/"
	ln -sf "$lib"/* "$root$lib/"
	ln -sf "$share"/* "$root$share/" 2>/dev/null || true
	ln -sf "$share"/extension/* "$root$share/extension/"
	rm -f "$root$lib"/pg_netstat* "$root$share"/extension/pg_netstat*
	make -s -C extension install DESTDIR="$root" >/dev/null
	install -m 0755 bin/pg_netstat-agent "$root$lib/pg_netstat-agent"
	if is_root; then
		script/lib/permit "$root$lib/pg_netstat-agent" "$(id -gn "$SERVER_USER")" cap_net_raw,cap_bpf=p "" ||
			note "the agent has no capabilities: it counts less, or nothing"
	fi
	SCRATCH_BIN=$root$bin
}

# scratch_init DIR PORT: makes the cluster in DIR/data. It listens on all addresses
# and trusts who comes: for namespaces and loopback only.
scratch_init() {
	local root=$1 port=$2
	mkdir -p "$root/data" "$root/socket"
	if is_root; then
		chown "$SERVER_USER" "$root/data" "$root/socket"
	fi
	chmod 0755 "$root"
	chmod 0700 "$root/data"
	as_server "$SCRATCH_BIN/initdb" -D "$root/data" -U postgres -A trust --no-sync -E UTF8 --locale=C >"$root/initdb.log" 2>&1 ||
		die "initdb failed: $(tail -3 "$root/initdb.log")"
	as_server tee -a "$root/data/postgresql.conf" >/dev/null <<-CONF
		port = $port
		unix_socket_directories = '$root/socket'
		shared_preload_libraries = 'pg_netstat'
		fsync = off
		log_line_prefix = '%m [%p] %b '
	CONF
}

# scratch_set DIR SETTING...: appends settings, "name = value" each.
scratch_set() {
	local root=$1
	shift
	printf '%s\n' "$@" | as_server tee -a "$root/data/postgresql.conf" >/dev/null
}

# scratch_start DIR [COMMAND...]: starts the server, by a command such as "ip netns exec NAME".
scratch_start() {
	local root=$1
	shift
	as_server touch "$root/data/log"
	# The command may need root, the server must not be.
	if is_root; then
		"$@" setpriv --reuid="$SERVER_USER" --regid="$(id -gn "$SERVER_USER")" --init-groups -- \
			"$SCRATCH_BIN/pg_ctl" -s -w -D "$root/data" -l "$root/data/log" start </dev/null >/dev/null ||
			die "the server does not start: $(tail -5 "$root/data/log")"
	else
		"$SCRATCH_BIN/pg_ctl" -s -w -D "$root/data" -l "$root/data/log" start </dev/null >/dev/null ||
			die "the server does not start: $(tail -5 "$root/data/log")"
	fi
}

# scratch_stop DIR: stops it if it runs.
scratch_stop() {
	local root=$1
	if [ -f "$root/data/postmaster.pid" ]; then
		as_server "$SCRATCH_BIN/pg_ctl" -s -m fast -w -t 30 -D "$root/data" stop >/dev/null 2>&1 || true
	fi
}

# scratch_sql DIR PORT [psql's arguments]: asks by the Unix socket, which is no traffic.
scratch_sql() {
	local root=$1 port=$2
	shift 2
	PGOPTIONS='' "$SCRATCH_BIN/psql" -X -h "$root/socket" -p "$port" -U postgres -d postgres -v ON_ERROR_STOP=1 "$@"
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
