# What a definition makes: its containers, and texts of it in each.
{ lib }:
rec {
  # By number where there are several; `%i` in a text is the number, and `%%` a percent sign.
  instances = name: container:
    if container.instances == null then [ { inherit name; text = text: text; } ]
    else map (number: {
      name = "${name}-${toString number}";
      text = builtins.replaceStrings [ "%%" "%i" ] [ "%" (toString number) ];
    }) (lib.range 1 container.instances);

  # The containers of all definitions, each with its definition.
  all = containers: lib.concatMap (name: map (instance: instance // {
    definitionName = name;
    definition = containers.${name};
  }) (instances name containers.${name})) (builtins.attrNames containers);

  isNative = container: container.path != null || container.flake != null;
}
