# What a NixOS system needs to be a container: a module, of the container's name and its definition.
name: definition:
{ lib, options, ... }:
let
  # RFC 1035, and what NixOS allows beside. firnctl has `_` as `-`, too.
  hostname = if definition.hostname != null then definition.hostname else builtins.replaceStrings [ "_" ] [ "-" ] name;
  isLabel = builtins.match "[[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?" hostname != null;
in
{
  _file = "firn";
  config = lib.mkMerge [
    {
      boot.isContainer = true;
      # Without one it is that from the outside: of several, each has its own, and NixOS takes none but a label.
      networking.hostName = lib.mkDefault (if definition.instances == null && isLabel then hostname else "");
      networking.useDHCP = lib.mkDefault false;
      # `boot.isContainer` means the host's daemon, which a container with its own closure alone doesn't see.
      environment.variables = lib.mkIf (!definition.nixDaemon) { NIX_REMOTE = lib.mkOverride 90 ""; };
    }
    # Without it, `boot.isContainer` is not enough since 2026.
    (lib.optionalAttrs (options.boot ? isNspawnContainer) { boot.isNspawnContainer = true; })
  ];
}
