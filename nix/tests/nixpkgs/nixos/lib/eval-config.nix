# Called as NixOS's: the configuration that modules make, with the options of ../options.nix.
{ modules, prefix ? [ ], specialArgs ? { }, system ? null }:
let
  lib = import ../../lib.nix;
  pkgs = import ../pkgs.nix;
in
lib.evalModules {
  modules = [ ../options.nix ] ++ modules;
  specialArgs = { inherit pkgs; } // specialArgs;
  inherit prefix;
}
