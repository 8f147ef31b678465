# The options of NixOS that the modules here define, with the types that they
# have there (nixos/modules: system/boot/{kernel,stage-1,initrd-network,
# networkd}.nix, system/boot/systemd/initrd.nix, system/boot/loader,
# tasks/filesystems.nix, services/networking/firewall.nix, config/users-groups.nix).
{
  config,
  lib,
  systemdInitrd,
  ...
}:

let
  inherit (lib) types;
  option =
    type: default:
    lib.mkOption { inherit type default; };
  value = types.oneOf [
    types.bool
    types.int
    types.str
    types.path
  ];
  settings = types.attrsOf (types.either value (types.listOf value));
  list = option (types.listOf types.str) [ ];

  unit = types.submodule {
    options = {
      description = option types.str "";
      documentation = list;
      after = list;
      before = list;
      conflicts = list;
      onFailure = list;
      requiredBy = list;
      wantedBy = list;
      wants = list;
      path = option (types.listOf types.package) [ ];
      environment = option (types.attrsOf types.str) { };
      reloadTriggers = option (types.listOf types.package) [ ];
      restartIfChanged = option (types.nullOr types.bool) null;
      startLimitIntervalSec = option (types.nullOr types.int) null;
      unitConfig = option settings { };
      serviceConfig = option settings { };
    };
  };

  network = types.submodule {
    options = {
      matchConfig = option settings { };
      networkConfig = option settings { };
      dhcpV4Config = option settings { };
      linkConfig = option settings { };
    };
  };

  fileSystem =
    { name, ... }:
    {
      options = {
        mountPoint = option types.str name;
        device = option (types.nullOr types.str) null;
        fsType = option types.str "auto";
        options = option (types.listOf types.str) [ "defaults" ];
        neededForBoot = option types.bool false;
      };
    };

  loader = {
    enable = option types.bool false;
  };
in
{
  options = {
    assertions = option (types.listOf types.attrs) [ ];
    warnings = option (types.listOf types.str) [ ];

    boot.kernelParams = list;
    boot.initrd = {
      availableKernelModules = list;
      secrets = option (types.attrsOf (types.nullOr types.path)) { };
      preLVMCommands = option types.lines "";
      postMountCommands = option types.lines "";
      extraUtilsCommands = option types.lines "";
      network.enable = option types.bool false;
      network.flushBeforeStage2 = option types.bool (!systemdInitrd);
      network.udhcpc.enable = option types.bool false;
      systemd = {
        enable = option types.bool systemdInitrd;
        emergencyAccess = option (types.nullOr (types.either types.bool types.str)) false;
        contents = option (types.attrsOf (
          types.submodule {
            options.source = option types.path "/";
          }
        )) { };
        extraBin = option (types.attrsOf types.path) { };
        services = option (types.attrsOf unit) { };
        network.networks = option (types.attrsOf network) { };
        network.wait-online.anyInterface = option types.bool false;
      };
    };
    boot.loader = {
      grub.enable = option types.bool true;
      systemd-boot = loader;
      generic-extlinux-compatible = loader;
      external = loader // {
        installHook = lib.mkOption { type = types.path; };
      };
    };

    environment.etc = option (types.attrsOf (
      types.submodule {
        options.source = option types.path "/";
      }
    )) { };
    environment.systemPackages = option (types.listOf types.package) [ ];
    fileSystems = option (types.attrsOf (types.submodule fileSystem)) { };
    hardware.enableRedistributableFirmware = option types.bool false;
    networking.networkmanager.enable = option types.bool false;
    networking.hostName = option types.str "nixos";
    networking.firewall = {
      allowedTCPPorts = option (types.listOf types.int) [ ];
      allowedUDPPorts = option (types.listOf types.int) [ ];
    };
    nix.package = lib.mkOption { type = types.package; };
    nix.settings = option settings { };
    services.cage.enable = option types.bool false;
    services.cage.program = lib.mkOption { type = types.path; };
    services.cage.user = option types.str "demo";
    services.xserver.enable = option types.bool false;
    services.xserver.windowManager.icewm.enable = option types.bool false;
    specialisation = option (types.attrsOf types.attrs) { };
    swapDevices = option (types.listOf (types.attrsOf types.str)) [ ];
    system.stateVersion = option types.str "";
    systemd.services = option (types.attrsOf unit) { };
    users.groups = option (types.attrsOf types.attrs) { };
    users.users = option (types.attrsOf types.attrs) { };
  };

  # loader/external/external.nix, as far as it goes here; and the two scripts of
  # the scripted initrd that ours must stand between (initrd-network.nix).
  config = lib.mkMerge [
    (lib.mkIf config.boot.loader.external.enable { boot.loader.grub.enable = lib.mkDefault false; })
    (lib.mkIf (!systemdInitrd) {
      boot.initrd.preLVMCommands = lib.mkBefore "# NixOS: network up";
      boot.initrd.postMountCommands = "# NixOS: network down";
    })
  ];
}
