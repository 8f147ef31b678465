#!/bin/sh
# Takes the Nix of another Debian release, without changing this machine:
# fetch-nix.sh SUITE DIRECTORY unpacks SUITE's nix-bin with all that it depends on,
# down to the C library, so that DIRECTORY/bin/nix runs here. SUITE is trixie
# (Nix 2.26). The mirror is the one that this machine's apt already uses.
set -eu

fail() {
	echo "fetch-nix.sh: $*" >&2
	exit 1
}

[ $# -eq 2 ] || fail "usage: fetch-nix.sh SUITE DIRECTORY"
suite=$1 directory=$(realpath -m "$2")
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

for tool in apt-get dpkg-deb; do
	command -v "$tool" >/dev/null || fail "$tool is missing: this works on Debian only"
done
[ -e "$keyring" ] || fail "$keyring is missing: apt-get install debian-archive-keyring"

# Debian's own archive among apt's sources, by the name that every mirror gives it.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 '/debian/$') ||
	fail "apt-get indextargets names no mirror of Debian: is there one in /etc/apt/sources.list.d?"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial" "$scratch/root/bin"
# Nothing is installed, as far as this apt knows: it fetches the C library, too.
: >"$scratch/status"
cat >"$scratch/suite.sources" <<SOURCES
Types: deb
URIs: $mirror
Suites: $suite
Components: main
Signed-By: $keyring
SOURCES

apt() {
	apt-get -q -y -o Dir::Etc::sourcelist="$scratch/suite.sources" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State::Lists="$scratch/lists" -o Dir::State::status="$scratch/status" -o Dir::Cache="$scratch/cache" \
		-o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=root "$@"
}

cd "$scratch"
apt update >update.log 2>&1 || { cat update.log >&2; fail "can't read the list of packages of $suite"; }
apt --no-install-recommends --download-only install nix-bin >download.log 2>&1 ||
	{ cat download.log >&2; fail "can't download nix-bin from $suite"; }
for package in cache/archives/*.deb; do
	dpkg-deb -x "$package" root
done

# The suite's own loader and libraries: those of this machine are too old. The
# tools are one program, which looks at the name that it is called by.
loader=$(cd root && ls usr/lib64/ld-linux-*.so.* usr/lib/ld-linux-*.so.* lib64/ld-linux-*.so.* 2>/dev/null | head -n 1)
[ -n "$loader" ] || fail "the libc6 of $suite has no ld-linux-*.so.*"
for tool in nix nix-store; do
	cat >"root/bin/$tool" <<TOOL
#!/bin/sh
root=\$(dirname "\$(dirname "\$(realpath "\$0")")")
libraries=\$(echo "\$root"/usr/lib/*-linux-gnu)
exec "\$root/$loader" --argv0 $tool --library-path "\$libraries" "\$root/usr/bin/nix" "\$@"
TOOL
	chmod +x "root/bin/$tool"
done
root/bin/nix --version >version.log 2>&1 || { cat version.log >&2; fail "the nix of $suite doesn't run here"; }
cp version.log root/version

# Beside, then renamed: a run that is cut off leaves nothing half-unpacked.
mkdir -p "$(dirname "$directory")"
rm -rf "$directory.new"
cp -a root "$directory.new"
rm -rf "$directory"
mv "$directory.new" "$directory"
echo "$suite: $(cat "$directory/version") in $directory"
