# Keys that log in to containers by the host's sshd: each runs one command there, and nothing else. firnctl needs
# root, who logs in with these keys into containers alone.
{ config, lib, ... }:
let
  cfg = config.firn;
  sshd = config.services.openssh;
  names = import ./names.nix { inherit lib; };
  programs = "/run/current-system/sw/bin";
  linesOf = { name, text, definition, ... }: lib.concatMap (user: map (key:
    ''restrict,pty,command="${programs}/firnctl ssh-command ${user}@${name}" ${text key}'')
    definition.sshKeys.${user}) (builtins.attrNames definition.sshKeys);
  lines = lib.concatMap linesOf (names.all cfg.containers);
  withKeys = builtins.filter (name: lib.concatLists (builtins.attrValues cfg.containers.${name}.sshKeys) != [ ])
    (builtins.attrNames cfg.containers);

  # What keeps root's keys from logging in.
  settings = sshd.settings or { };
  given = option: settings.${option} or null;
  refusals = lib.optional (given "PermitRootLogin" == "no")
    "services.openssh.settings.PermitRootLogin is \"no\": give \"forced-commands-only\", with which root logs in to containers alone"
    ++ lib.optional (given "AllowUsers" != null && !(builtins.elem "root" (given "AllowUsers")))
    "services.openssh.settings.AllowUsers has no root, as whom the keys log in to containers"
    ++ lib.optional (given "DenyUsers" != null && builtins.elem "root" (given "DenyUsers"))
    "services.openssh.settings.DenyUsers has root, as whom the keys log in to containers";
in
{
  config = lib.mkIf cfg.enable {
    users.users.root.openssh.authorizedKeys.keys = lines;

    # Of containers that `firnctl create` makes: NixOS's sshd reads no file that programs may write. It asks none
    # in the store, whose directory is writable for a group.
    environment.etc."firn/ssh-keys" = {
      mode = "0755";
      text = ''
        #!/bin/sh
        exec ${programs}/firnctl ssh-keys -- "$1"
      '';
    };
    services.openssh = {
      authorizedKeysCommand = lib.mkDefault "/etc/firn/ssh-keys %u";
      authorizedKeysCommandUser = lib.mkDefault "root";
    };

    assertions = lib.optionals sshd.enable (lib.concatMap (name: map (message: {
      assertion = false;
      message = "firn.containers.${name}.sshKeys: ${message}";
    }) refusals) withKeys);
    warnings = lib.optionals (!sshd.enable) (map (name:
      "firn.containers.${name}.sshKeys: services.openssh.enable is false: nobody can log in with these keys") withKeys);
  };
}
