# A system for the figures about closures: packages of the sizes that plan.json
# says, small texts, and a toplevel that refers to all of them.
{ builder # program, whose "fill-path" writes what a derivation says
, plan # file, see planned in closurestore.go
, texts # how many paths of some 4 kB
, generation
}:
let
  run = name: environment: derivation (environment // {
    inherit name builder;
    system = builtins.currentSystem;
    args = [ "fill-path" ];
  });
  planned = builtins.fromJSON (builtins.readFile plan);
  packages = builtins.genList (n:
    let p = builtins.elemAt planned n; in
    run "package-${toString n}" {
      inherit (p) files bytes;
      seed = n;
      generation = if p.own then generation else "";
      before = map (builtins.elemAt packages) p.before;
    }) (builtins.length planned);
  # A few digits a time, which nothing compresses to less than half.
  text = n: builtins.toFile "text-${toString n}"
    (builtins.concatStringsSep "\n" (builtins.genList (k: builtins.hashString "sha512" "${toString n} ${toString k}") 31));
in
run "nixos-system-lab-${generation}" {
  inherit generation;
  contents = builtins.concatStringsSep "\n" (packages ++ builtins.genList text texts);
  passAsFile = [ "contents" ];
}
