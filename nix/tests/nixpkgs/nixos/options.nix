# Of NixOS's options those that ours use, of the same types.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  texts = option (types.listOf types.str) [ ];
  anything = option (types.attrsOf types.anything) { };
in
{
  options = {
    assertions = option (types.listOf types.unspecified) [ ];
    boot = {
      isContainer = option types.bool false;
      enableContainers = option types.bool true;
      kernelModules = texts;
    };
    # NixOS's own, as far as they are asked for.
    containers = option (types.attrsOf (types.submodule ({ name, ... }: {
      options = {
        path = mkOption { type = types.path; };
        flake = option (types.nullOr types.str) null;
        bindMounts = option (types.attrsOf (types.submodule ({ name, ... }: {
          options = {
            mountPoint = option types.str name;
            hostPath = option (types.nullOr types.str) null;
            isReadOnly = option types.bool true;
          };
        }))) { };
        allowedDevices = option (types.listOf types.anything) [ ];
        extraFlags = texts;
        forwardPorts = option (types.listOf (types.submodule {
          options = {
            protocol = option types.str "tcp";
            hostPort = mkOption { type = types.int; };
            containerPort = option (types.nullOr types.int) null;
          };
        })) [ ];
        privateUsers = option (types.either types.str types.int) "no";
        restartIfChanged = option types.bool true;
        timeoutStartSec = option types.str "1min";
        extraVeths = anything;
      } // lib.genAttrs [ "privateNetwork" "autoStart" "ephemeral" "enableTun" ] (_: option types.bool false)
        // lib.genAttrs [ "hostAddress" "hostAddress6" "localAddress" "localAddress6" "hostBridge" "networkNamespace" ]
        (_: option (types.nullOr types.str) null)
        // lib.genAttrs [ "interfaces" "macvlans" "tmpfs" "additionalCapabilities" ] (_: texts);
    }))) { };
    environment = {
      etc = option (types.attrsOf (types.submodule { options = {
        source = mkOption { type = types.raw; };
        text = option (types.nullOr types.lines) null;
        mode = option types.str "symlink";
      }; })) { };
      systemPackages = option (types.listOf types.unspecified) [ ];
      variables = option (types.attrsOf types.str) { };
    };
    networking = {
      dhcpcd.denyInterfaces = texts;
      hostName = option types.str "host";
      hosts = option (types.attrsOf (types.listOf types.str)) { };
      networkmanager.enable = option types.bool false;
      useDHCP = option types.bool true;
    };
    nixpkgs = {
      hostPlatform = mkOption { type = types.str; };
      localSystem = option types.str "x86_64-linux";
    };
    services = {
      openssh = {
        enable = option types.bool false;
        authorizedKeysCommand = option types.str "none";
        authorizedKeysCommandUser = option types.str "nobody";
        settings = anything;
      };
      udev.extraRules = option types.lines "";
    };
    system = {
      switch.enable = option types.bool true;
      build = anything;
      checks = option (types.listOf types.unspecified) [ ];
    };
    systemd = {
      services = anything;
      targets = anything;
      units = anything;
    };
    users.users = anything;
    warnings = texts;
    virtualisation = {
      containerd.settings = anything;
      containers.containersConf.settings = anything;
      docker.daemon.settings = anything;
    };
  };

  config.warnings = [ "another" ]
    ++ lib.optional (!config.boot.enableContainers && config.containers != { }) "containers.<name> is used, but boot.enableContainers is false.";

  # Another configuration is another system.
  config.system.build.toplevel =
    let
      made = builtins.toJSON { inherit (config.environment) variables; inherit (config.networking) hostName; };
      hash = builtins.substring 0 32 (builtins.hashString "sha256" made);
    in
    "/nix/store/${hash}-nixos-system-${config.networking.hostName}";
}
