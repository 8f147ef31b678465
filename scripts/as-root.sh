#!/bin/sh
# Runs a command as root: directly, or for an ordinary user as root of a user
# namespace, with a network and a /run of its own, where the kernel allows that.
set -eu
[ "$(id -u)" != 0 ] || exec "$@"
if ! unshare --user --map-root-user --net --mount true 2>/dev/null; then
	echo "this machine allows an ordinary user no namespaces: run it as root, or as root allow them:" >&2
	for knob in kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=10000; do
		[ ! -e "/proc/sys/$(echo "${knob%=*}" | tr . /)" ] || echo "  sysctl $knob" >&2
	done
	exit 1
fi
exec unshare --user --map-root-user --net --mount sh -c '
	mount -t tmpfs tmpfs /run && ip link set lo up && exec "$@"' as-root "$@"
