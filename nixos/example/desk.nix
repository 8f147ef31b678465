# A desk with a browser; for the exam with a compiler, as an entry of its own in
# the menu.
{ pkgs, ... }:
{
  imports = [ ./lab.nix ];

  networking.networkmanager.enable = true;
  services.xserver.enable = true;
  services.xserver.windowManager.icewm.enable = true;
  environment.systemPackages = [ pkgs.firefox ];

  specialisation.exam.configuration = {
    environment.systemPackages = [ pkgs.gcc ];
  };
}
