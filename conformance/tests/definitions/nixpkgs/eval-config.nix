# As NixOS's: called in the same way, with a result of the same shape. The system is the tests' own.
{ system, modules, prefix ? [ ], specialArgs ? { } }:
let
  lib = import ../../lib;
  inherit (lib) mkOption types;
  options = { lib, ... }: {
    options = {
      boot.isContainer = mkOption { type = types.bool; };
      environment.variables = mkOption { type = types.attrsOf types.str; default = { }; };
      networking.hostName = mkOption { type = types.str; };
      networking.useDHCP = mkOption { type = types.bool; };
      networking.firewall = mkOption { type = types.attrsOf types.unspecified; default = { }; };
      services = mkOption { type = types.attrsOf types.unspecified; default = { }; };
      systemd.services = mkOption { type = types.attrsOf types.unspecified; default = { }; };
      nixpkgs.pkgs = mkOption { type = types.unspecified; default = null; };
      system.nixos.release = mkOption { type = types.str; default = import ../../release.nix; };
      system.stateVersion = mkOption { type = types.str; default = import ../../release.nix; };
      system.build = mkOption { type = types.attrsOf types.unspecified; default = { }; };
      users.users = mkOption { type = types.attrsOf types.unspecified; default = { }; };
      test.version = mkOption { type = types.str; default = "one"; };
    };
  };
  evaluated = lib.evalModules {
    modules = [ options ] ++ modules;
    specialArgs = { pkgs = import ../.. { inherit system; }; } // specialArgs;
    inherit prefix;
  };
  inherit (evaluated) config;
  toplevel = import ../../system.nix { busybox = import ../../busybox.nix; inherit system; inherit (config.test) version; inherit (config.system) stateVersion; inherit (config.system.nixos) release; keys = config.users.users.root.openssh.authorizedKeys.keys or [ ]; };
in
evaluated // {
  config = config // {
    system = config.system // { build.toplevel =
      assert config.boot.isContainer;
      builtins.trace "evaluated ${lib.showOption prefix}, host ${config.networking.hostName}" toplevel; };
  };
}
