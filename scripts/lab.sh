#!/bin/sh
# A lab in a box: the server and one QEMU machine in a private network
# namespace, the machine's boot menu in this terminal. Needs root, or
# as-root.sh around it.
set -eu
server=$(realpath "$1")
demo=$(realpath "$2")

# The outer half makes the namespace; the inner half, marked by an argument,
# lives in it.
if [ "${3:-}" != inside ]; then
	exec unshare --net --mount "$0" "$server" "$demo" inside
fi

ip link set lo up
ip link add br0 type bridge
ip address add 192.0.2.10/24 dev br0
ip link set br0 up
ip tuntap add tap0 mode tap
ip link set tap0 master br0 up

config=$demo/lab.toml
sed -e 's/^listen = ":6969"/listen = ":69"/' -e 's/^listen = ":8080"/listen = ":80"/' \
	-e '/^\[dhcp\]/,/^$/d' -e 's/^\[server\]/&\ninterface = "br0"/' "$demo/ravenboot.toml" >"$config"
cat >>"$config" <<'TOML'

[dhcp]
mode = "server"

[[dhcp.subnet]]
network = "192.0.2.0/24"
range   = ["192.0.2.100", "192.0.2.200"]
TOML

log=$demo/lab.log
"$server" serve -config "$config" >"$log" 2>&1 &
pid=$!
trap 'kill $pid 2>/dev/null; wait $pid 2>/dev/null; echo "the server'\''s log: $log"' EXIT
tries=0
until curl -fs http://192.0.2.10/healthz >/dev/null; do
	tries=$((tries + 1))
	if [ $tries -gt 100 ] || ! kill -0 $pid 2>/dev/null; then
		cat "$log" >&2
		exit 1
	fi
	sleep 0.1
done

echo "Ctrl-a x ends the machine."
qemu-system-x86_64 -accel tcg -machine pc,graphics=off -m 512 -boot n -nographic \
	-netdev tap,id=n0,ifname=tap0,script=no,downscript=no \
	-device virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56
