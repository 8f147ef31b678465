# Machines and servers to evaluate, each as a module; by name, the name of its
# golden file. Together they take every branch of the modules.
let
  whole = [
    {
      label = "nixos";
      size = "rest";
      format = "ext4";
      mountPoint = "/";
    }
  ];
  rich = [
    {
      label = "esp";
      type = "esp";
      size = "512M";
      format = "vfat";
      formatLabel = "ESP";
      mountPoint = "/boot";
      mountOptions = [ "umask=0077" ];
    }
    {
      label = "bios";
      type = "bios-boot";
      size = "1M";
    }
    {
      label = "swap";
      type = "swap";
      size = "8G";
      format = "swap";
    }
    {
      label = "nix-store";
      size = "100G";
      format = "xfs";
      mountPoint = "/nix";
    }
    {
      label = "home";
      type = "home";
      size = "50G";
      format = "btrfs";
      mountPoint = "/home";
    }
    {
      label = "nixos";
      type = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
      size = "rest";
      format = "ext4";
      formatLabel = "nixos";
      mountPoint = "/";
    }
  ];
  client = more: {
    imports = [
      ../client.nix
      more
    ];
    boot.ravenboot.enable = true;
  };
  server = more: {
    imports = [
      ../server.nix
      more
    ];
    services.ravenboot.enable = true;
  };
  key = "lab-server-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";
in
{
  clients = {
    off = {
      imports = [ ../client.nix ];
    };
    plain = client {
      boot.ravenboot = {
        disk.size.min = "20G";
        disk.partitions = whole;
      };
    };
    rich = client {
      boot.ravenboot = {
        disk.path = "/dev/nvme0n1";
        disk.partitions = rich;
        onMismatch = "recreate";
        engine = "nix";
        publicKeys = [
          key
          key
        ];
        onFailure = "reboot";
      };
      fileSystems."/".options = [ "noatime" ];
    };
    quiet = client {
      boot.ravenboot = {
        disk.byId = "ata-VBOX_1";
        disk.partitions = whole;
        report = false;
        onFailure = "shell";
      };
      boot.loader.ravenboot.enable = false;
    };
    # What integration/fixture makes a systemd initrd of, and boots.
    booted = client {
      boot.ravenboot = {
        disk.path = "/dev/vda";
        disk.partitions = [
          {
            label = "esp";
            type = "esp";
            size = "40M";
            format = "vfat";
            formatLabel = "ESP";
            mountPoint = "/boot";
          }
          {
            label = "swap";
            type = "swap";
            size = "64M";
            format = "swap";
          }
          {
            label = "nixos";
            size = "rest";
            format = "ext4";
            formatLabel = "nixos";
            mountPoint = "/";
          }
        ];
      };
    };
    example-desk = ../example/desk.nix;
    example-hall = ../example/hall.nix;
    # Every assertion at once.
    wrong = client {
      boot.ravenboot.disk = {
        path = "/dev/vda";
        size = {
          min = "20G";
          max = "2T";
        };
        partitions = [
          {
            label = "a";
            size = "rest";
            mountPoint = "/srv";
          }
          {
            label = "a";
            size = "rest";
            format = "vfat";
            formatLabel = "lower-case";
            mountPoint = "/srv";
          }
          {
            label = "b";
            size = "1G";
            format = "ext4";
            formatLabel = "lower-case";
          }
          {
            label = "c";
            size = "1G";
            formatLabel = "nothing";
          }
        ];
      };
      boot.initrd.secrets."/etc/ssh/key" = "/root/key";
      boot.loader.grub.enable = true;
    };
  };

  servers = {
    plain = server {
      services.ravenboot.settings = {
        profile = [
          {
            name = "lab";
            path = "/nix/var/nix/profiles/lab";
          }
        ];
        loaders.dirs = [ "/srv/loaders" ];
      };
    };
    example = ../example/server.nix;
    open = server { services.ravenboot.openFirewall = true; };
    open-elsewhere = server {
      services.ravenboot = {
        openFirewall = true;
        settings = {
          dhcp.port = 6700;
          tftp.listen = "192.0.2.1:6900";
          http.listen = "[::]:8080";
        };
      };
    };
    open-off = server {
      services.ravenboot = {
        openFirewall = true;
        settings = {
          dhcp.mode = "off";
          tftp.listen = "";
          http.listen = "127.0.0.1:80";
        };
      };
    };
  };

  # Definitions that the options' types refuse, each with the option that must
  # be named.
  refused = {
    label-with-space = client {
      boot.ravenboot.disk.partitions = [
        {
          label = "my disk";
          size = "rest";
        }
      ];
    };
    label-too-long = client {
      boot.ravenboot.disk.partitions = [
        {
          label = "a-partition-with-more-than-thirty-six-letters";
          size = "rest";
        }
      ];
    };
    size-in-words = client {
      boot.ravenboot.disk.partitions = [
        {
          label = "a";
          size = "most";
        }
      ];
    };
    unknown-format = client {
      boot.ravenboot.disk.partitions = [
        {
          label = "a";
          size = "rest";
          format = "zfs";
        }
      ];
    };
    key-cut-short = client { boot.ravenboot.publicKeys = [ "lab-server-1:6NCHdD59" ]; };
    misspelt = client { boot.ravenboot.onMissmatch = "refuse"; };
  };
}
