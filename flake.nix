{
  description = "Containers for NixOS, and for every Linux: native and foreign ones, by definition";

  # No inputs: what needs nixpkgs takes it as an argument, so that no second one is fetched.
  outputs = { self }: {
    lib = {
      # The options of a container and its definition, for any module system: `containerOptions { inherit lib; }`.
      containerOptions = import ./nix/options.nix;
    };
  };
}
