#!/bin/sh
# Installs those of the named Debian packages that are missing, without
# starting the services that some of them bring.
set -eu

if ! command -v dpkg-query >/dev/null; then
	echo "this is no Debian; install what brings the same programs as these packages, and run the make targets' lines by hand: $*" >&2
	exit 1
fi

missing=
for package in "$@"; do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "installing Debian packages:$missing"
sudo=
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "run as root: apt-get update && apt-get install --no-install-recommends$missing" >&2
		exit 1
	fi
	sudo=sudo
fi

# Debian starts a service as soon as it is installed, unless policy-rc.d says
# no (exit 101): a DHCP relay or a web server that nobody asked for.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap '$sudo rm -f $policy' EXIT
	printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
	$sudo chmod +x $policy
fi
$sudo apt-get -qq update
# shellcheck disable=SC2086 # the list is meant to be split
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $missing >/dev/null
