# firn, built by nixpkgs' Rust: all that `cargo xtask install` installs. All programs stand beside each other,
# where they find each other.
{ lib, rustPlatform, stdenv }:
rustPlatform.buildRustPackage {
  pname = "firn";
  version = (fromTOML (builtins.readFile ../Cargo.toml)).workspace.package.version;
  # Apart, as NixOS has a program of such a name.
  outputs = [ "out" "links" ];
  # What the programs are built from, so that a change of documents builds nothing.
  src = lib.sourceByRegex ../. [
    "Cargo\\.(toml|lock)"
    "(runtime|image|shim|ctl|bench|conformance|xtask|nix)(/.*)?"
    "docs(/firn-init\\.1)?"
  ];
  cargoLock.lockFile = ../Cargo.lock;
  # xtask installs them, with the man pages and completions that it makes of their command lines.
  cargoBuildFlags = map (name: "--package=${name}") [ "firn" "firn-image" "firn-init" "firn-shim" "firnctl" "firn-network" "xtask" ]
    ++ [ "--bins" ];
  buildFeatures = [ "xtask/manuals" ];
  # Static, as they run in containers without a libc. Not of the macros: nixpkgs' cargo has an explicit target.
  buildInputs = lib.optional (stdenv.cc.libc ? static) stdenv.cc.libc.static;
  env.RUSTFLAGS = "-C target-feature=+crt-static";
  # They make containers, which no build may.
  doCheck = false;
  installPhase = ''
    runHook preInstall
    built=$(echo target/*/release)
    $built/xtask install --built $built --prefix $out
    mkdir -p $links/bin
    for name in nixos-container extra-container; do
      ln -s $out/bin/firnctl $links/bin/$name
    done
    runHook postInstall
  '';
  meta = {
    description = "Containers by definition, native and foreign, with an OCI runtime and a monitor";
    license = lib.licenses.asl20;
    mainProgram = "firnctl";
    outputsToInstall = [ "out" "links" ];
    platforms = lib.platforms.linux;
  };
}
