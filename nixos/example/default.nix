# A lab: one server, and two kinds of machines. docs/nixos.md goes through it.
#
#   nix-build -A server        the server's system
#   nix-build -A desk          the system of the desks
#   nix-build -A hall          the system of the screens in the hall
{
  nixpkgs ? <nixpkgs>,
  system ? builtins.currentSystem,
}:

let
  build =
    module:
    (import (nixpkgs + "/nixos/lib/eval-config.nix") {
      inherit system;
      modules = [ module ];
    }).config.system.build.toplevel;
in
{
  server = build ./server.nix;
  desk = build ./desk.nix;
  hall = build ./hall.nix;
}
