# A host with our module and one of a test: what comes of it.
module:
let
  lib = import ./nixpkgs/lib.nix;
  host = import ./nixpkgs/nixos/lib/eval-config.nix { modules = [ ../nixos module { nixpkgs.hostPlatform = "x86_64-linux"; } ]; };
  inherit (host) config;
  isOurs = name: _: lib.hasPrefix "firn/containers/" name;

  # A unit's text, as NixOS writes it.
  textOf = service:
    let
      line = name: value:
        if builtins.isList value then lib.concatMapStrings (line name) value
        else if value == true then "${name}=true\n"
        else "${name}=${toString value}\n";
      lines = set: lib.concatMapStrings (name: line name set.${name}) (builtins.attrNames set);
      given = lib.filterAttrs (_: value: value != [ ] && value != null);
      words = names: builtins.mapAttrs (_: toString) (given (builtins.mapAttrs (_: option: service.${option} or null) names));
      flag = option: name: lib.optionalString (!(service.${option} or true)) "${name}=false\n";
      variables = lib.filterAttrs (_: value: value != null) (service.environment or { });
    in
    "[Unit]\n"
    + lines (words { After = "after"; Before = "before"; Description = "description"; Documentation = "documentation"; PartOf = "partOf"; Wants = "wants"; }
      // service.unitConfig)
    + lib.optionalString ((service.restartTriggers or [ ]) != [ ]) "X-Restart-Triggers=${toString service.restartTriggers}\n"
    + "\n[Service]\n"
    + lib.concatMapStrings (name: "Environment=\"${name}=${variables.${name}}\"\n") (builtins.attrNames variables)
    + flag "restartIfChanged" "X-RestartIfChanged" + flag "stopIfChanged" "X-StopIfChanged"
    + lines service.serviceConfig;
in
{
  inherit config;
  definitions = lib.mapAttrs' (name: file: {
    inherit name;
    value = builtins.fromJSON (builtins.unsafeDiscardStringContext file.source.text);
  }) (lib.filterAttrs isOurs config.environment.etc);
  units = lib.mapAttrs' (name: service: { name = "${name}.service"; value = textOf service; }) config.systemd.services;
  mistakes = map (assertion: assertion.message) (builtins.filter (assertion: !assertion.assertion) config.assertions);
}
