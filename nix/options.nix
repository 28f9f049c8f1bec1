# The options of a container, made from the schema of its definition (`firnctl config schema`): the names,
# types, defaults and texts are those that firnctl reads. `lib` is that of nixpkgs, of any year.
{ lib, schema ? builtins.fromJSON (builtins.readFile ./schema.json) }:
let
  inherit (lib) mkOption types;
  container = schema.properties.containers.additionalProperties;

  # What a store path may be given for: a path or a derivation, which become text in the definition.
  fromStore = [ "path" "storePaths" "rootFS" ];

  isNull = kind: kind.type or null == "null";
  integer = kind:
    let
      from = kind.minimum or null;
      to = kind.maximum or null;
    in
    if from != null && to != null then types.ints.between from to
    else if from == 0 || to != null then types.ints.unsigned
    else types.int;

  # The type of the module system for one of JSON Schema. `text` is what stands for a string.
  typeOf = text: kind:
    let kinds = builtins.filter (other: !isNull other) (kind.anyOf or [ ]);
    in
    if kind ? enum then types.enum kind.enum
    else if kind ? anyOf then
      (if builtins.any isNull kind.anyOf then types.nullOr else (type: type)) (types.oneOf (map (typeOf text) kinds))
    else if builtins.isList kind.type then
      types.nullOr (typeOf text (kind // { type = builtins.head (builtins.filter (name: name != "null") kind.type); }))
    else {
      string = text;
      boolean = types.bool;
      integer = integer kind;
      number = types.either types.int types.float;
      array = types.listOf (typeOf text kind.items);
      object =
        if kind ? properties then types.submodule { options = optionsOf kind; }
        else if builtins.isAttrs kind.additionalProperties then types.attrsOf (typeOf text kind.additionalProperties)
        else types.attrsOf types.anything;
    }.${kind.type};

  optionOf = name: kind:
    mkOption ({
      type = typeOf (if builtins.elem name fromStore then types.either types.path types.str else types.str) kind;
      description = builtins.replaceStrings [ "\n" ] [ " " ] kind.description;
    } // (if kind ? default then { inherit (kind) default; } else { }));

  optionsOf = kind: builtins.mapAttrs optionOf kind.properties;

  # A path as it is meant: where it is, unless that is the store, which keeps it then. A copy in the store would
  # have neither owners nor devices.
  inPlace = value:
    if !builtins.isPath value then value
    else if lib.hasPrefix "${builtins.storeDir}/" (toString value) then "${value}"
    else toString value;

  # A value without what is its default, also inside: an option that a later firn adds changes no definition.
  without = kind: value:
    if builtins.isAttrs value && kind ? properties then
      let
        names = builtins.filter (name: kind.properties ? ${name}) (builtins.attrNames value);
        parts = map (name: { inherit name; value = without kind.properties.${name} value.${name}; }) names;
        isGiven = part: !(kind.properties.${part.name} ? default && part.value == kind.properties.${part.name}.default);
      in
      builtins.listToAttrs (builtins.filter isGiven parts)
    else if builtins.isAttrs value && builtins.isAttrs (kind.additionalProperties or null) then
      builtins.mapAttrs (_: without kind.additionalProperties) value
    else if builtins.isList value then map (without kind.items) value
    else inPlace value;
in
{
  # For a submodule: `types.attrsOf (types.submodule { options = …; })`.
  options = optionsOf container;

  # The definition that such a submodule's values make, as in a project's file.
  definition = without container;

  # Definitions as firnctl reads them from JSON.
  project = containers: builtins.toJSON { containers = builtins.mapAttrs (_: without container) containers; };
}
