# The lab's server. It knows the NixOS options and the unit of dist/; what the
# configuration's keys mean is the program's.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (lib) mkOption types;

  cfg = config.services.ravenboot;
  toml = pkgs.formats.toml { };
  configFile = toml.generate "ravenboot.toml" cfg.settings;
  configPath = "/etc/ravenboot/ravenboot.toml";

  # What is on when the configuration says nothing.
  mode = lib.attrByPath [ "dhcp" "mode" ] "proxy" cfg.settings;
  listen = service: default: lib.attrByPath [ service "listen" ] default cfg.settings;
  port = address: lib.toInt (lib.last (lib.splitString ":" address));
  # A service that listens on the loopback interface needs no hole.
  ports =
    address:
    lib.optional (address != "" && !lib.hasPrefix "127." address && !lib.hasPrefix "[::1]" address) (port address);
  dhcpPorts = [
    (lib.attrByPath [ "dhcp" "port" ] 67 cfg.settings)
    (lib.attrByPath [ "dhcp" "proxy_port" ] 4011 cfg.settings)
  ];
in
{
  options.services.ravenboot = {
    enable = lib.mkEnableOption "ravenboot, the network boot server for labs of NixOS machines";

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      description = "Package with bin/ravenboot.";
    };

    loaders = mkOption {
      type = types.listOf types.package;
      # snponly.efi leaves the NIC to the firmware, whose driver has just been
      # seen to work; pkgs.ipxe doesn't build it by itself.
      default = [
        (pkgs.ipxe.override {
          additionalTargets =
            {
              x86_64-linux."bin-x86_64-efi/snponly.efi" = null;
              aarch64-linux."bin-arm64-efi/snponly.efi" = null;
            }
            .${pkgs.stdenv.hostPlatform.system} or { };
        })
      ];
      defaultText = lib.literalExpression "[ (pkgs.ipxe with snponly.efi) ]";
      description = "Packages with iPXE loaders; the first that has the file wins.";
    };

    settings = mkOption {
      type = toml.type;
      default = { };
      example = lib.literalExpression ''
        {
          server.interface = "enp1s0";
          cache.enabled = true;
          profile = [ { name = "lab"; path = "/nix/var/nix/profiles/lab"; } ];
          default.profile = "lab";
        }
      '';
      description = ''
        The configuration, with the keys of config.example.toml. It is readable
        for everybody on the server.
      '';
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether machines may reach the services that are on: UDP 67 and 4011
        (DHCP), UDP 69 (TFTP) and TCP 80 (HTTP), or what the settings say.
        The admin listener stays closed.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    services.ravenboot.settings.loaders.dirs = map toString cfg.loaders;

    environment.etc."ravenboot/ravenboot.toml".source = configFile;
    # `ravenboot check`, `generations` and `approve` for the operator.
    environment.systemPackages = [ cfg.package ];

    users.users.ravenboot = {
      isSystemUser = true;
      group = "ravenboot";
      description = "Network boot server";
    };
    users.groups.ravenboot = { };
    # Its nix-store asks the daemon, which may answer only some users.
    nix.settings.extra-allowed-users = [ "ravenboot" ];

    networking.firewall = lib.mkIf cfg.openFirewall {
      allowedUDPPorts =
        lib.optionals (mode != "off") dhcpPorts
        ++ ports (listen "tftp" ":69");
      allowedTCPPorts = ports (listen "http" ":80");
    };

    # dist/ravenboot.service says why of each line; a test compares them.
    systemd.services.ravenboot = {
      description = "Network boot server for NixOS labs";
      documentation = [ "https://www.rfc-editor.org/rfc/rfc4578" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      wantedBy = [ "multi-user.target" ];
      startLimitIntervalSec = 0;
      # nix-store, for the cache. Only the daemon may write to the database,
      # and with it also an unprivileged user's questions are answered.
      path = [ config.nix.package ];
      environment.NIX_REMOTE = "daemon";
      # Downloads go on when only the configuration changes.
      reloadTriggers = [ configFile ];

      serviceConfig = {
        Type = "notify";
        # Its findings are for the log. What keeps the service from starting,
        # such as a network that isn't there yet, the service itself tries
        # again, so a failed check must not end it.
        ExecStartPre = "-${cfg.package}/bin/ravenboot check -config ${configPath}";
        ExecStart = "${cfg.package}/bin/ravenboot serve -config ${configPath}";
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        Restart = "on-failure";
        RestartSec = 2;
        TimeoutStopSec = 30;

        User = "ravenboot";
        Group = "ravenboot";
        StateDirectory = "ravenboot";
        StateDirectoryMode = "0700";
        AmbientCapabilities = "CAP_NET_BIND_SERVICE CAP_NET_RAW";
        CapabilityBoundingSet = "CAP_NET_BIND_SERVICE CAP_NET_RAW";
        RestrictAddressFamilies = "AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET";

        NoNewPrivileges = true;
        ProtectSystem = "strict";
        ProtectHome = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectProc = "invisible";
        PrivateDevices = true;
        PrivateTmp = true;
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        RemoveIPC = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = [
          "@system-service"
          "~@privileged @resources"
        ];
        SystemCallErrorNumber = "EPERM";
        UMask = "0077";
      };
    };
  };
}
