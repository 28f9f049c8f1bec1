# Combinations that can't be meant, and that NixOS's own module drops without a word. firnctl finds these too,
# and all others, when the system is built.
{ config, lib, ... }:
let
  cfg = config.firn;
  names = import ./names.nix { inherit lib; };

  # Each: what is wrong if the first is true. `option` is named in front.
  of = name: container:
    let
      inherit (container) extra privateNetwork networkNamespace;
      isNative = names.isNative container;
      isForeign = container.rootFS != [ ];
      hasPrefix = extra.addressPrefix != null;
      isGiven = option: container.${option} != null && container.${option} != [ ];
      addresses = [ "hostAddress" "hostAddress6" "localAddress" "localAddress6" "hostBridge" "localMacAddress" "forwardPorts" ];
      hasLocal = hasPrefix || isGiven "localAddress" || isGiven "localAddress6";
      hasHost = hasPrefix || isGiven "hostAddress" || isGiven "hostAddress6";
      wrong = isWrong: option: message: lib.optional isWrong "firn.containers.${name}${option}: ${message}";
      each = list: f: lib.concatMap f list;
    in
    wrong (builtins.match "[a-zA-Z0-9_.][a-zA-Z0-9_.-]*" name == null || name == "." || name == ".." || builtins.stringLength name > 128)
      "" "a name has letters, digits, '_', '.' and '-', and begins with no '-'"
    ++ wrong (!isNative && !isForeign) "" "nothing to run: give config, path, flake or rootFS"
    ++ wrong (container.path != null && container.flake != null) ".flake"
      "The options 'firn.containers.${name}.path' and 'firn.containers.${name}.flake' cannot both be set."
    ++ wrong (isNative && isForeign) ".rootFS" "config, path or flake is set too: a container is native or foreign"
    ++ wrong (container.persistent && container.ephemeral) ".persistent" "ephemeral is set too"
    ++ wrong (container.persistent && isNative) ".persistent" "is for rootFS: a native container keeps its root unless it is ephemeral"
    ++ wrong (container.rootFrom != null && container.ephemeral) ".rootFrom" "ephemeral is set too: it becomes what the container keeps"
    ++ wrong (container.rootFrom != null && isForeign && !container.persistent) ".rootFrom"
      "needs firn.containers.${name}.persistent = true: it becomes what the container keeps"
    ++ wrong (container.nixDaemon && !isNative) ".nixDaemon" "needs config, path or flake"
    ++ wrong (container.storePaths != null && container.path == null) ".storePaths" "needs path, whose closure it lists"
    ++ each addresses (option: wrong (isGiven option && !privateNetwork && !hasPrefix) ".${option}"
      "needs firn.containers.${name}.privateNetwork = true: without it the container has the host's network")
    ++ each [ "hostAddress" "localAddress" ] (option: wrong (isGiven option && hasPrefix) ".${option}"
      "firn.containers.${name}.extra.addressPrefix sets it already")
    ++ wrong (container.forwardPorts != [ ] && !hasLocal && container.hostBridge == null) ".forwardPorts"
      "needs localAddress, localAddress6 or hostBridge, to have an address to lead to"
    ++ each (lib.optional (privateNetwork || hasPrefix) "privateNetwork"
      ++ builtins.filter (option: container.${option} != [ ] && container.${option} != { }) [ "interfaces" "macvlans" "extraVeths" ])
      (option: wrong (networkNamespace != null) ".networkNamespace" "firn.containers.${name}.${option} is set too")
    ++ wrong (extra.enableWAN && !hasLocal) ".extra.enableWAN" "needs localAddress, or extra.addressPrefix"
    ++ wrong (extra.exposeLocalhost && !hasPrefix && !isGiven "localAddress") ".extra.exposeLocalhost" "needs localAddress, or extra.addressPrefix"
    ++ wrong (extra.firewallAllowHost && !hasHost) ".extra.firewallAllowHost" "needs hostAddress, or extra.addressPrefix"
    ++ each (builtins.attrNames container.extraVeths) (interface: wrong (builtins.stringLength interface > 15)
      ".extraVeths.${interface}" "the name of an interface has at most 15 characters")
    ++ each (builtins.attrNames container.bindMounts) (mountPoint:
      wrong (container.bindMounts.${mountPoint}.idmap != null && container.privateUsers == "no")
        ".bindMounts.\"${mountPoint}\".idmap" "needs firn.containers.${name}.privateUsers"
      ++ wrong (builtins.elem container.bindMounts.${mountPoint}.idmap [ "rootidmap" "owneridmap" ])
        ".bindMounts.\"${mountPoint}\".idmap" "${container.bindMounts.${mountPoint}.idmap} has no effect yet: give idmap or noidmap")
    ++ wrong extra.enableSSH ".extra.enableSSH"
      "is for containers that firnctl evaluates: firn.containers.${name}.sshKeys lets in by the host's sshd"
    ++ wrong container.linkJournal ".linkJournal"
      "has no effect yet: leave it out; `firnctl logs` and `journalctl -M ${name}` show what it logs"
    ++ each container.dependsOn (other: wrong (!(cfg.containers ? ${other})) ".dependsOn" "there is no container ${other}");
in
{
  config.assertions = map (message: { assertion = false; inherit message; })
    (lib.concatMap (name: of name cfg.containers.${name}) (builtins.attrNames cfg.containers));
}
