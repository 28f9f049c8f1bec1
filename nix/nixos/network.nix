# Names of the containers on the host, and who leaves their links alone.
{ config, lib, pkgs, ... }:
let
  cfg = config.firn;
  names = import ./names.nix { inherit lib; };
  addressesOf = { text, definition, ... }:
    let inherit (definition) extra localAddress localAddress6; in
    map (address: lib.head (lib.splitString "/" (text address))) (
      lib.optional (extra.addressPrefix != null) "${extra.addressPrefix}.2"
      ++ lib.optionals definition.privateNetwork
        (lib.optional (localAddress != null) localAddress ++ lib.optional (localAddress6 != null) localAddress6)
    );
in
{
  config = lib.mkIf cfg.enable {
    networking.hosts = lib.mkMerge (map (instance:
      lib.genAttrs (addressesOf instance) (_: [ "${instance.name}.containers" ])) (names.all cfg.containers));

    networking.dhcpcd.denyInterfaces = [ "ve-*" "vb-*" ];
    services.udev.extraRules = lib.mkIf config.networking.networkmanager.enable ''
      ENV{INTERFACE}=="v[eb]-*", ENV{NM_UNMANAGED}="1"
    '';
    boot.kernelModules = [ "bridge" "macvlan" "tun" ];
    # For forwarded ports and `extra.enableWAN`.
    environment.systemPackages = [ pkgs.nftables ];
  };
}
