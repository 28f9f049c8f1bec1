{
  description = "Containers for NixOS, and for every Linux: native and foreign ones, by definition";

  # No inputs: what needs nixpkgs takes it as an argument, so that no second one is fetched.
  outputs = { self }: {
    # firn itself, for those who have no flake: `nix profile install`, `nix run`. nixos-25.11 is fetched for these
    # alone.
    packages.x86_64-linux = rec {
      default = firn;
      firn = self.lib.makePackage {
        pkgs = import (builtins.fetchTree (builtins.fromJSON (builtins.readFile ./nix/nixpkgs.json))) { system = "x86_64-linux"; };
      };
    };

    lib = {
      # The options of a container and its definition, for any module system: `containerOptions { inherit lib; }`.
      containerOptions = import ./nix/options.nix;
      # firn for a nixpkgs: `makePackage { inherit pkgs; }`.
      makePackage = { pkgs }: pkgs.callPackage ./nix/package.nix { };
      # Containers without a system around them: `(evalContainers { nixpkgs, system, … } definition).definitions`.
      evalContainers = import ./nix/eval;
      # The outputs of a flake with these containers: `makeContainers { nixpkgs, containers, systems, … }`.
      makeContainers = { nixpkgs, ... }@arguments: import ./nix/flake-module/outputs.nix ({
        package = system: self.lib.makePackage { pkgs = import nixpkgs { inherit system; }; };
      } // arguments);
    };

    # The same for flake-parts.
    flakeModule = import ./nix/flake-module { inherit (self.lib) makePackage; };
    flakeModules.default = self.flakeModule;

    overlays.default = final: _: { firn = final.callPackage ./nix/package.nix { }; };

    # `firn.containers.<name>`, and firn for NixOS's own `containers.<name>`.
    nixosModules.default = ./nix/nixos;
  };
}
