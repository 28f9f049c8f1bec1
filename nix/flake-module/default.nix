# The same for flake-parts. `makePackage`: firn for a nixpkgs.
{ makePackage }:
{ config, lib, inputs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.firn;
in
{
  # As flake-containers calls it.
  imports = [ (lib.mkAliasOptionModule [ "flake-containers" ] [ "firn" ]) ];

  options.firn = mkOption {
    description = "Containers of the project.";
    default = { };
    type = types.submodule {
      options = {
        enable = lib.mkEnableOption "commands for the project's containers";
        package = mkOption {
          type = types.nullOr (types.functionTo (types.nullOr types.package));
          default = pkgs: makePackage { inherit pkgs; };
          defaultText = lib.literalExpression "pkgs: firn.lib.makePackage { inherit pkgs; }";
          description = "Function of pkgs to firn; null: the firnctl in PATH.";
        };
        nixpkgs = mkOption {
          description = "The nixpkgs of the systems and commands.";
          default = { };
          type = types.submodule {
            options = {
              nixpkgs = mkOption {
                type = types.path;
                default = inputs.nixpkgs;
                defaultText = lib.literalExpression "inputs.nixpkgs";
                description = "The flake or path.";
              };
              config = mkOption {
                type = types.attrs;
                default = { };
                description = "Its configuration.";
              };
              overlays = mkOption {
                type = types.listOf types.raw;
                default = [ ];
                description = "Its overlays.";
              };
            };
          };
        };
        containers = mkOption {
          type = types.attrsOf types.raw;
          default = { };
          description = "The containers: firn's options, `configuration` and `runCommand`.";
        };
      };
    };
  };

  config = lib.mkIf cfg.enable {
    perSystem = { system, ... }:
      let
        pkgs = import cfg.nixpkgs.nixpkgs { inherit system; inherit (cfg.nixpkgs) config overlays; };
        made = import ./containers.nix {
          inherit (cfg.nixpkgs) nixpkgs;
          inherit system pkgs;
          package = if cfg.package == null then null else cfg.package pkgs;
          inherit (cfg) containers;
        };
      in
      {
        inherit (made) packages;
        devShells.flake-containers = made.devShell;
      };
  };
}
