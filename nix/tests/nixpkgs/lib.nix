# The module system of the tests: ours, or nixpkgs' where the variable names it.
let path = builtins.getEnv "FIRN_TEST_NIXPKGS_LIB"; in
import (if path == "" then ../lib.nix else /. + path)
