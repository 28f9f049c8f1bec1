# firn, built by nixpkgs' Rust. All programs stand beside each other, where they find each other.
{ lib, rustPlatform, stdenv }:
rustPlatform.buildRustPackage {
  pname = "firn";
  version = (fromTOML (builtins.readFile ../Cargo.toml)).workspace.package.version;
  # What the programs are built from, so that a change of documents or tests builds nothing.
  src = lib.sourceByRegex ../. [
    "Cargo\\.(toml|lock)"
    "(runtime|image|shim|ctl|bench|conformance|xtask|nix)(/.*)?"
  ];
  cargoLock.lockFile = ../Cargo.lock;
  cargoBuildFlags = map (name: "--package=${name}") [ "firn" "firn-image" "firn-init" "firn-shim" "firnctl" "firn-network" ];
  # Static, as they run in containers without a libc. Not of the macros: nixpkgs' cargo has an explicit target.
  buildInputs = lib.optional (stdenv.cc.libc ? static) stdenv.cc.libc.static;
  env.RUSTFLAGS = "-C target-feature=+crt-static";
  # They make containers, which no build may.
  doCheck = false;
  postInstall = ''
    for unit in ctl/*.service ctl/*.socket; do
      install -Dm644 $unit -t $out/lib/systemd/system
    done
    substituteInPlace $out/lib/systemd/system/*.service --replace-fail @bindir@ $out/bin
  '';
  meta = {
    description = "Containers by definition, native and foreign, with an OCI runtime and a monitor";
    license = lib.licenses.asl20;
    mainProgram = "firnctl";
    platforms = lib.platforms.linux;
  };
}
