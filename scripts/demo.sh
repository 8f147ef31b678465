#!/bin/sh
# Makes a small lab to try ravenboot with: a profile of two generations, from
# this machine's Debian kernel and an initrd that says what it was given, and a
# configuration that serves it on unprivileged ports without DHCP.
set -eu
dir=$1
root=$(mkdir -p "$dir" && cd "$dir" && pwd)

kernel=$(find /boot -name 'vmlinuz-*-cloud-amd64' | sort -V | tail -n 1)
if [ -z "$kernel" ]; then
	echo "no kernel in /boot: apt-get install linux-image-cloud-amd64" >&2
	exit 1
fi
version=${kernel#/boot/vmlinuz-}

initrd_root=$root/initrd
rm -rf "$initrd_root" "$root/profiles"
mkdir -p "$initrd_root/bin" "$initrd_root/dev" "$initrd_root/proc"
cp /bin/busybox "$initrd_root/bin/"
cat >"$initrd_root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox echo
/bin/busybox echo "This is the demonstration's initrd. It was given:"
/bin/busybox cat /proc/cmdline
/bin/busybox echo
/bin/busybox echo "There is no system to go on with, so here is a shell; poweroff -f ends it."
/bin/busybox --install -s /bin
exec /bin/busybox sh
INIT
chmod +x "$initrd_root/init"
(cd "$initrd_root" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) >"$root/initrd.gz"

generation() {
	toplevel=$root/profiles/lab-$1-link
	mkdir -p "$toplevel"
	cp "$kernel" "$toplevel/kernel"
	cp "$root/initrd.gz" "$toplevel/initrd"
	cat >"$toplevel/boot.json" <<JSON
{"org.nixos.bootspec.v1": {
  "system": "x86_64-linux",
  "init": "/nix/store/00000000000000000000000000000000-nixos-system-demo-$1/init",
  "toplevel": "/nix/store/00000000000000000000000000000000-nixos-system-demo-$1",
  "kernel": "$toplevel/kernel",
  "initrd": "$toplevel/initrd",
  "kernelParams": ["console=tty0", "console=ttyS0", "loglevel=4"],
  "label": "Demonstration $1 (Linux $version)"}}
JSON
}
generation 1
generation 2

cat >"$root/ravenboot.toml" <<TOML
[server]
state_dir = "$root/state"

[dhcp]
mode = "off"

[tftp]
listen = ":6969"

[http]
listen = ":8080"

[admin]
listen = "127.0.0.1:9080"

[menu]
title = "Demonstration"

[[profile]]
name = "lab"
path = "$root/profiles/lab"

[[host]]
name    = "lab-07"
mac     = ["52:54:00:12:34:56"]
default = "1"
TOML

cat <<HELP
Serving two generations of a demonstration. Try, in another terminal:

  curl 'http://127.0.0.1:8080/boot.ipxe?mac=52:54:00:12:34:56'
  curl 'http://127.0.0.1:8080/boot.ipxe?mac=52:54:00:12:34:56&entry=lab/2'
  curl -I http://127.0.0.1:8080/generation/lab/2/kernel
  curl -s tftp://127.0.0.1:6969/undionly.kpxe | wc -c
  curl http://127.0.0.1:9080/metrics
  bin/ravenboot script -config $dir/ravenboot.toml -mac 52:54:00:12:34:56
  bin/ravenboot generations -config $dir/ravenboot.toml

HELP
