# One container. `host`: the arguments of the module that it is declared in.
{ lib, host }:
{ name, config, options, ... }:
let
  inherit (lib) mkOption types;

  # What the host gives its containers' systems.
  ofHost = { options, ... }: {
    _file = ./container.nix;
    nixpkgs =
      if options.nixpkgs ? hostPlatform && host.options.nixpkgs.hostPlatform.isDefined
      then { inherit (host.config.nixpkgs) hostPlatform; }
      else { inherit (host.config.nixpkgs) localSystem; };
  };

  evaluate = definitions: import "${toString config.nixpkgs}/nixos/lib/eval-config.nix" {
    modules = [ (import ../base.nix name config) ofHost ] ++ config.modules
      ++ map (definition: { _file = definition.file; imports = [ definition.value ]; }) definitions;
    prefix = [ "containers" name ];
    inherit (config) specialArgs;
    # As the host's: see `ofHost`.
    system = null;
  };
in
{
  options = (import ../options.nix { inherit lib; }).options // {
    config = mkOption {
      type = lib.mkOptionType {
        name = "NixOS configuration";
        description = "NixOS configuration";
        merge = _: definitions: (evaluate definitions).config;
      };
      description = "Native container: the configuration of its system, as a NixOS module. It sets `path`.";
    };
    modules = mkOption {
      type = types.listOf types.raw;
      default = [ ];
      description = "Native container: further NixOS modules beside `config`, as of a flake.";
    };
    nixpkgs = mkOption {
      type = types.path;
      default = host.pkgs.path;
      defaultText = lib.literalExpression "pkgs.path";
      description = "The nixpkgs whose modules and packages `config` is evaluated with.";
    };
    specialArgs = mkOption {
      type = types.attrsOf types.unspecified;
      default = { };
      description = "Further arguments of the modules in `config`.";
    };
  };

  config = lib.mkMerge [
    (lib.mkIf (config.modules != [ ]) { config = { }; })
    (lib.mkIf options.config.isDefined {
      path = config.config.system.build.toplevel;
      storePaths = "${host.pkgs.closureInfo { rootPaths = [ config.config.system.build.toplevel ]; }}/store-paths";
    })
  ];
}
