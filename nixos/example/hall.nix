# A screen in the hall. Nobody sits there to approve anything, and nothing on
# its disk is worth keeping.
{
  imports = [ ./lab.nix ];

  boot.ravenboot.onMismatch = "recreate";
  services.cage.enable = true;
}
