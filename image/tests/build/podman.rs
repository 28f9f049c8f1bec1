//! Images run by podman.

use crate::common::{Temp, closure, needs};
use crate::fixture::{built, success};
use std::process::Command;

/// A script under directories of podman's own and a private network: nothing of the machine's is
/// used or changed, and nothing is sent anywhere.
fn podman(temp: &Temp, script: &str) -> String {
    needs("podman", "podman");
    needs("unshare", "util-linux");
    let dir = temp.0.display();
    for name in ["storage", "runroot", "tmp", "networks", "home"] {
        std::fs::create_dir_all(temp.path(name)).expect("make directory");
    }
    let conf = format!(
        "[containers]\ndefault_ulimits=[\"nofile=20000:20000\",\"nproc=30000:30000\"]\nlog_driver=\"k8s-file\"\n\
         [engine]\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"file\"\nevents_logfile_path=\"{dir}/events.log\"\n\
         tmp_dir=\"{dir}/tmp\"\n[network]\nnetwork_config_dir=\"{dir}/networks\"\n"
    );
    let storage = format!("[storage]\ndriver=\"overlay\"\ngraphroot=\"{dir}/storage\"\nrunroot=\"{dir}/runroot\"\n");
    // /run/containers and /run/netns are fixed places of podman's.
    let private = "ip link set lo up; mount -t tmpfs -o mode=755 tmpfs /run; mkdir -p /run/lock";
    let script = format!("set -e; {private}; pm() {{ podman --runtime runc --tmpdir {dir}/tmp \"$@\"; }}\n{script}");
    let mut shell = Command::new("unshare");
    shell.args(["--net", "--mount", "--propagation", "private", "bash", "-c", &script]).current_dir(&temp.0);
    shell.env("CONTAINERS_CONF", temp.file("containers.conf", &conf, 0o644));
    shell.env("CONTAINERS_STORAGE_CONF", temp.file("storage.conf", &storage, 0o644));
    shell.env("CONTAINERS_REGISTRIES_CONF", temp.file("registries.conf", "", 0o644));
    shell.env("HOME", temp.path("home")).env("TMPDIR", temp.path("tmp")).env("XDG_RUNTIME_DIR", temp.path("home"));
    success(&mut shell)
}

#[test]
fn podman_runs_an_image_of_a_closure() {
    needs("nix-store", "nix-bin");
    let temp = Temp::new("build-podman");
    let system = closure(&["--argstr", "script", "#!/bin/sh\n# for podman\n"]);
    temp.file("site/etc/motd", "from the directory\n", 0o644);
    let more = ["--entrypoint", "sh", "--cmd", "-c", "--cmd", "cat /etc/motd; echo $GREETING; ls /nix/store"];
    let env = ["--env", "GREETING=hello", "--workdir", "/etc"];
    for (compression, target) in
        [("gzip", "oci:image:gzip"), ("zstd", "oci:image:zstd"), ("zstd", "oci-archive:image.tar:x")]
    {
        let source = ["--layer", "site", "--closure", &system, "--compression", compression, "--output", target];
        built(&temp, &[&source[..], &more, &env].concat());
    }
    let said = podman(
        &temp,
        "for image in oci:image:gzip oci:image:zstd oci-archive:image.tar:x; do\n\
         pm run --rm --network none $(pm pull --quiet $image)\ndone\n",
    );
    let base = system.trim_start_matches("/nix/store/");
    let one = said.lines().count() / 3;
    assert_eq!(one, 2 + 2, "{said}");
    assert!(said.starts_with("from the directory\nhello\n"), "{said}");
    assert_eq!(said.lines().filter(|line| *line == base).count(), 3, "{said}");
}
