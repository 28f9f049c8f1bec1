# A module system for tests, after the chapters "Writing NixOS Modules" of the NixOS manual: as much of it as
# our modules use. FIRN_TEST_NIXPKGS_LIB runs the same tests with nixpkgs' own.
let
  inherit (builtins)
    all any attrNames attrValues concatLists concatMap elem elemAt filter foldl' functionArgs genList hasAttr head
    intersectAttrs isAttrs isBool isFloat isFunction isInt isList isPath isString length listToAttrs map mapAttrs
    match replaceStrings split stringLength substring tail toString typeOf;

  lib = {
    # Lists, sets and texts.
    inherit head tail elem length filter any all concatMap listToAttrs attrNames attrValues mapAttrs isFunction;
    inherit isString isList isAttrs concatLists functionArgs genList replaceStrings stringLength;
    last = list: elemAt list (length list - 1);
    optional = condition: value: if condition then [ value ] else [ ];
    optionals = condition: list: if condition then list else [ ];
    optionalAttrs = condition: set: if condition then set else { };
    optionalString = condition: text: if condition then text else "";
    nameValuePair = name: value: { inherit name value; };
    mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
    mapAttrs' = f: set: listToAttrs (lib.mapAttrsToList f set);
    filterAttrs = keep: set: listToAttrs (filter (pair: keep pair.name pair.value) (lib.mapAttrsToList lib.nameValuePair set));
    genAttrs = names: f: listToAttrs (map (name: lib.nameValuePair name (f name)) names);
    unique = foldl' (list: item: if elem item list then list else list ++ [ item ]) [ ];
    range = from: to: if from > to then [ ] else genList (n: from + n) (to - from + 1);
    concatStringsSep = builtins.concatStringsSep;
    concatMapStringsSep = separator: f: list: builtins.concatStringsSep separator (map f list);
    concatMapStrings = lib.concatMapStringsSep "";
    splitString = separator: text: filter isString (split (lib.escapeRegex separator) text);
    escapeRegex = lib.escape [ "." "*" "+" "?" "(" ")" "[" "{" "^" "$" "|" "\\" ];
    escape = characters: replaceStrings characters (map (c: "\\" + c) characters);
    hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
    hasSuffix = suffix: text: match (".*" + lib.escapeRegex suffix) text != null;
    removePrefix = prefix: text:
      if lib.hasPrefix prefix text then substring (stringLength prefix) (stringLength text) text else text;
    hasInfix = part: text: replaceStrings [ part ] [ "" ] text != text;
    literalExpression = text: { _type = "literalExpression"; inherit text; };
    showOption = builtins.concatStringsSep ".";
    getExe' = package: name: "${package}/bin/${name}";
    sourceByRegex = source: patterns: builtins.path {
      name = "source";
      path = source;
      filter = path: _: any (pattern: match pattern (lib.removePrefix (toString source + "/") path) != null) patterns;
    };
    licenses.asl20 = { spdxId = "Apache-2.0"; };
    platforms.linux = [ "x86_64-linux" "aarch64-linux" ];

    setAttrByPath = path: value: if path == [ ] then value else { ${head path} = lib.setAttrByPath (tail path) value; };
    attrByPath = path: default: set:
      if path == [ ] then set else if set ? ${head path} then lib.attrByPath (tail path) default set.${head path} else default;
    mkAliasOptionModule = from: to: { options, ... }:
      let alias = lib.attrByPath from (throw "no option") options; in
      {
        options = lib.setAttrByPath from (lib.mkOption { type = types.unspecified; });
        config = lib.setAttrByPath to (lib.mkIf alias.isDefined (lib.mkMerge alias.definitions));
      };

    # What a definition may be wrapped in.
    mkIf = condition: content: { _type = "if"; inherit condition content; };
    mkMerge = contents: { _type = "merge"; inherit contents; };
    mkOverride = priority: content: { _type = "override"; inherit priority content; };
    mkOptionDefault = lib.mkOverride 1500;
    mkDefault = lib.mkOverride 1000;
    mkForce = lib.mkOverride 50;

    mkOption = option: option // { _type = "option"; };
    mkEnableOption = what: lib.mkOption { type = types.bool; default = false; description = "Whether to enable ${what}."; };
    mkOptionType = type: { check = _: true; getSubOptions = _: { }; } // type // { _type = "option-type"; };
    inherit types evalModules;
  };

  isWrapped = kind: value: isAttrs value && value._type or null == kind;

  # Definitions of an option, unwrapped: those whose conditions hold, of the strongest priority.
  discharge = definitions:
    let
      unwrap = priority: definition:
        let inherit (definition) value; in
        if isWrapped "merge" value then concatMap (content: unwrap priority (definition // { value = content; })) value.contents
        else if isWrapped "if" value then (if value.condition then unwrap priority (definition // { value = value.content; }) else [ ])
        else if isWrapped "override" value then unwrap value.priority (definition // { value = value.content; })
        else [ (definition // { inherit priority; }) ];
      plain = concatMap (unwrap 100) definitions;
      strongest = foldl' (least: definition: if definition.priority < least then definition.priority else least) 9999 plain;
    in
    filter (definition: definition.priority == strongest) plain;

  # A set of options, unwrapped one level: the wrappers go to the options in it, whose names depend on no condition.
  pushDown = definition:
    let
      inherit (definition) value;
      into = wrap: content: map (inner: inner // { value = mapAttrs (_: wrap) inner.value; }) (pushDown (definition // { value = content; }));
    in
    if isWrapped "merge" value then concatMap (content: pushDown (definition // { value = content; })) value.contents
    else if isWrapped "if" value then into (lib.mkIf value.condition) value.content
    else if isWrapped "override" value then into (lib.mkOverride value.priority) value.content
    else [ definition ];

  # By name, the definitions in sets.
  byName = definitions:
    let names = lib.unique (concatMap (definition: attrNames definition.value) definitions); in
    lib.genAttrs names (name:
      concatMap (definition: lib.optional (definition.value ? ${name}) (definition // { value = definition.value.${name}; })) definitions);

  mergeBy = type: loc: definitions:
    let
      bad = filter (definition: !type.check definition.value) definitions;
    in
    if bad != [ ] then
      throw "A definition for option `${lib.showOption loc}' is not of type `${type.name}': ${(head bad).file}: ${builtins.toJSON (shown (head bad).value)}"
    else type.merge loc definitions;
  shown = value: if isFunction value || isAttrs value then typeOf value else value;

  same = loc: definitions:
    # Also what can't be compared, as a function.
    if length definitions == 1 then (head definitions).value
    else if all (definition: definition.value == (head definitions).value) definitions then (head definitions).value
    else throw "The option `${lib.showOption loc}' has conflicting definition values: in ${lib.concatMapStringsSep " and " (d: d.file) definitions}";

  simple = name: check: lib.mkOptionType { inherit name check; merge = same; };
  types = {
    str = simple "string" isString;
    bool = lib.mkOptionType { name = "boolean"; check = isBool; merge = loc: definitions: same loc definitions; };
    int = simple "signed integer" isInt;
    float = simple "floating point number" isFloat;
    ints = {
      between = from: to: simple "integer between ${toString from} and ${toString to}" (value: isInt value && value >= from && value <= to);
      unsigned = simple "unsigned integer" (value: isInt value && value >= 0);
    };
    port = types.ints.between 0 65535;
    path = simple "absolute path" (value: isPath value || (isString value || isAttrs value && (value ? outPath || value ? __toString)) && lib.hasPrefix "/" (toString value));
    package = simple "package" (value: isAttrs value && value ? outPath || isString value && lib.hasPrefix builtins.storeDir value);
    enum = values: simple "one of ${builtins.toJSON values}" (value: elem value values);
    raw = lib.mkOptionType { name = "raw value"; merge = same; };
    unspecified = lib.mkOptionType { name = "unspecified value"; merge = loc: definitions: if length definitions == 1 then (head definitions).value else same loc definitions; };
    lines = lib.mkOptionType { name = "lines"; check = isString; merge = _: definitions: lib.concatMapStringsSep "\n" (d: d.value) definitions; };
    anything = lib.mkOptionType {
      name = "anything";
      merge = loc: definitions:
        if all (d: isAttrs d.value && !(d.value ? outPath)) definitions then (types.attrsOf types.anything).merge loc definitions
        else same loc definitions;
    };
    attrs = lib.mkOptionType {
      name = "attribute set";
      check = isAttrs;
      merge = _: foldl' (one: other: one // other.value) { };
    };
    functionTo = type: lib.mkOptionType {
      name = "function to ${type.name}";
      check = isFunction;
      merge = loc: definitions: argument:
        mergeBy type loc (map (definition: definition // { value = definition.value argument; }) definitions);
    };
    nullOr = type: lib.mkOptionType {
      name = "null or ${type.name}";
      inherit (type) getSubOptions;
      check = value: value == null || type.check value;
      merge = loc: definitions: if all (d: d.value == null) definitions then null else type.merge loc definitions;
    };
    either = one: other: lib.mkOptionType {
      name = "${one.name} or ${other.name}";
      check = value: one.check value || other.check value;
      merge = loc: definitions: (if all (d: one.check d.value) definitions then one else other).merge loc definitions;
    };
    oneOf = kinds: foldl' types.either (head kinds) (tail kinds);
    listOf = type: lib.mkOptionType {
      name = "list of ${type.name}";
      inherit (type) getSubOptions;
      check = isList;
      merge = loc: definitions:
        let item = definition: n: discharge [ (definition // { value = elemAt definition.value n; }) ]; in
        concatMap (definition: concatMap (n: let found = item definition n; in
          lib.optional (found != [ ]) (mergeBy type (loc ++ [ "[${toString n}]" ]) found)) (genList (n: n) (length definition.value))) definitions;
    };
    attrsOf = type: lib.mkOptionType {
      name = "attribute set of ${type.name}";
      inherit (type) getSubOptions;
      check = isAttrs;
      merge = loc: definitions:
        let found = mapAttrs (_: discharge) (byName (concatMap pushDown definitions)); in
        mapAttrs (name: mergeBy type (loc ++ [ name ])) (lib.filterAttrs (_: list: list != [ ]) found);
    };
    submodule = module: lib.mkOptionType {
      name = "submodule";
      check = value: isAttrs value || isFunction value || isPath value;
      getSubOptions = loc: (evalModules { modules = if isList module then module else [ module ]; prefix = loc; }).options;
      merge = loc: definitions: (evalModules {
        modules = (if isList module then module else [ module ]) ++ map (definition:
          # A set may define an option `config`.
          if isAttrs definition.value then { _file = definition.file; config = definition.value; }
          else { _file = definition.file; imports = [ definition.value ]; }) definitions;
        specialArgs.name = elemAt loc (length loc - 1);
        prefix = loc;
      }).config;
    };
  };

  # Of what a module is written as: a function, a file, or a set, with or without `config`.
  collect = arguments: file: written:
    let
      here = if isPath written || isString written then toString written else file;
      value = if isPath written || isString written then import written else written;
      module = if isFunction value then value arguments else value;
      isLong = module ? config || module ? options;
      known = [ "_file" "key" "imports" "options" "config" "meta" "disabledModules" "freeformType" ];
      unknown = filter (name: !elem name known) (attrNames module);
      from = module._file or here;
    in
    if isLong && unknown != [ ] then throw "module ${from} has an unsupported attribute `${head unknown}'"
    else [{
      file = from;
      options = module.options or { };
      config = module.config or (if isLong then { } else removeAttrs module known);
    }] ++ concatMap (collect arguments from) (module.imports or [ ]);

  # Trees of options, as one.
  mergeOptions = loc: trees:
    let
      names = lib.unique (concatMap attrNames trees);
      of = name: map (tree: tree.${name}) (filter (hasAttr name) trees);
      isOption = isWrapped "option";
    in
    lib.genAttrs names (name:
      let found = of name; in
      if !any isOption found then mergeOptions (loc ++ [ name ]) found
      # A second declaration adds to the first, and repeats nothing of it.
      else foldl' (one: other:
        if all (name: name == "_type" || !(one ? ${name})) (attrNames other) then one // other
        else throw "The option `${lib.showOption (loc ++ [ name ])}' is declared twice") (head found) (tail found));

  evaluateOption = isKnown: loc: option: definitions:
    let
      given = discharge definitions;
      default = lib.optional (option ? default) { file = "default"; value = option.default; };
      used = if given == [ ] then discharge default else given;
      # A default is of no priority but may be wrapped by the declaration.
      value =
        if used == [ ] then
          (if option.type.name or "" == "submodule" then option.type.merge loc [ ]
          else throw "The option `${lib.showOption loc}' is used but not defined.")
        else mergeBy (option.type or types.unspecified) loc used;
    in
    option // {
      inherit loc;
      isDefined = used != [ ];
      definitions = map (definition: definition.value) used;
      files = map (definition: definition.file) used;
      # What options there are depends on no definition, so that a module may ask for them.
      value = assert isKnown; (option.apply or (value: value)) value;
    };

  evaluateTree = isKnownAbove: loc: tree: definitions:
    let
      sets = concatMap pushDown definitions;
      found = byName sets;
      unknown = filter (name: !(tree ? ${name})) (attrNames found);
      fileOf = name: (head found.${name}).file;
      isKnown = isKnownAbove && (unknown == [ ]
        || throw "The option `${lib.showOption (loc ++ [ (head unknown) ])}' does not exist. Definition in ${fileOf (head unknown)}");
    in
    mapAttrs (name: option:
      let at = loc ++ [ name ]; in
      (if isWrapped "option" option then evaluateOption else evaluateTree) isKnown at option (found.${name} or [ ])) tree;

  valuesOf = mapAttrs (_: option: if isWrapped "option" option then option.value else valuesOf option);

  evalModules = { modules, specialArgs ? { }, prefix ? [ ], ... }:
    let
      arguments = { inherit lib; inherit (result) config options; } // specialArgs;
      collected = concatMap (collect arguments "<unknown>") modules;
      options = evaluateTree true prefix (mergeOptions prefix (map (module: module.options) collected))
        (map (module: { inherit (module) file; value = module.config; }) collected);
      result = { inherit options; config = valuesOf options; };
    in
    result;
in
lib
