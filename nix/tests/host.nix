# A host with our module and one of a test: what comes of it.
module:
let
  lib = import ./nixpkgs/lib.nix;
  host = import ./nixpkgs/nixos/lib/eval-config.nix { modules = [ ../nixos module { nixpkgs.hostPlatform = "x86_64-linux"; } ]; };
  inherit (host) config;
  isOurs = name: _: lib.hasPrefix "firn/" name;
in
{
  inherit config;
  definitions = lib.mapAttrs' (name: file: {
    inherit name;
    value = builtins.fromJSON (builtins.unsafeDiscardStringContext file.source.text);
  }) (lib.filterAttrs isOurs config.environment.etc);
  units = builtins.mapAttrs (_: unit: unit.text) config.systemd.units;
  mistakes = map (assertion: assertion.message) (builtins.filter (assertion: !assertion.assertion) config.assertions);
}
