# Evaluates the modules for every case, as JSON:
#
#   nix-instantiate --eval --strict --json eval.nix -A clients
#
# With nixpkgs at hand, `--arg lib 'import <nixpkgs/lib>'` takes the real module
# system in place of lib.nix; the answers must be the same.
{
  lib ? import ./lib.nix,
}:

let
  cases = import ./cases.nix;
  pkgs = import ./pkgs.nix { inherit lib; };
  utils = import ./utils.nix;

  evaluate =
    systemdInitrd: case:
    (lib.evalModules {
      modules = [
        ./nixos.nix
        { nix.package = pkgs.nix; }
        case
      ];
      specialArgs = {
        inherit pkgs systemdInitrd;
        inherit utils;
      };
    }).config;

  # What a unit says, without what it leaves at the default.
  said = lib.filterAttrs (_: value: value != "" && value != null && value != [ ] && value != { });
  units = builtins.mapAttrs (_: said);

  client = config: {
    inherit (config) swapDevices warnings;
    kernelParams = config.boot.kernelParams;
    failedAssertions = map (a: a.message) (builtins.filter (a: !a.assertion) config.assertions);
    layout = if config.boot.ravenboot.enable then config.boot.ravenboot.layout else null;
    # Each with what it is mounted by, in a form of one line.
    fileSystems = builtins.mapAttrs (
      _: fs: "${fs.device} ${fs.fsType} ${builtins.concatStringsSep "," fs.options}"
    ) config.fileSystems;
    bootLoaders = builtins.mapAttrs (_: loader: loader.enable) config.boot.loader;
    installHook = if config.boot.loader.external.enable then config.boot.loader.external.installHook.text else null;
    firmware = config.hardware.enableRedistributableFirmware;
    services = units config.systemd.services;
  };

  initrd = config: {
    inherit (config.boot.initrd) availableKernelModules;
    network = config.boot.initrd.network;
  };

  systemd = config: {
    units = units config.boot.initrd.systemd.services;
    network = {
      inherit (config.boot.initrd.systemd.network) wait-online;
      networks = units config.boot.initrd.systemd.network.networks;
    };
    bin = config.boot.initrd.systemd.extraBin;
    files = builtins.mapAttrs (_: file: file.source.text) config.boot.initrd.systemd.contents;
    fstab = fstab config;
    scripts = scripts config;
  };

  # What NixOS (tasks/filesystems.nix) has the initrd mount.
  fstab =
    config:
    lib.concatMapStringsSep "" (
      fs: "${fs.device} ${fs.mountPoint} ${fs.fsType} ${builtins.concatStringsSep "," (fs.options ++ [ "x-initrd.mount" ])} 0 1\n"
    ) (builtins.filter utils.fsNeededForBoot (lib.attrValues config.fileSystems));

  scripts =
    config:
    said {
      inherit (config.boot.initrd)
        preLVMCommands
        postMountCommands
        extraUtilsCommands
        ;
    };

  server = config: {
    configuration = config.environment.etc."ravenboot/ravenboot.toml".source.text;
    firewall = config.networking.firewall;
    packages = config.environment.systemPackages;
    inherit (config) users;
    nix = config.nix.settings;
    services = units config.systemd.services;
  };
  machine =
    case:
    let
      withSystemd = evaluate true case;
      withScripts = evaluate false case;
    in
    {
      system = client withSystemd;
      # Both initrds make the same system.
      sameSystem = removeAttrs (client withSystemd) [ "warnings" ] == removeAttrs (client withScripts) [ "warnings" ];
      initrd = initrd withSystemd;
      systemdInitrd = systemd withSystemd;
      scriptedInitrd = initrd withScripts // {
        scripts = scripts withScripts;
        units = withScripts.boot.initrd.systemd.services;
      };
    };

  # A set of files as what it is made of, where paths must not be copied into a
  # store.
  fileset = {
    toSource = source: map toString source.fileset;
    unions = files: files;
    fileFilter = keep: directory: assert !keep { name = "a_test.go"; } && keep { name = "a.go"; }; directory;
  };

  # Built by nixpkgs' default Go of a version.
  package =
    version:
    import ../package.nix {
      lib = lib // {
        inherit fileset;
      };
      go = { inherit version; };
      buildGoModule = build: build // { go = "default"; };
      buildGo126Module = build: build // { go = "1.26"; };
    };
in
{
  clients = builtins.mapAttrs (_: machine) cases.clients;
  refused = builtins.mapAttrs (_: machine) cases.refused;
  servers = builtins.mapAttrs (_: case: server (evaluate true case)) cases.servers;

  package = package "1.26";
  packageWithOldGo = package "1.25.99";
}
