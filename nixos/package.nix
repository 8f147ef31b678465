# Both programs. "out" is the server; "client" holds ravenboot-client alone, so
# that a machine of the lab doesn't carry the server with it.
#
# vendorHash is the hash of the directory that `go mod vendor` makes of `src`:
# `go test ./nixos` fails when go.mod has left it behind, and with -update sets it.
#
# Go must be as new as go.mod says: where nixpkgs' default isn't, its Go 1.26 is.
{
  lib,
  go,
  buildGoModule,
  buildGo126Module ? throw "ravenboot needs Go 1.26 or newer, and this nixpkgs has none; take a newer one",
  vendorHash ? "sha256-DQBwZhQiPI30F81eLaxnnqSlsmbmMx7Qi01sONLvW0c=",
}:

let
  # Without the tests, whose modules nobody needs to download for a build.
  sources = lib.fileset.fileFilter (file: !lib.hasSuffix "_test.go" file.name);
  build = if lib.versionAtLeast go.version "1.26" then buildGoModule else buildGo126Module;
in
build {
  pname = "ravenboot";
  version = "0.1";

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../go.mod
      ../go.sum
      (sources ../assets)
      (sources ../bootscript)
      (sources ../cmd)
      (sources ../dhcp)
      (sources ../internal)
    ];
  };
  inherit vendorHash;

  subPackages = [
    "cmd/ravenboot"
    "cmd/ravenboot-client"
  ];
  # The client runs in initrds that have no C library.
  env.CGO_ENABLED = 0;
  ldflags = [
    "-s"
    "-w"
  ];
  # The tests make networks, mount disks and start other servers: `make test`.
  doCheck = false;

  outputs = [
    "out"
    "client"
  ];
  postInstall = ''
    moveToOutput bin/ravenboot-client "$client"
  '';

  meta = {
    description = "Network boot server for labs of NixOS machines";
    platforms = lib.platforms.linux;
    mainProgram = "ravenboot";
  };
}
