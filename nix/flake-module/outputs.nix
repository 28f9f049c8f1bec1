# The outputs of a flake whose containers these are, for each of its systems: see containers.nix.
{ systems ? [ "x86_64-linux" "aarch64-linux" ], package ? (_: null), ... }@arguments:
let
  perSystem = builtins.listToAttrs (map (system: {
    name = system;
    value = import ./containers.nix (removeAttrs arguments [ "systems" ] // { inherit system; package = package system; });
  }) systems);
in
{
  packages = builtins.mapAttrs (_: made: made.packages) perSystem;
  devShells = builtins.mapAttrs (_: made: { flake-containers = made.devShell; }) perSystem;
}
