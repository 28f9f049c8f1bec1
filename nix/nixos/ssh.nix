# Keys that log in to containers by the host's sshd: each runs one command there, and nothing else.
{ config, lib, ... }:
let
  cfg = config.firn;
  names = import ./names.nix { inherit lib; };
  linesOf = { name, text, definition, ... }: lib.concatMap (user: map (key:
    ''restrict,pty,command="/run/current-system/sw/bin/firnctl ssh-command ${user}@${name}" ${text key}'')
    definition.sshKeys.${user}) (builtins.attrNames definition.sshKeys);
in
{
  # firnctl needs root, who logs in with these keys into containers alone.
  config = lib.mkIf cfg.enable {
    users.users.root.openssh.authorizedKeys.keys = lib.concatMap linesOf (names.all cfg.containers);
  };
}
