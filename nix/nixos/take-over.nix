# NixOS's own `containers.<name>`, served by firn.
{ config, lib, options, pkgs, ... }:
let
  cfg = config.firn;
  firn = (import ../options.nix { inherit lib; }).options;
  flags = import ./nspawn-flags.nix { inherit lib; };

  # The options of the same name, without those that nobody has given a value.
  same = container: lib.filterAttrs (name: value: value != null && value != firn.${name}.default)
    (builtins.intersectAttrs (removeAttrs firn [ "path" "flake" "storePaths" "bindMounts" "allowedDevices" ]) container);

  # In NixOS's order: of two values the later one counts, and lists grow.
  both = one: other: one // builtins.mapAttrs (name: value:
    if builtins.isList value then one.${name} or [ ] ++ value
    else if builtins.isAttrs value then both (one.${name} or { }) value
    else value) other;
  combine = builtins.foldl' both { };

  # Where NixOS keeps what its containers have written.
  directory = if builtins.compareVersions (config.system.stateVersion or "22.05") "22.05" >= 0
    then "/var/lib/nixos-containers" else "/var/lib/containers";

  definitionOf = name: container:
    let definition = written container; in
    definition // lib.optionalAttrs (!(definition.ephemeral or false)) { rootFrom = lib.mkDefault "${directory}/${name}"; };

  written = container: combine ([
    (same container)
    {
      bindMounts = builtins.mapAttrs (_: bind: { inherit (bind) mountPoint hostPath isReadOnly; }) container.bindMounts;
      allowedDevices = map (device: { inherit (device) node modifier; }) container.allowedDevices;
    }
    (if container.flake or null != null then { inherit (container) flake; } else {
      path = "${container.path}";
    } // lib.optionalAttrs (builtins.hasContext "${container.path}") {
      # Else it is a profile, whose closure is asked of Nix when it starts.
      storePaths = "${pkgs.closureInfo { rootPaths = [ container.path ]; }}/store-paths";
    })
  ] ++ flags.optionsOf (container.extraFlags or [ ]));
in
{
  # Of NixOS's one says that its containers are off: their units are.
  options.warnings = lib.mkOption {
    apply = builtins.filter (warning: !(cfg.takeOver && lib.hasPrefix "containers.<name> is used, but boot.enableContainers" warning));
  };

  options.firn.takeOver = lib.mkOption {
    type = lib.types.bool;
    default = false;
    description = ''
      Whether firn serves NixOS's own `containers.<name>`. Their units are `firn@NAME.service`, with
      `container@NAME.service` as another name, and `nixos-container` is firnctl.
    '';
  };

  config = lib.mkIf cfg.takeOver {
    # NixOS makes neither units nor files for them then; the options stay.
    boot.enableContainers = lib.mkForce false;
    firn.containers = builtins.mapAttrs definitionOf config.containers;
    assertions = lib.concatMap (name: map (flag: {
      assertion = false;
      message = "containers.${name}.extraFlags: no option of firn is ${flag} of systemd-nspawn; firn.containers.${name}.ociConfig may say it";
    }) (flags.unknown (config.containers.${name}.extraFlags or [ ])) ++ [{
      # As another name it would hide them.
      assertion = !(config.systemd.services ? "container@${name}");
      message = "systemd.services.\"container@${name}\": the unit is firn's: write systemd.services.\"firn@${name}\"";
    }]) (builtins.attrNames config.containers);
    # Its verbs and outputs are those of the name that it is called by.
    environment.systemPackages = [
      (pkgs.writeShellScriptBin "nixos-container" ''exec -a nixos-container ${cfg.package}/bin/firnctl "$@"'')
    ];
  };
}
