# What the tests' nixpkgs has for `lib`: modules that are merged by name, without types.
let
  inherit (builtins) attrNames concatMap elem foldl' isAttrs isFunction isPath listToAttrs map removeAttrs;

  mergeAll = loc: values:
    if builtins.length values == 1 then builtins.head values
    else if builtins.all isAttrs values then
      let names = attrNames (foldl' (a: b: a // b) { } values); in
      listToAttrs (map (name: {
        inherit name;
        value = mergeAll (loc ++ [ name ]) (concatMap (value: if value ? ${name} then [ value.${name} ] else [ ]) values);
      }) names)
    else if builtins.all builtins.isList values then builtins.concatLists values
    else throw "The option `${builtins.concatStringsSep "." loc}' has conflicting definition values";

  discharge = value:
    if !(isAttrs value) then [ value ]
    else if value._type or "" == "if" then (if value.condition then discharge value.content else [ ])
    else if value._type or "" == "merge" then concatMap discharge value.contents
    else if value._type or "" == "override" then discharge value.content
    else [ value ];

  # Attribute sets with what is marked in them taken out.
  plain = value: if isAttrs value && !(value ? type && value.type == "derivation") then builtins.mapAttrs (_: it: plainOne it) value else value;
  plainOne = value: let all = discharge value; in if all == [ ] then { } else plain (mergeAll [ ] all);
in
rec {
  mkOption = option: option // { _type = "option"; };
  mkIf = condition: content: { _type = "if"; inherit condition content; };
  mkMerge = contents: { _type = "merge"; inherit contents; };
  mkDefault = content: { _type = "override"; inherit content; };
  mkOptionType = type: type;
  optionalAttrs = condition: set: if condition then set else { };
  types = { attrsOf = _: { }; submodule = _: { }; anything = { }; };

  # The containers of the modules; NixOS modules in them stay as they are.
  evalModules = { modules, specialArgs ? { } }:
    let
      arguments = specialArgs // { inherit lib config; inherit (config._module.args) pkgs; options = { }; };
      lib = specialArgs.lib;
      all = concatMap collect modules;
      collect = module:
        let
          value = if isPath module then import module else module;
          called = if isFunction value then value arguments else value;
        in
        concatMap collect (called.imports or [ ])
        ++ discharge (called.config or (removeAttrs called [ "imports" "options" ]));
      containers = foldl' (a: b: a // b) { } (map (value: value.containers or { }) all);
      config = {
        _module.args.pkgs = null;
        containers = builtins.mapAttrs (name: container: {
          config = if container ? config then [ container.config ] else [ ];
          nixpkgs = container.nixpkgs or null;
          specialArgs = container.specialArgs or { };
        } // plain (removeAttrs container [ "config" "nixpkgs" "specialArgs" ])) containers;
      };
    in
    { inherit config; };

  # NixOS modules; all options are there.
  evalSystem = { modules, specialArgs }:
    let
      arguments = specialArgs // { inherit config; options = { boot = { }; }; lib = import ./.; };
      collect = module:
        let called = if isFunction module then module arguments else if isPath module then collect (import module) else module; in
        if builtins.isList called then called
        else concatMap collect (called.imports or [ ]) ++ discharge (called.config or (removeAttrs called [ "imports" "options" ]));
      config = plain (mergeAll [ ] (concatMap collect modules));
    in
    config;
}
