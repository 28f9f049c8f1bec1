# What firnctl is told: a file for each definition, which is complete and checked when the system is built.
{ config, lib, pkgs, ... }:
let
  cfg = config.firn;
  inherit (import ../options.nix { inherit lib; }) project;
  fileOf = name: container: pkgs.writeText "${name}.json" (project { ${name} = container; });
  files = builtins.mapAttrs fileOf cfg.containers;
in
{
  config = lib.mkIf cfg.enable {
    environment.etc = lib.mapAttrs' (name: source: lib.nameValuePair "firn/containers/${name}.json" { inherit source; }) files;

    # Every mistake, before anything is switched to. Not where firnctl is for another machine.
    system.checks = lib.optional (files != { } && pkgs.stdenv.hostPlatform == pkgs.stdenv.buildPlatform)
      (pkgs.runCommand "firn-containers-checked" { } ''
        mkdir containers
        ${lib.concatMapStrings (name: "ln -s ${files.${name}} containers/${name}.json\n") (builtins.attrNames files)}
        ${cfg.package}/bin/firnctl config check containers > $out
      '');
  };
}
