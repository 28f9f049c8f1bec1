{
  description = "Containers for NixOS, and for every Linux: native and foreign ones, by definition";

  # No inputs: what needs nixpkgs takes it as an argument, so that no second one is fetched.
  outputs = { self }: {
    lib = {
      # The options of a container and its definition, for any module system: `containerOptions { inherit lib; }`.
      containerOptions = import ./nix/options.nix;
      # firn for a nixpkgs: `makePackage { inherit pkgs; }`.
      makePackage = { pkgs }: pkgs.callPackage ./nix/package.nix { };
    };

    overlays.default = final: _: { firn = final.callPackage ./nix/package.nix { }; };

    # `firn.containers.<name>`, and firn for NixOS's own `containers.<name>`.
    nixosModules.default = ./nix/nixos;
  };
}
