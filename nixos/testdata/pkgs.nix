# Packages that are nothing but their names, and writers that keep what they were
# given: the files come out as attributes of their own.
{ lib }:

let
  inherit (lib) types;
  tomlValue = types.oneOf [
    types.bool
    types.int
    types.str
    types.path
    (types.attrsOf tomlValue)
    (types.listOf tomlValue)
  ];
  package = name: {
    type = "derivation";
    inherit name;
    outPath = "/nix/store/${name}";
    override = _: package "${name}-overridden";
  };
  split = name: package name // { bin = package "${name}-bin"; };
  writer = name: text: package name // { inherit text; };
in
{
  btrfs-progs = package "btrfs-progs";
  coreutils = package "coreutils";
  dosfstools = package "dosfstools";
  e2fsprogs = split "e2fsprogs";
  firefox = package "firefox";
  gcc = package "gcc";
  ipxe = package "ipxe";
  nix = package "nix";
  util-linux = split "util-linux";
  xfsprogs = split "xfsprogs";

  callPackage = _: _: package "ravenboot" // { client = package "ravenboot-client"; };
  stdenv.hostPlatform.system = "x86_64-linux";
  writeShellScript = writer;
  writeText = writer;
  formats.toml = _: {
    type = types.attrsOf tomlValue;
    generate = name: settings: writer name settings;
  };
}
