# What the modules use of nixos/lib/utils.nix, for plain names.
{
  escapeSystemdPath =
    path:
    let
      inner = builtins.substring 1 (builtins.stringLength path) path;
      trimmed = builtins.head (builtins.match "(.*[^/])/?" inner);
    in
    builtins.replaceStrings [ "-" "/" ] [ "\\x2d" "-" ] trimmed;

  fsNeededForBoot =
    fs:
    fs.neededForBoot
    || builtins.elem fs.mountPoint [
      "/"
      "/nix"
      "/nix/store"
      "/var"
      "/var/log"
      "/var/lib"
      "/var/lib/nixos"
      "/etc"
      "/usr"
    ];
}
