# As NixOS's: called in the same way, with a result of the same shape. The system is the tests' own.
{ system, modules, prefix ? [ ], specialArgs ? { } }:
let
  config = (import ../../lib).evalSystem { inherit modules specialArgs; };
  name = builtins.concatStringsSep "." prefix;
  toplevel = import ../../system.nix {
    busybox = BUSYBOX;
    version = config.test.version or "one";
  };
in
{ config = config // { system.build.toplevel = builtins.trace "evaluated ${name} of ${config.networking.hostName}" toplevel; }; }
