# What systemd is told: a unit for each container, made from firnctl's template, and one that hands the
# definitions over to firnctl. The containers' texts name nothing of the store: a new nixpkgs, or a new firn, restarts
# none.
{ config, lib, ... }:
let
  cfg = config.firn;
  inherit (import ../options.nix { inherit lib; }) definition;
  names = import ./names.nix { inherit lib; };
  programs = "/run/current-system/sw/bin";
  directory = "/etc/firn/containers";
  handOver = "${programs}/firnctl unit declare ${directory}";
  fileOf = name: builtins.replaceStrings [ "@bindir@" ] [ programs ] (builtins.readFile (../../ctl + "/${name}"));

  # By section, what each line of the template sets.
  template =
    let
      setting = line: builtins.match "([^#=]+)=(.*)" line;
      of = section: builtins.listToAttrs (map (line: {
        name = builtins.elemAt (setting line) 0;
        value = builtins.elemAt (setting line) 1;
      }) (builtins.filter (line: setting line != null) (lib.splitString "\n" section)));
      # Between `[NAME]` and the next one.
      after = name: lib.last (lib.splitString "\n[${name}]\n" (fileOf "firn@.service"));
    in
    lib.genAttrs [ "Unit" "Service" ] (name: of (lib.head (lib.splitString "\n[" (after name))));

  # Those that NixOS has options for, which are lists.
  lists = { documentation = "Documentation"; partOf = "PartOf"; before = "Before"; after = "After"; wants = "Wants"; };

  # `programs` alone: NixOS's paths and variables of every service name the store.
  environment = { PATH = lib.mkForce programs; LOCALE_ARCHIVE = null; TZDIR = null; };

  service = builtins.mapAttrs (_: name: lib.splitString " " template.Unit.${name}) lists // {
    description = template.Unit.Description;
    unitConfig = removeAttrs template.Unit ([ "Description" ] ++ builtins.attrValues lists);
    serviceConfig = template.Service;
    inherit environment;
  };

  # Options that `systemctl reload` changes in a container that runs (`firnctl plan` says live or update).
  live = container: lib.filter (option: canSwitch container || !(builtins.elem option [ "path" "storePaths" ])) (import ./live.nix);
  # A system without switch-to-configuration is restarted. `config` may not be defined.
  canSwitch = container:
    let asked = builtins.tryEval (container.config.system.switch.enable or true); in
    !asked.success || asked.value;
  trigger = value: builtins.hashString "sha256" (builtins.toJSON value);
  triggers = container:
    let given = definition container; in
    {
      restart = trigger (removeAttrs given (live container) // { isNative = names.isNative container; });
      reload = trigger (builtins.intersectAttrs (lib.genAttrs (live container) (_: null)) given);
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

  needs = text: container:
    [ "firn-declare.service" ] ++ lib.concatMap unitsOf container.dependsOn
    ++ lib.optionals container.autoStart (map (interface: deviceOf (text interface)) container.interfaces);

  serviceOf = { name, text, definition, ... }:
    let changes = triggers definition; in
    service // {
      wants = service.wants ++ needs text definition;
      after = service.after ++ needs text definition;
      wantedBy = lib.optional definition.autoStart "machines.target";
      aliases = lib.optional cfg.takeOver "container@${name}.service";
      unitConfig = service.unitConfig // {
        RequiresMountsFor = [ service.unitConfig.RequiresMountsFor ]
          ++ map (path: quoted (text path)) (lib.unique (sources definition));
        # Not `restartTriggers`, which NixOS makes a store path of.
        X-Firn-Definition = changes.restart;
        X-Reload-Triggers = [ changes.reload ];
      };
      serviceConfig = service.serviceConfig // {
        # Another container that can't be handed over keeps none from its reload.
        ExecReload = [ "-${handOver}" service.serviceConfig.ExecReload ];
      };
      inherit (definition) restartIfChanged;
      stopIfChanged = false;
    };
in
{
  config = lib.mkIf cfg.enable {
    systemd.services = {
      # Of containers that `firnctl create` makes.
      "firn@" = service // { restartIfChanged = false; };
      # Also what must not be applied now: `firnctl list` shows it as pending.
      firn-declare = {
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
    } // builtins.listToAttrs (map (instance: { name = "firn@${instance.name}"; value = serviceOf instance; }) (names.all cfg.containers));
    systemd.units = lib.genAttrs [ "firn-network.socket" "firn-network.service" ] (name: { text = fileOf name; });
    systemd.targets.multi-user.wants = [ "machines.target" ];
  };
}
