# flake-parts' mkFlake, as far as a module uses it that says what there is per system.
{ nixpkgs, inputs, systems }:
module:
let
  lib = import (nixpkgs + "/lib");
  core.options.perSystem = lib.mkOption {
    type = lib.mkOptionType {
      name = "module of each system";
      merge = _: definitions: map (definition: definition.value) definitions;
    };
    default = _: { };
  };
  inherit ((lib.evalModules { modules = [ core module ]; specialArgs = { inherit inputs; }; }).config) perSystem;
  of = kind: lib.genAttrs systems (system:
    builtins.foldl' (all: one: all // ((one { inherit system; }).${kind} or { })) { } perSystem);
in
lib.genAttrs [ "packages" "devShells" ] of
