//! Images run by containerd, with both runtimes.

use crate::common::{IMAGE, Temp, closure, needs};
use crate::fixture::{firn_image, success};
use std::path::Path;
use std::process::Command;

/// A script beside a containerd of its own, `ctr` of which is the shell's `c`. Its network, /run and
/// processes are private: nothing is left of them.
fn containerd(temp: &Temp, script: &str) -> String {
    needs("containerd", "containerd");
    needs("runc", "runc");
    let dir = temp.0.display();
    let config = format!(
        "version = 2\nroot = \"{dir}/root\"\nstate = \"{dir}/state\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{dir}/socket\"\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{dir}/opt\"\n"
    );
    let config = temp.file("containerd.toml", &config, 0o644);
    let script = format!(
        "set -e; ip link set lo up; mount -t tmpfs -o mode=755 tmpfs /run
         containerd --config {} >containerd.log 2>&1 &
         c() {{ ctr --address {dir}/socket \"$@\" 2>>ctr.log || {{ cat ctr.log containerd.log >&2; exit 1; }}; }}
         for i in $(seq 300); do ctr --address {dir}/socket version >ctr.log 2>&1 && break; sleep 0.1; done
         {script}",
        config.display()
    );
    let mut shell = Command::new("unshare");
    shell.args(["--net", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    success(shell.args(["bash", "-c", &script]).current_dir(&temp.0))
}

#[test]
fn containerd_runs_an_image_that_is_the_same_when_built_again() {
    needs("nix-store", "nix-bin");
    let temp = Temp::new("build-containerd");
    let system = closure(&["--argstr", "script", "#!/bin/sh\n# for containerd\n"]);
    let firn = Path::new(IMAGE).with_file_name("firn");
    assert!(firn.exists(), "{} is missing: run `cargo build -p firn`", firn.display());
    let program = ["--entrypoint", "sh", "--cmd", "-c", "--cmd", "cat /etc/motd; echo $GREETING; pwd; ls /nix/store"];
    let config = ["--env", "GREETING=hello", "--workdir", "/etc"];
    for compression in ["gzip", "zstd"] {
        let archives = ["one", "two"].map(|name| {
            // Another directory with the same files, made later, and no layer kept from the build before.
            let site = format!("{compression}-{name}");
            temp.file(&format!("{site}/etc/motd"), "from the directory\n", 0o644);
            let archive = format!("{site}.tar");
            let target = format!("oci-archive:{archive}:{compression}");
            let source = ["--layer", &site, "--closure", &system, "--compression", compression, "--output", &target];
            let mut build = firn_image(&temp, &[&["build"], &source[..], &program, &config].concat());
            build.env("XDG_CACHE_HOME", temp.path(&format!("cache-{site}"))).env("SOURCE_DATE_EPOCH", "1600000000");
            success(&mut build);
            std::fs::read(temp.path(&archive)).expect("read the archive")
        });
        assert!(archives[0] == archives[1], "{compression}: built twice, the archives differ");
    }
    let cgroup = format!("/firn-image-test-containerd-{}", std::process::id());
    let said = containerd(
        &temp,
        &format!(
            "for compression in gzip zstd; do
                 c images import --base-name localhost/built $compression-one.tar >/dev/null
                 for runtime in runc {}; do
                     c run --rm --cgroup {cgroup} --runc-binary $runtime localhost/built:$compression web
                 done
             done",
            firn.display()
        ),
    );
    let base = system.trim_start_matches("/nix/store/");
    let one: Vec<_> = said.lines().take(said.lines().count() / 4).collect();
    assert_eq!(one[..3], ["from the directory", "hello", "/etc"], "{said}");
    assert!(one.contains(&base), "{said}");
    assert_eq!(said, format!("{}\n", one.join("\n")).repeat(4));
}
