# Containers of a project: for each NAME the commands NAME-up, NAME-down, NAME-shell and NAME-logs, as packages
# and in a development shell. Their state is in .firn, beside the project's flake.nix.
{
  # Path of nixpkgs, or its flake.
  nixpkgs,
  system,
  # Its configuration and overlays.
  config ? { },
  overlays ? [ ],
  pkgs ? import nixpkgs { inherit system config overlays; },
  # Where firnctl is; null: the one in PATH.
  package ? null,
  # The options of firn's definitions, and `config` (also called `configuration`), `modules`, `nixpkgs`,
  # `specialArgs` and `runCommand`.
  containers,
}:
let
  inherit (pkgs) lib;
  inherit (builtins) attrNames filter foldl' genericClosure length listToAttrs toJSON;

  names = attrNames containers;
  # 1 for the first of the alphabet.
  indexOf = name: length (filter (other: other <= name) names);

  project = { name, config, ... }:
    let
      hasOthers = config.networkNamespace != null || config.hostBridge != null || config.extra.addressPrefix != null;
      prefix = "10.233.${toString (indexOf name)}";
    in
    {
      options = {
        configuration = lib.mkOption {
          type = lib.types.raw or lib.types.unspecified;
          default = null;
          description = "The container's system, as a NixOS module: `config` by another name.";
        };
        runCommand = lib.mkOption {
          type = lib.types.raw or lib.types.unspecified;
          default = null;
          description = "Function of pkgs to the script that runs instead of the system's services.";
        };
      };
      config = lib.mkMerge [
        (lib.mkIf (config.configuration != null) { modules = [ config.configuration ]; })
        (lib.mkIf (config.runCommand != null) { notify = lib.mkDefault false; })
        (lib.mkIf (config.networkNamespace == null) { privateNetwork = lib.mkDefault true; })
        (lib.mkIf (config.privateNetwork && !hasOthers) {
          hostAddress = lib.mkDefault "${prefix}.1";
          localAddress = lib.mkDefault "${prefix}.2";
        })
      ];
    };

  # A system whose init is a script, with the system's programs.
  running = name: container: toplevel:
    if container.runCommand == null then toplevel
    else pkgs.writeTextFile {
      name = "${name}-system";
      executable = true;
      destination = "/init";
      text = ''
        #!${pkgs.runtimeShell}
        # The signal that stops a container (SIGRTMIN+3).
        trap 'exit 0' 37
        export PATH=${toplevel}/sw/bin
        ${container.runCommand pkgs}
      '';
    };

  evaluated = import ../eval {
    inherit nixpkgs system;
    modules = [ { nixpkgs.pkgs = lib.mkDefault pkgs; } ];
    containerModules = [ project ];
    systemOf = running;
  } (_: { inherit containers; });

  definitions = evaluated.definitions.containers;

  # A container and what it depends on, so that nothing else is built for it.
  needed = name: map (item: item.key) (genericClosure {
    startSet = [ { key = name; } ];
    operator = item: map (key: { inherit key; }) (definitions.${item.key}.dependsOn or [ ]);
  });
  definitionOf = name: pkgs.writeText "${name}.json" (toJSON {
    containers = listToAttrs (map (name: { inherit name; value = definitions.${name}; }) (needed name));
  });

  firnctl = if package == null then "firnctl" else "${package}/bin/firnctl";
  command = name: verb: text: pkgs.writeShellScriptBin "${name}-${verb}" ''
    set -eu
    project=$PWD
    while [ ! -e "$project/flake.nix" ]; do
      if [ "$project" = / ]; then
        echo "${name}-${verb}: there is no flake.nix in $PWD or above: call it in the project" >&2
        exit 1
      fi
      project=$(dirname "$project")
    done
    firnctl=$(command -v ${firnctl}) || { echo "${name}-${verb}: firnctl is not installed" >&2; exit 1; }
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    exec $as_root "$firnctl" --project "$project" ${text}
  '';

  commands = name: {
    "${name}-up" = command name "up" ''up ${definitionOf name} --only ${name} "$@"'';
    "${name}-down" = command name "down" ''stop ${name} "$@"'';
    "${name}-shell" = command name "shell" ''$([ $# = 0 ] && echo root-login || echo run) ${name} "$@"'';
    "${name}-logs" = command name "logs" ''logs ${name} "$@"'';
  };
  packages = foldl' (all: name: all // commands name) { } names;
in
{
  inherit packages;
  # What firnctl reads, and the systems.
  inherit (evaluated) definitions systems;
  devShell = pkgs.mkShell { packages = map (name: packages.${name}) (attrNames packages); };
}
