#!/bin/sh
# Runs a command as root: directly, or for an ordinary user as root of a user
# namespace, with a network and a /run of its own, where the kernel allows that.
set -eu
[ "$(id -u)" != 0 ] || exec "$@"
if ! unshare --user --map-root-user --net --mount true 2>/dev/null; then
	echo "this kernel allows an ordinary user no namespaces: run it as root, or: sysctl kernel.unprivileged_userns_clone=1" >&2
	exit 1
fi
exec unshare --user --map-root-user --net --mount sh -c '
	mount -t tmpfs tmpfs /run && ip link set lo up && exec "$@"' as-root "$@"
