# As much of nixpkgs' lib and module system as the modules here use, for tests
# on machines without nixpkgs: options with types, imports, mkIf, mkMerge,
# priorities, order, submodules. eval.nix takes the real lib in its place, and
# must answer the same.
let
  inherit (builtins)
    all
    any
    attrNames
    concatLists
    concatMap
    concatStringsSep
    elem
    elemAt
    filter
    foldl'
    genList
    head
    isAttrs
    isBool
    isFunction
    isInt
    isList
    isString
    length
    listToAttrs
    map
    mapAttrs
    match
    replaceStrings
    sort
    stringLength
    substring
    ;

  attrValues = set: map (name: set.${name}) (attrNames set);
  filterAttrs =
    keep: set:
    listToAttrs (concatMap (name: optional (keep name set.${name}) (nameValuePair name set.${name})) (attrNames set));
  nameValuePair = name: value: { inherit name value; };
  optional = condition: value: if condition then [ value ] else [ ];
  showPath = concatStringsSep ".";

  # Properties: what a definition says beside its value.
  property = kind: content: { _type = kind; } // content;
  isProperty = kind: value: isAttrs value && (value._type or "") == kind;
  mkOverride = priority: content: property "override" { inherit priority content; };
  mkOrder = priority: content: property "order" { inherit priority content; };

  # discharge takes a definition's properties apart: a list of values, each with
  # its priority and its place among others.
  discharge =
    definition:
    let
      value = definition.value;
      again = content: change: discharge (definition // { value = content; } // change);
    in
    if isProperty "if" value then
      (if value.condition then again value.content { } else [ ])
    else if isProperty "merge" value then
      concatMap (content: again content { }) value.contents
    else if isProperty "override" value then
      again value.content { inherit (value) priority; }
    else if isProperty "order" value then
      again value.content { order = value.priority; }
    else
      [ definition ];

  plain = value: {
    inherit value;
    priority = 100;
    order = 1000;
  };

  # strongest leaves the definitions of the best priority, in their order.
  strongest =
    definitions:
    let
      best = foldl' (least: d: if d.priority < least then d.priority else least) 9999 definitions;
    in
    sort (a: b: a.order < b.order) (filter (d: d.priority == best) definitions);

  # push moves the properties of a set to its attributes, so that a condition is
  # looked at only where its attribute is: it may depend on another.
  push =
    value:
    let
      each = wrap: map (mapAttrs (_: wrap)) (push value.content);
    in
    if isProperty "if" value then
      each (lib.mkIf value.condition)
    else if isProperty "override" value then
      each (mkOverride value.priority)
    else if isProperty "merge" value then
      concatMap push value.contents
    else
      [ value ];

  # below gives what values of sets say of one of their attributes.
  below = name: concatMap (value: concatMap (set: optional (set ? ${name}) set.${name}) (push value));
  namesOf = values: attrNames (foldl' (sum: set: sum // set) { } (concatMap push values));

  mergeOne =
    what: loc: definitions:
    let
      first = (head definitions).value;
    in
    if all (d: d.value == first) definitions then first else throw "${showPath loc}: conflicting definitions of ${what}";

  mkType =
    name: check:
    {
      merge ? mergeOne name,
      ...
    }@more:
    { inherit name check merge; } // more;

  mergeChecked =
    type: loc: definitions:
    if all (d: type.check d.value) definitions then
      type.merge loc definitions
    else
      throw "A definition for option `${showPath loc}' is not of type `${type.name}'";

  evalType =
    type: loc: values:
    mergeChecked type loc (strongest (concatMap (value: discharge (plain value)) values));

  isDerivation = value: isAttrs value && (value.type or "") == "derivation";
  isPathLike = value: isDerivation value || (builtins.isPath value || isString value) && substring 0 1 (toString value) == "/";

  types = rec {
    bool = mkType "boolean" isBool { };
    int = mkType "signed integer" isInt { };
    str = mkType "string" isString { };
    anything = mkType "anything" (_: true) { };
    attrs = mkType "attribute set" isAttrs { merge = _: foldl' (sum: d: sum // d.value) { }; };
    package = mkType "package" isDerivation { merge = _: d: (head d).value; };
    path = mkType "path" isPathLike { merge = _: d: (head d).value; };
    lines = mkType "strings concatenated with newlines" isString {
      merge = _: definitions: concatStringsSep "\n" (map (d: d.value) definitions);
    };
    enum = values: mkType "one of ${builtins.toJSON values}" (value: elem value values) { };
    strMatching = pattern: mkType "string matching the pattern ${pattern}" (s: isString s && match pattern s != null) { };
    addCheck = type: check: type // { check = value: type.check value && check value; };
    nullOr =
      type:
      mkType "null or ${type.name}" (value: value == null || type.check value) {
        merge =
          loc: definitions: if any (d: d.value == null) definitions then mergeOne "null" loc definitions else type.merge loc definitions;
      };
    either =
      a: b:
      mkType "${a.name} or ${b.name}" (value: a.check value || b.check value) {
        merge = loc: definitions: (if all (d: a.check d.value) definitions then a else b).merge loc definitions;
      };
    oneOf = all: foldl' either (head all) (builtins.tail all);
    listOf =
      type:
      mkType "list of ${type.name}" isList {
        merge =
          loc: definitions:
          concatLists (
            map (
              d: concatMap (value: let found = discharge (plain value); in optional (found != [ ]) (mergeChecked type (loc ++ [ "*" ]) found)) d.value
            ) definitions
          );
      };
    attrsOf =
      type:
      mkType "attribute set of ${type.name}" isAttrs {
        merge =
          loc: definitions:
          let
            values = map (d: d.value) definitions;
            given = name: concatMap (value: discharge (plain value)) (below name values);
          in
          listToAttrs (
            map (name: nameValuePair name (evalType type (loc ++ [ name ]) (below name values))) (
              filter (name: given name != [ ]) (namesOf values)
            )
          );
      };
    submodule =
      module:
      mkType "submodule" (value: isAttrs value || isFunction value) {
        merge =
          loc: definitions:
          (evalModules {
            prefix = loc;
            modules = [ module ] ++ map (d: { config = d.value; }) definitions;
            specialArgs.name = elemAt loc (length loc - 1);
          }).config;
      };
  };

  isOption = isProperty "option";

  # mergeOptions makes one tree of the trees of all modules.
  mergeOptions =
    loc: trees:
    if length trees == 1 && isOption (head trees) then
      head trees
    else if any isOption trees then
      throw "The option `${showPath loc}' is declared twice"
    else
      mapAttrs (name: _: mergeOptions (loc ++ [ name ]) (concatMap (t: optional (t ? ${name}) t.${name}) trees)) (
        foldl' (sum: t: sum // t) { } trees
      );

  evalOption =
    loc: option: values:
    if concatMap (value: discharge (plain value)) values != [ ] then
      evalType option.type loc values
    else if option ? default then
      evalType option.type loc [ option.default ]
    else
      throw "The option `${showPath loc}' was accessed but has no value defined";

  # evalTree gives the values of a tree of options, and refuses definitions of
  # what is none.
  evalTree =
    loc: tree: values:
    let
      unknown = filter (name: !tree ? ${name}) (namesOf values);
    in
    if isOption tree then
      evalOption loc tree values
    else if unknown != [ ] then
      throw "The option `${showPath (loc ++ [ (head unknown) ])}' does not exist"
    else
      mapAttrs (name: subtree: evalTree (loc ++ [ name ]) subtree (below name values)) tree;

  evalModules =
    {
      modules,
      specialArgs ? { },
      prefix ? [ ],
    }:
    let
      load =
        module:
        let
          value = if isFunction module then module else if isAttrs module then module else import module;
          set = if isFunction value then value (specialArgs // { inherit config options lib; }) else value;
          whole = set ? config || set ? options;
        in
        {
          imports = set.imports or [ ];
          options = set.options or { };
          config = if whole then set.config or { } else removeAttrs set [ "imports" ];
        };
      # Breadth first, and the last first: nixpkgs' order, which shows in lists.
      collect = found: if found == [ ] then [ ] else found ++ collect (map load (concatMap (m: m.imports) found));
      loaded = collect (map load modules);
      all = genList (i: elemAt loaded (length loaded - 1 - i)) (length loaded);
      options = mergeOptions prefix (map (m: m.options) all);
      config = evalTree prefix options (map (m: m.config) all);
    in
    {
      inherit config options;
    };

  getOutput = output: package: package.${output} or package;

  lib = {
    inherit
      any
      all
      attrValues
      concatMap
      concatStringsSep
      evalModules
      filterAttrs
      isDerivation
      listToAttrs
      mkOrder
      mkOverride
      nameValuePair
      optional
      types
      ;
    mkOption = property "option";
    mkEnableOption =
      what:
      lib.mkOption {
        type = types.bool;
        default = false;
        description = "Whether to enable ${what}.";
      };
    mkIf = condition: content: property "if" { inherit condition content; };
    mkMerge = contents: property "merge" { inherit contents; };
    mkDefault = mkOverride 1000;
    mkForce = mkOverride 50;
    mkBefore = mkOrder 500;
    mkAfter = mkOrder 1500;
    literalExpression = text: text;
    platforms.linux = [ "x86_64-linux" ];

    getBin = getOutput "bin";
    optionals = condition: list: if condition then list else [ ];
    optionalAttrs = condition: set: if condition then set else { };
    optionalString = condition: text: if condition then text else "";
    concatMapStringsSep = separator: f: list: concatStringsSep separator (map f list);
    mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
    unique = foldl' (seen: x: if elem x seen then seen else seen ++ [ x ]) [ ];
    init = list: genList (elemAt list) (length list - 1);
    last = list: elemAt list (length list - 1);
    hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
    hasSuffix =
      suffix: text:
      let
        start = stringLength text - stringLength suffix;
      in
      start >= 0 && substring start (stringLength suffix) text == suffix;
    splitString = separator: text: filter isString (builtins.split (replaceStrings [ "." ] [ "\\." ] separator) text);
    toInt = builtins.fromJSON;
    versionAtLeast = version: least: builtins.compareVersions version least >= 0;
    attrByPath =
      path: default: set:
      if path == [ ] then
        set
      else if isAttrs set && set ? ${head path} then
        lib.attrByPath (builtins.tail path) default set.${head path}
      else
        default;
    escapeShellArg =
      argument:
      let
        text = toString argument;
      in
      if match "[[:alnum:],._+:@%/-]+" text != null then text else "'${replaceStrings [ "'" ] [ "'\\''" ] text}'";
    escapeShellArgs = lib.concatMapStringsSep " " lib.escapeShellArg;
  };
in
lib
