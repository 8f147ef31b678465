#!/bin/sh
# Takes the iPXE loaders of another Debian release, without changing this
# machine: fetch-loaders.sh SUITE DIRECTORY unpacks SUITE's ipxe package, so that
# the loaders are in DIRECTORY/usr/lib/ipxe. SUITE is trixie (iPXE of 2025) or
# sid (iPXE 2.0). The mirror is the one that this machine's apt already uses.
set -eu

fail() {
	echo "fetch-loaders.sh: $*" >&2
	exit 1
}

[ $# -eq 2 ] || fail "usage: fetch-loaders.sh SUITE DIRECTORY"
suite=$1 directory=$(realpath -m "$2")
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

for tool in apt-get dpkg-deb; do
	command -v "$tool" >/dev/null || fail "$tool is missing: this works on Debian only"
done
[ -e "$keyring" ] || fail "$keyring is missing: apt-get install debian-archive-keyring"

# Debian's own archive among apt's sources, by the name that every mirror gives
# it; the security archive (debian-security) has no ipxe.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 '/debian/$') ||
	fail "apt-get indextargets names no mirror of Debian: is there one in /etc/apt/sources.list.d?"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial" "$scratch/root"
cat >"$scratch/suite.sources" <<SOURCES
Types: deb
URIs: $mirror
Suites: $suite
Components: main
Signed-By: $keyring
SOURCES

apt() {
	apt-get -q -o Dir::Etc::sourcelist="$scratch/suite.sources" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State::Lists="$scratch/lists" -o Dir::Cache="$scratch/cache" \
		-o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=root "$@"
}

cd "$scratch"
apt update >update.log 2>&1 || { cat update.log >&2; fail "can't read the list of packages of $suite"; }
apt download ipxe >download.log 2>&1 || { cat download.log >&2; fail "can't download ipxe from $suite"; }
dpkg-deb -x ipxe_*.deb root

# Beside, then renamed: a run that is cut off leaves nothing half-unpacked.
mkdir -p "$(dirname "$directory")"
rm -rf "$directory.new"
cp -a root "$directory.new"
ls ipxe_*.deb | sed 's/^ipxe_\(.*\)_all.deb$/\1/; s/%3a/:/' >"$directory.new/version"
rm -rf "$directory"
mv "$directory.new" "$directory"
echo "$suite: iPXE $(cat "$directory/version") in $directory/usr/lib/ipxe"
