{
  description = "Network boot server for labs of NixOS machines";

  # No inputs: modules and overlay take the nixpkgs of the system that uses them.
  outputs = _: import ./.;
}
