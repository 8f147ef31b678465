# A screen in the hall. Nobody sits there to approve anything, and nothing on
# its disk is worth keeping.
{ pkgs, ... }:
{
  imports = [ ./lab.nix ];

  boot.ravenboot.onMismatch = "recreate";
  services.cage = {
    enable = true;
    user = "student";
    program = "${pkgs.firefox}/bin/firefox";
  };
}
