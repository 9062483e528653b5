# shellcheck shell=bash
# Network namespaces that last as long as the processes in them: one for the script and
# the server that it starts, and one at the other end of a virtual cable, for clients.
# Root may make them; others may where the kernel lets them make user namespaces, in which
# they have the capabilities over their own networks, but not CAP_BPF. Source common.sh first.

# own_network SCRIPT ARGUMENTS...: runs the script again in a network namespace, with
# OWN_NETWORK saying how, or returns if there can be none.
own_network() {
	if is_root && unshare --net true 2>/dev/null; then
		OWN_NETWORK=root exec unshare --net -- "$@"
	elif ! is_root && unshare --user --map-current-user --net --keep-caps ip link set lo up 2>/dev/null; then
		OWN_NETWORK=user exec unshare --user --map-current-user --net --keep-caps -- "$@"
	fi
}

# far_network NAME: makes the other end. FAR_PID is a process of that name that holds it open, FAR a
# command that runs another one there. The server's end is 10.99.0.1, the other 10.99.0.2.
far_network() {
	# shellcheck disable=SC2016 # the inner shell's
	setsid unshare --net bash -c 'exec -a "$1" sleep infinity' _ "$1" </dev/null >/dev/null 2>&1 &
	FAR_PID=$!
	until [ "$(tr '\0' ' ' <"/proc/$FAR_PID/cmdline")" = "$1 infinity " ]; do
		kill -0 "$FAR_PID" || die "cannot make a network namespace for the client"
		sleep 0.02
	done
	FAR=(nsenter --target "$FAR_PID" --net --)
	ip link set lo up
	ip link add eth0 type veth peer name eth0 netns "$FAR_PID"
	ip address add 10.99.0.1/24 dev eth0
	ip link set eth0 up
	"${FAR[@]}" ip address add 10.99.0.2/24 dev eth0
	"${FAR[@]}" ip link set eth0 up
	"${FAR[@]}" ip link set lo up
}

# count_at_both_ends PORT: has the kernel's firewall count packets of the port where they
# arrive, that is, after they were on the cable.
count_at_both_ends() {
	nft_counter "tcp dport $1" | nft -f - && nft_counter "tcp sport $1" | "${FAR[@]}" nft -f -
}

nft_counter() {
	cat <<-RULES
		table netdev witness {
			counter seen { }
			chain ingress { type filter hook ingress device "eth0" priority 0; $1 counter name seen; }
		}
	RULES
}

# counted: packets in, packets out, bytes in, bytes out. The firewall does not count the
# 14 bytes of the link header.
counted() {
	{ nft list counter netdev witness seen && "${FAR[@]}" nft list counter netdev witness seen; } |
		awk '$1 == "packets" { packets[++end] = $2; bytes[end] = $4 + 14 * $2 }
			END { print packets[1], packets[2], bytes[1], bytes[2] }'
}
