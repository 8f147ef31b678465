# What all machines of the lab have in common.
{
  imports = [ ../client.nix ];

  boot.ravenboot = {
    enable = true;
    # As `ravenboot key` prints it on the server.
    publicKeys = [ "lab-server-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=" ];
    # The only disk of that size; sticks don't count.
    disk.size.min = "60G";
    disk.partitions = [
      {
        label = "lab-swap";
        type = "swap";
        size = "8G";
        format = "swap";
      }
      {
        label = "lab-root";
        size = "rest";
        format = "ext4";
        mountPoint = "/";
        mountOptions = [ "noatime" ];
      }
    ];
  };

  # Each machine's name comes with its address.
  networking.hostName = "";

  users.users.student = {
    isNormalUser = true;
    initialHashedPassword = ""; # logs in without a password
  };
  system.stateVersion = "26.05";
}
