# Packages of the tests: as nixpkgs calls and makes them, with busybox alone.
{ system, config ? { }, overlays ? [ ] }:
let
  inherit (import ./system.nix { busybox = import ./busybox.nix; version = "tools"; inherit system; }) tools;
  write = { name, text, executable ? false, destination ? "" }: derivation {
    inherit name system text executable destination;
    builder = "${tools}/bin/sh";
    passAsFile = [ "text" ];
    args = [ "-euc" ''
      PATH=${tools}/bin
      mkdir -p $(dirname $out$destination)
      cp $textPath $out$destination
      [ -z "$executable" ] || chmod 755 $out$destination
    '' ];
  };
in
rec {
  lib = import ./lib;
  runtimeShell = "${tools}/bin/sh";
  writeTextFile = write;
  writeText = name: text: write { inherit name text; };
  writeShellScriptBin = name: text: write {
    inherit name;
    text = "#!${runtimeShell}\n" + text;
    executable = true;
    destination = "/bin/${name}";
  };
  # `nix develop` takes derivations of bash alone, whose environment it asks for.
  mkShell = { packages }: derivation {
    name = "nix-shell";
    inherit system;
    outputs = [ "out" ];
    builder = "/bin/bash";
    args = [ "-c" "echo > $out" ];
    PATH = builtins.concatStringsSep ":" (map (package: "${package}/bin") packages ++ [ "${tools}/bin" ]);
  };
}
