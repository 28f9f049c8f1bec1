# What systemd is told: a unit for each container, made from firnctl's template, and one that hands the
# definitions over to firnctl. The texts have no store paths but the triggers: a new nixpkgs, or a new firn,
# restarts no container.
{ config, lib, ... }:
let
  cfg = config.firn;
  inherit (import ../options.nix { inherit lib; }) definition;
  names = import ./names.nix { inherit lib; };
  programs = "/run/current-system/sw/bin";
  directory = "/etc/firn/containers";
  handOver = "${programs}/firnctl unit declare ${directory}";
  isComment = lib.hasPrefix "#";
  template = builtins.replaceStrings [ "@bindir@" ] [ programs ] (lib.concatStringsSep "\n"
    (builtins.filter (line: !isComment line) (lib.splitString "\n" (builtins.readFile (../../ctl + "/firn@.service")))));

  # Options that `systemctl reload` changes in a container that runs (`firnctl plan` says live or update).
  live = import ./live.nix;
  trigger = value: builtins.hashString "sha256" (builtins.toJSON value);
  triggers = container:
    let given = definition container; in
    {
      restart = trigger (removeAttrs given live // { isNative = names.isNative container; });
      reload = trigger (builtins.intersectAttrs (lib.genAttrs live (_: null)) given);
    };

  # A path as one word (systemd.syntax(7)), without specifiers (systemd.unit(5)).
  quoted = path: "\"${builtins.replaceStrings [ "\\" "\"" "%" "\n" ] [ "\\\\" "\\\"" "%%" "\\n" ] path}\"";

  sourceOf = volume:
    let found = builtins.match "(.+):(/[^:]*)" volume; in if found == null then volume else lib.head found;

  # What is mounted before it starts.
  sources = container: builtins.filter (lib.hasPrefix "/") (
    map (mountPoint: let bind = container.bindMounts.${mountPoint}; in
      if bind.hostPath != null then bind.hostPath
      else if bind.mountPoint != null then bind.mountPoint
      else mountPoint) (builtins.attrNames container.bindMounts)
    ++ map sourceOf (container.volumes ++ container.volumes-ro)
    ++ map toString container.rootFS
  );

  # systemd.device(5): the unit of an interface.
  deviceOf = interface: "sys-subsystem-net-devices-${builtins.replaceStrings [ "\\" "-" ] [ "\\x5c" "\\x2d" ] interface}.device";

  unitsOf = name: map (instance: "firn@${instance.name}.service")
    (if cfg.containers ? ${name} then names.instances name cfg.containers.${name} else [ { inherit name; } ]);

  needs = container:
    [ "firn-declare.service" ] ++ lib.concatMap unitsOf container.dependsOn
    ++ lib.optionals container.autoStart (map deviceOf container.interfaces);

  textOf = { text, definition, ... }:
    let
      needed = toString (needs definition);
      changes = triggers definition;
      unit = [ "Wants=${needed}" "After=${needed}" ]
        ++ map (path: "RequiresMountsFor=${quoted (text path)}") (lib.unique (sources definition))
        ++ [ "X-Restart-Triggers=${changes.restart}" "X-Reload-Triggers=${changes.reload}" ];
      service = [ "ExecReload=${handOver}" "Environment=PATH=${programs}" "X-StopIfChanged=false" ]
        ++ lib.optional (!definition.restartIfChanged) "X-RestartIfChanged=false";
      section = title: lines: "[${title}]\n${lib.concatMapStrings (line: "${line}\n") lines}";
    in
    builtins.replaceStrings [ "[Unit]\n" "[Service]\n" ] [ (section "Unit" unit) (section "Service" service) ] template;
in
{
  config = lib.mkIf cfg.enable {
    systemd.units = builtins.listToAttrs ([{
      # Of containers that `firnctl create` makes.
      name = "firn@.service";
      value.text = builtins.replaceStrings [ "[Service]\n" ] [ "[Service]\nEnvironment=PATH=${programs}\n" ] template;
    }] ++ map (instance: {
      name = "firn@${instance.name}.service";
      value = {
        text = textOf instance;
        wantedBy = lib.optional instance.definition.autoStart "machines.target";
        aliases = lib.optional cfg.takeOver "container@${instance.name}.service";
      };
    }) (names.all cfg.containers));

    # Also what must not be applied now: `firnctl list` shows it as pending.
    systemd.services.firn-declare = {
      description = "Definitions of containers for firnctl";
      wantedBy = [ "multi-user.target" ];
      restartTriggers = map (name: config.environment.etc."firn/containers/${name}.json".source) (builtins.attrNames cfg.containers);
      unitConfig.RequiresMountsFor = "/var/lib/firnctl";
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = handOver;
      };
    };
    systemd.targets.multi-user.wants = [ "machines.target" ];
  };
}
