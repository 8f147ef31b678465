# What others import: (import ./nixos).nixosModules.client, or the same from
# flake.nix. nixpkgs comes with the system that the modules are used in.
{
  nixosModules = {
    client = ./client.nix;
    server = ./server.nix;
  };
  overlays.default = final: _: {
    ravenboot = final.callPackage ./package.nix { };
  };
}
