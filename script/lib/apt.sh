# shellcheck shell=bash
# A configuration of apt of our own, to fetch packages of Debian releases that the
# machine's is not of. Nothing is installed, and the machine's package lists are not
# touched. What is fetched is checked as apt checks it.

# mirror_of ARCHIVE: where the machine's own sources have it, debian or debian-security.
mirror_of() {
	{ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null || true; } |
		sed -n "s/^URIs: *\([^ ]*$1\)\/*\( .*\)*\$/\1/p; s/^deb \(\[[^]]*\] \)*\([^ ]*$1\)\/* .*/\2/p" | head -n 1
}

# stanza TYPE URI SUITES: a file of sources for apt.
stanza() {
	cat <<TEXT
Types: $1
URIs: $2
Suites: $3
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
TEXT
}

# private_apt DIR TYPE: prepares it in DIR, for packages of a type (deb or deb-src); then
# APT_OPTIONS are apt's. Of sources, it has those of security updates as well.
private_apt() {
	local apt=$1 type=$2 mirror security
	mirror=$(mirror_of debian)
	[ -n "$mirror" ] || { echo "$(basename "$0"): this machine's apt sources name no Debian mirror" >&2; return 1; }
	mkdir -p "$apt/sources" "$apt/lists/partial" "$apt/cache/archives/partial"
	stanza "$type" "$mirror" "bookworm trixie forky" >"$apt/sources/debian.sources"
	security=$(mirror_of debian-security)
	if [ "$type" = deb-src ] && [ -n "$security" ]; then
		stanza "$type" "$security" "bookworm-security trixie-security" >"$apt/sources/security.sources"
	fi
	# A mirror that is a snapshot has releases that are past their date; signatures are checked.
	# shellcheck disable=SC2034 # the caller's
	APT_OPTIONS=(-o Acquire::Check-Valid-Until=false -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$apt/sources"
		-o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache"
		-o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none
		-o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
	# Yesterday's lists may name packages that were replaced since.
	if [ -z "$(find "$apt" -maxdepth 1 -name updated -mmin -720)" ]; then
		apt-get -q "${APT_OPTIONS[@]}" update >&2 && touch "$apt/updated"
	fi
}
