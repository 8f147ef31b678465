# The lab's server, beside a router that gives the addresses. What is its own
# (disks, boot loader, users) comes from its hardware-configuration.nix.
{
  imports = [ ../server.nix ];

  networking.hostName = "lab-server";

  services.ravenboot = {
    enable = true;
    openFirewall = true;
    settings = {
      server.interface = "enp1s0"; # as `ip link` names it
      cache.enabled = true;
      menu.title = "Lab";
      profile = [
        {
          name = "desk";
          path = "/nix/var/nix/profiles/desk";
        }
        {
          name = "hall";
          path = "/nix/var/nix/profiles/hall";
        }
      ];
      host = [
        {
          name = "hall-1";
          mac = [ "52:54:00:12:34:56" ];
          profile = "hall";
        }
      ];
      # Where the profile points, so that `nix-env --rollback` is all that a
      # rollback takes.
      default = {
        profile = "desk";
        default = "current";
      };
    };
  };

  system.stateVersion = "26.05";
}
