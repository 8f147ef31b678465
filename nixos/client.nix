# A machine of the lab: its disk, how its system arrives on it, and what both
# initrds do for that. It knows the NixOS options and ravenboot-client's command
# line; which machine gets which generation is the server's.
{
  config,
  lib,
  options,
  pkgs,
  utils,
  ...
}:

let
  inherit (lib) mkOption types;

  cfg = config.boot.ravenboot;
  systemd = config.boot.initrd.systemd.enable;

  # Nothing that udev would escape in /dev/disk/by-partlabel.
  plainName = types.strMatching "[A-Za-z0-9._-]+";
  size = types.strMatching "[1-9][0-9]*[MGT]";

  # Of each format: the labels that it has room for, and what makes it: a program,
  # and the names by which ravenboot-client calls it where they are links.
  formats = {
    ext4 = {
      labels = "[A-Za-z0-9._-]{1,16}";
      package = pkgs.e2fsprogs;
      program = "mke2fs";
      names = [ "mkfs.ext4" ];
    };
    xfs = {
      labels = "[A-Za-z0-9._-]{1,12}";
      package = pkgs.xfsprogs;
      program = "mkfs.xfs";
      names = [ ];
    };
    btrfs = {
      labels = "[A-Za-z0-9._-]{1,255}";
      package = pkgs.btrfs-progs;
      program = "mkfs.btrfs";
      names = [ ];
    };
    vfat = {
      labels = "[A-Z0-9_-]{1,11}";
      package = pkgs.dosfstools;
      program = "mkfs.fat";
      names = [ "mkfs.vfat" ];
    };
    swap = {
      labels = "[A-Za-z0-9._-]{1,16}";
      package = pkgs.util-linux;
      program = "mkswap";
      names = [ ];
    };
  };

  partitionModule = {
    options = {
      label = mkOption {
        type = types.strMatching "[A-Za-z0-9._-]{1,36}";
        example = "nixos";
        description = ''
          Name of the partition, by which the booted system finds it. On the
          machine no other partition may have it.
        '';
      };
      type = mkOption {
        type = types.either (types.enum [
          "esp"
          "bios-boot"
          "xbootldr"
          "linux"
          "root"
          "swap"
          "home"
          "srv"
          "var"
          "lvm"
          "raid"
        ]) (types.strMatching "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}");
        default = "linux";
        description = "What the partition is for, or the GUID that says so.";
      };
      size = mkOption {
        type = types.either (types.enum [ "rest" ]) size;
        example = "512M";
        description = ''Size, as "512M" or "8G"; the last may have the "rest".'';
      };
      format = mkOption {
        type = types.nullOr (types.enum (builtins.attrNames formats));
        default = null;
        description = "File system of the partition, or swap; null leaves it unformatted.";
      };
      formatLabel = mkOption {
        type = types.nullOr plainName;
        default = null;
        example = "ESP";
        description = "Label of the file system or swap space.";
      };
      mountPoint = mkOption {
        type = types.nullOr (types.strMatching "/|(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+");
        default = null;
        example = "/";
        description = "Where the file system is mounted.";
      };
      mountOptions = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "noatime" ];
        description = "Options that it is mounted with.";
      };
    };
  };

  isSet = _: value: value != null;
  selector =
    lib.filterAttrs isSet {
      inherit (cfg.disk) path byId;
    }
    // lib.optionalAttrs (sizeRule != { }) { size = sizeRule; };
  sizeRule = lib.filterAttrs isSet cfg.disk.size;

  layout = {
    disk = selector;
    partitions = map (
      partition: lib.filterAttrs isSet (removeAttrs partition [ "mountOptions" ])
    ) cfg.disk.partitions;
  };
  layoutFile = pkgs.writeText "ravenboot-layout.json" (builtins.toJSON layout);

  withFormat = builtins.filter (partition: partition.format != null) cfg.disk.partitions;
  mounted = builtins.filter (partition: partition.mountPoint != null) cfg.disk.partitions;
  swaps = builtins.filter (partition: partition.format == "swap") cfg.disk.partitions;
  makers = map (format: formats.${format}) (lib.unique (map (partition: partition.format) withFormat));
  device = partition: "/dev/disk/by-partlabel/${partition.label}";

  # The options' types leave nothing that a shell would read otherwise than
  # systemd does.
  layoutArguments =
    file:
    lib.escapeShellArgs [
      "layout"
      "-layout"
      file
    ];
  closureArguments =
    root:
    lib.escapeShellArgs (
      [
        "closure"
        "-root"
        root
      ]
      ++ lib.concatMap (key: [
        "-public-key"
        key
      ]) cfg.publicKeys
    );

  # What both units of the initrd have in common. No default dependencies: those
  # are for what runs once basic.target is reached, which waits for the disk.
  initrdUnit = {
    wants = [ "network-online.target" ];
    after = [ "network-online.target" ];
    conflicts = [ "shutdown.target" ];
    onFailure = [ "emergency.target" ];
    unitConfig = {
      DefaultDependencies = false;
      OnFailureJobMode = "replace-irreversibly";
    };
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
      # Not the journal's console output, whose prefix would break the two
      # layouts that a refusal shows side by side. And while a unit has the
      # terminal, systemd doesn't write "A start job is running" over its last line.
      StandardOutput = "tty";
      StandardError = "tty";
    };
  };

  # What stage 1 itself checks and mounts. Not local-fs-pre.target, which would
  # do for all: sysinit.target comes after it, and with that all else in the
  # initrd, such as its sshd, while the disk waits for the operator.
  early = builtins.filter (partition: utils.fsNeededForBoot config.fileSystems.${partition.mountPoint}) mounted;
  mountUnits = map (partition: "${utils.escapeSystemdPath ("/sysroot" + partition.mountPoint)}.mount") early;
  checkUnits = [
    "systemd-fsck-root.service"
  ]
  ++ map (partition: "systemd-fsck@${utils.escapeSystemdPath (device partition)}.service") early;

  # What looks into the system that init= names, once its store is mounted. The
  # second is there with system.etc.overlay; system.nixos-init has that one alone.
  lookInto = [
    "initrd-find-nixos-closure.service"
    "initrd-find-etc.service"
  ];

  systemdInitrd = {
    # Any NIC with an address will do: the one that the machine started from is
    # not known here, and others may have no cable.
    network = {
      networks."98-ravenboot" = {
        matchConfig = {
          Type = "ether";
          Kind = "!*";
        };
        networkConfig.DHCP = "ipv4";
        # By its MAC, as the firmware and iPXE asked before: else the machine
        # takes a second address.
        dhcpV4Config.ClientIdentifier = "mac";
        # Else a router's IPv6 advertisement counts as being online.
        linkConfig.RequiredFamilyForOnline = "ipv4";
      };
      wait-online.anyInterface = lib.mkDefault true;
    };

    contents."/etc/ravenboot/layout.json".source = layoutFile;
    extraBin = {
      ravenboot-client = "${cfg.package}/bin/ravenboot-client";
    }
    // lib.listToAttrs (
      lib.concatMap (
        maker:
        map (name: lib.nameValuePair name "${lib.getBin maker.package}/bin/${name}") (
          if maker.names == [ ] then [ maker.program ] else maker.names
        )
      ) makers
    )
    // lib.optionalAttrs (cfg.engine == "nix") { nix = "${cfg.nixPackage}/bin/nix"; };

    services.ravenboot-layout = lib.mkMerge [
      initrdUnit
      {
        description = "Disk layout";
        # So that no disk turns up after the choice among disks was made.
        wants = [ "systemd-udev-settle.service" ];
        after = [ "systemd-udev-settle.service" ];
        before = mountUnits ++ checkUnits ++ [ "shutdown.target" ];
        requiredBy = mountUnits;
        serviceConfig = {
          ExecStart = "/bin/ravenboot-client ${layoutArguments "/etc/ravenboot/layout.json"}";
          # Where the old table had a partition of the root's name, too, systemd
          # had its device, saw it go, and does not wait for it a second time: what
          # is bound to it must not start before the new one is there.
          ExecStartPost = "-/bin/udevadm settle";
        };
      }
    ];

    services.ravenboot-closure = lib.mkMerge [
      initrdUnit
      {
        description = "Download of the NixOS system";
        before = lookInto ++ [ "shutdown.target" ];
        requiredBy = lookInto;
        unitConfig.RequiresMountsFor = "/sysroot/nix/store";
        environment = lib.optionalAttrs (cfg.engine == "nix") { HOME = "/root"; };
        serviceConfig.ExecStart = "/bin/ravenboot-client ${closureArguments "/sysroot"}";
      }
    ];
  };

  # The scripted initrd goes on after a command that failed; `fail` is its own
  # way to stop and ask.
  scriptedInitrd = {
    network.udhcpc.enable = lib.mkDefault true;

    # After the network, whose commands come with mkBefore.
    preLVMCommands = ''
      ravenboot-client ${layoutArguments layoutFile} || fail
      udevadm settle
    '';
    # Before the network's own, which takes the addresses away again.
    postMountCommands = lib.mkBefore ''
      ${lib.optionalString (cfg.engine == "nix") ''
        [ -e /etc/passwd ] || echo 'root:x:0:0:root:/root:/bin/sh' >/etc/passwd
        export HOME=/root
      ''}ravenboot-client ${closureArguments "/mnt-root"} || fail
    '';
    extraUtilsCommands = ''
      copy_bin_and_libs ${cfg.package}/bin/ravenboot-client
      ${lib.concatMapStringsSep "\n" (
        maker:
        lib.concatStringsSep "\n" (
          [ "copy_bin_and_libs ${lib.getBin maker.package}/bin/${maker.program}" ]
          ++ map (name: "ln -sf ${maker.program} $out/bin/${name}") maker.names
        )
      ) makers}
      ${lib.optionalString (cfg.engine == "nix") "copy_bin_and_libs ${cfg.nixPackage}/bin/nix"}
    '';
  };

  distinct = list: lib.unique list == list;
in
{
  options.boot.ravenboot = {
    enable = lib.mkEnableOption "starting this machine from a ravenboot server";

    package = mkOption {
      type = types.package;
      default = (pkgs.callPackage ./package.nix { }).client;
      defaultText = lib.literalExpression "(pkgs.callPackage ./package.nix { }).client";
      description = "Package with bin/ravenboot-client, statically linked.";
    };

    disk = {
      path = mkOption {
        type = types.nullOr (types.strMatching "/dev/[A-Za-z0-9._/:+-]+");
        default = null;
        example = "/dev/nvme0n1";
        description = ''
          The disk's device, or a link to it. A disk on USB is taken by a link below /dev/disk only.
          Exactly one of path, byId and size names the disk.
        '';
      };
      byId = mkOption {
        type = types.nullOr (types.strMatching "[A-Za-z0-9._:+-]+");
        default = null;
        example = "nvme-Samsung_SSD_980_S64DNX0R123456";
        description = "The disk's name in /dev/disk/by-id.";
      };
      size = {
        min = mkOption {
          type = types.nullOr size;
          default = null;
          example = "20G";
          description = ''
            The one disk that has at least this size, and at most size.max. A
            machine with two such disks stops and asks for a better rule.
          '';
        };
        max = mkOption {
          type = types.nullOr size;
          default = null;
          example = "2T";
          description = "See size.min.";
        };
      };
      partitions = mkOption {
        type = types.listOf (types.submodule partitionModule);
        default = [ ];
        example = lib.literalExpression ''
          [
            { label = "swap"; type = "swap"; size = "8G"; format = "swap"; }
            { label = "nixos"; size = "rest"; format = "ext4"; mountPoint = "/"; }
          ]
        '';
        description = "The disk's partitions, in their order on it.";
      };
    };

    onMismatch = mkOption {
      type = types.enum [
        "refuse"
        "recreate"
      ];
      default = "refuse";
      description = ''
        What happens to a disk that holds something else than the layout.
        "refuse" leaves it as it is, shows both layouts, and waits until the
        operator says `ravenboot approve MACHINE`. "recreate" erases it.
        A blank disk is always set up. The server can say otherwise for a
        machine: `args = "ravenboot.on_mismatch=recreate"`.
      '';
    };

    engine = mkOption {
      type = types.enum [
        "native"
        "nix"
      ];
      default = "native";
      description = ''
        What downloads the system: ravenboot-client by itself, or Nix, which
        makes the initrd about 30 MB larger. With "nix", the server can still
        say `args = "ravenboot.engine=native"` for a machine.
      '';
    };

    nixPackage = mkOption {
      type = types.package;
      default = config.nix.package;
      defaultText = lib.literalExpression "config.nix.package";
      description = "Nix in the initrd, for engine \"nix\".";
    };

    publicKeys = mkOption {
      type = types.listOf (types.strMatching "[A-Za-z0-9._-]+:[A-Za-z0-9+/]{43}=");
      default = [ ];
      example = [ "lab-server-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=" ];
      description = ''
        Keys whose signatures make a store path trusted, as `ravenboot key`
        prints them. Without one, they must be on the kernel command line as
        ravenboot.public_key=.
      '';
    };

    report = mkOption {
      type = types.bool;
      default = true;
      description = "Whether the machine tells the server once it is up.";
    };

    onFailure = mkOption {
      type = types.enum [
        "retry"
        "reboot"
        "shell"
      ];
      default = "retry";
      description = ''
        What follows when the disk or the download fails: another try after a
        pause that grows, a restart, or the initrd's emergency shell. The server
        can say otherwise for a machine: `args = "ravenboot.on_failure=shell"`.
      '';
    };

    kernelModules = mkOption {
      type = types.listOf types.str;
      default = [
        "ahci"
        "nvme"
        "sd_mod"
        "virtio_blk"
        "virtio_net"
        "virtio_pci"
        "virtio_scsi"
        "alx"
        "atlantic"
        "e1000"
        "e1000e"
        "igb"
        "igc"
        "r8152"
        "r8169"
        "tg3"
      ];
      description = "Drivers of the lab's disks and network cards, for the initrd.";
    };

    layout = mkOption {
      type = types.attrs;
      readOnly = true;
      internal = true;
      description = "The layout as ravenboot-client reads it.";
    };
  };

  options.boot.loader.ravenboot.enable = mkOption {
    type = types.bool;
    default = cfg.enable;
    defaultText = lib.literalExpression "config.boot.ravenboot.enable";
    description = ''
      Whether the machine is started by its ravenboot server, and by no boot
      loader of its own: `nixos-rebuild` installs none.
    '';
  };

  config = lib.mkMerge [
    (lib.mkIf cfg.enable {
      boot = {
        ravenboot = { inherit layout; };

        initrd = lib.mkMerge (
          [
            {
              availableKernelModules = cfg.kernelModules;
              network.enable = true;
              # NetworkManager takes a card that has an address for somebody
              # else's, and never renews the lease.
              network.flushBeforeStage2 = lib.mkIf config.networking.networkmanager.enable (lib.mkDefault true);
            }
            { systemd = lib.mkIf systemd systemdInitrd; }
          ]
          # NixOS is going to drop the scripted initrd, and with it the options.
          ++ lib.optional (options.boot.initrd ? preLVMCommands) (lib.mkIf (!systemd) scriptedInitrd)
        );

        # Not as flags, which win over the command line: here the server's
        # arguments come after them, and of two the last counts.
        kernelParams =
          lib.optional (cfg.onMismatch != "refuse") "ravenboot.on_mismatch=${cfg.onMismatch}"
          ++ lib.optional (cfg.engine != "native") "ravenboot.engine=${cfg.engine}"
          ++ lib.optional (cfg.onFailure != "retry") "ravenboot.on_failure=${cfg.onFailure}";
      };

      # Common Realtek cards don't come up without.
      hardware.enableRedistributableFirmware = lib.mkDefault true;

      fileSystems = lib.listToAttrs (
        map (
          partition:
          lib.nameValuePair partition.mountPoint {
            device = device partition;
            fsType = lib.mkIf (partition.format != null) partition.format;
            # The partition may appear late: its disk can be waiting for the
            # operator, which systemd would end after 90 s.
            options = partition.mountOptions ++ [ "x-systemd.device-timeout=infinity" ];
          }
        ) mounted
      );
      swapDevices = map (partition: { device = device partition; }) swaps;

      systemd.services.ravenboot-report = lib.mkIf cfg.report {
        description = "Report to the network boot server";
        wantedBy = [ "multi-user.target" ];
        # systemd allows this with wantedBy, and starts it once the target is
        # reached.
        after = [ "multi-user.target" ];
        # Started another way, the machine has nobody to report to.
        unitConfig.ConditionKernelCommandLine = "ravenboot.url";
        # One report for each boot: nixos-rebuild is none.
        restartIfChanged = false;
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          DynamicUser = true;
          ExecStart = "${cfg.package}/bin/ravenboot-client report -step booted -outcome ok";
        };
      };

      assertions = [
        {
          assertion = builtins.length (builtins.attrNames selector) == 1;
          message = "boot.ravenboot.disk: name the disk by exactly one of path, byId and size.";
        }
        {
          assertion = lib.any (
            partition:
            builtins.elem partition.mountPoint [
              "/"
              "/nix"
              "/nix/store"
            ]
          ) mounted;
          message = "boot.ravenboot.disk.partitions: none is mounted at / or /nix, so the system has no place on the disk.";
        }
        {
          assertion = distinct (map (partition: partition.label) cfg.disk.partitions);
          message = "boot.ravenboot.disk.partitions: two have the same label.";
        }
        {
          assertion = distinct (map (partition: partition.mountPoint) mounted);
          message = "boot.ravenboot.disk.partitions: two have the same mountPoint.";
        }
        {
          assertion =
            cfg.disk.partitions == [ ] || lib.all (partition: partition.size != "rest") (lib.init cfg.disk.partitions);
          message = ''boot.ravenboot.disk.partitions: only the last can have the size "rest".'';
        }
        {
          assertion = lib.all (partition: partition.format != null && partition.format != "swap") mounted;
          message = "boot.ravenboot.disk.partitions: one has a mountPoint, but no file system; give it a format.";
        }
        {
          assertion = distinct (builtins.filter (label: label != null) (map (partition: partition.formatLabel) withFormat));
          message = "boot.ravenboot.disk.partitions: two have the same formatLabel.";
        }
        {
          assertion = lib.all (
            partition:
            partition.formatLabel == null
            || builtins.match formats.${partition.format}.labels partition.formatLabel != null
          ) withFormat;
          message = ''
            boot.ravenboot.disk.partitions: a formatLabel doesn't fit its format: ext4 and swap have room for 16 letters,
            xfs for 12, btrfs for 255, vfat for 11 without lower-case ones.
          '';
        }
        {
          assertion = lib.all (partition: partition.format != null || partition.formatLabel == null) cfg.disk.partitions;
          message = "boot.ravenboot.disk.partitions: one has a formatLabel, but no format.";
        }
        {
          assertion = config.boot.initrd.secrets == { };
          message = ''
            boot.initrd.secrets: whoever can reach the server can download the initrd, and read what is in it.
            Take the secrets out (boot.initrd.network.ssh.hostKeys is one).
          '';
        }
      ];
      warnings = lib.optional (cfg.onFailure == "shell" && systemd && builtins.elem config.boot.initrd.systemd.emergencyAccess [ false null ]) ''
        boot.ravenboot.onFailure is "shell", but the initrd lets nobody into it; set boot.initrd.systemd.emergencyAccess.
      '';
    })

    (lib.mkIf config.boot.loader.ravenboot.enable {
      boot.loader.external = {
        enable = true;
        installHook = pkgs.writeShellScript "ravenboot-boot-loader" ''
          echo "No boot loader to install: this machine starts what its ravenboot server offers."
          echo "To start this system from now on, publish it there: $1"
        '';
      };
      assertions = [
        {
          assertion =
            !lib.any (loader: loader.enable) [
              config.boot.loader.grub
              config.boot.loader.systemd-boot
              config.boot.loader.generic-extlinux-compatible
            ];
          message = ''
            boot.loader: the machine starts from its ravenboot server; take out the other boot loader
            (nixos-generate-config turns one on), or set boot.loader.ravenboot.enable = false.
          '';
        }
      ];
    })
  ];
}
