# firn on NixOS: containers in the system's configuration.
{
  imports = [
    ./containers.nix # the options
    ./mistakes.nix # what can't be meant
    ./definitions.nix # what firnctl is told
    ./units.nix # what systemd is told
    ./network.nix # names of the containers, and who leaves their links alone
    ./ssh.nix # keys that log in to containers
    ./take-over.nix # NixOS's own `containers`
    ./oci.nix # firn below podman, containerd and Docker
  ];
}
