# firn below podman, containerd and Docker.
{ config, lib, ... }:
let
  cfg = config.firn;
  firn = "${cfg.package}/bin/firn";
in
{
  options.firn.ociRuntime = lib.mkOption {
    type = lib.types.bool;
    default = false;
    description = "Whether podman, containerd and Docker run their containers with firn, where they are enabled.";
  };

  config = lib.mkIf cfg.ociRuntime {
    virtualisation.containers.containersConf.settings.engine = {
      runtime = "firn";
      runtimes.firn = [ firn ];
      # Its exit codes and messages are those that podman knows.
      runtime_supports_json = [ "firn" ];
      runtime_supports_nocgroups = [ "firn" ];
    };
    virtualisation.containerd.settings.plugins."io.containerd.grpc.v1.cri".containerd = {
      default_runtime_name = "firn";
      runtimes.firn = {
        runtime_type = "io.containerd.runc.v2";
        options.BinaryName = firn;
      };
    };
    virtualisation.docker.daemon.settings = {
      default-runtime = "firn";
      runtimes.firn.path = firn;
    };
  };
}
