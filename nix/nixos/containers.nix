# The options: those of a definition, and what makes one of a NixOS module.
{ config, lib, options, pkgs, ... }@host:
let
  inherit (lib) mkOption types;
  cfg = config.firn;
in
{
  options.firn = {
    enable = mkOption {
      type = types.bool;
      default = cfg.containers != { };
      defaultText = lib.literalExpression "config.firn.containers != { }";
      description = "Whether to have firnctl and the units of its containers.";
    };
    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ../package.nix { };
      defaultText = lib.literalExpression "firn.lib.makePackage { inherit pkgs; }";
      description = "The package of firn, with all its programs.";
    };
    containers = mkOption {
      type = types.attrsOf (types.submodule (import ./container.nix { inherit lib host; }));
      default = { };
      description = "Containers by name, native and foreign ones. The unit of each is `firn@NAME.service`.";
    };
  };

  config = lib.mkIf cfg.enable { environment.systemPackages = [ (cfg.package.out or cfg.package) ]; };
}
