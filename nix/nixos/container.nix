# One container. `host`: the arguments of the module that it is declared in.
{ lib, host }:
{ name, config, options, ... }:
let
  inherit (lib) mkOption types;

  # RFC 1035, and what NixOS allows beside.
  isLabel = text: builtins.match "[[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?" text != null;

  # What a NixOS system needs to be a container.
  container = { lib, options, ... }: {
    _file = ./container.nix;
    boot = { isContainer = true; }
      # Without it, `boot.isContainer` is not enough since 2026.
      // lib.optionalAttrs (options.boot ? isNspawnContainer) { isNspawnContainer = true; };
    # Without one it is that from the outside: of several, each has its own, and NixOS takes none but a label.
    networking.hostName = lib.mkDefault (
      let hostname = if config.hostname != null then config.hostname else name; in
      if config.instances == null && isLabel hostname then hostname else ""
    );
    networking.useDHCP = false;
    nixpkgs =
      if options.nixpkgs ? hostPlatform && host.options.nixpkgs.hostPlatform.isDefined
      then { inherit (host.config.nixpkgs) hostPlatform; }
      else { inherit (host.config.nixpkgs) localSystem; };
    # `boot.isContainer` means the host's daemon, which a container with its own closure alone doesn't see.
    environment.variables = lib.mkIf (!config.nixDaemon) { NIX_REMOTE = lib.mkOverride 90 ""; };
  };

  evaluate = definitions: import "${toString config.nixpkgs}/nixos/lib/eval-config.nix" {
    modules = [ container ] ++ config.modules
      ++ map (definition: { _file = definition.file; imports = [ definition.value ]; }) definitions;
    prefix = [ "containers" name ];
    inherit (config) specialArgs;
    # As the host's: see `container`.
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
