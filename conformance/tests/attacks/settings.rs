//! What must not decide over the host: annotations and foreign files.

use super::host::Canary;
use firn_conformance::harness::{Bundle, Runtime, Scratch, busybox_root};
use serde_json::json;
use std::os::unix::fs::{PermissionsExt, symlink};

/// CVE-2024-3154 and its kin: engines copy an image's annotations into the
/// config, so nothing that decides over the host may come from there.
#[test]
fn annotations_are_not_settings() {
    let scratch = Scratch::new("annotations");
    let host = Canary::new(&scratch);
    let firn = Runtime::firn(&scratch);
    let facts =
        "cat /proc/self/mountinfo | cut -d' ' -f4-6 | sort; grep -E 'Cap|Groups|Seccomp' /proc/self/status; ls /";
    let bundle = Bundle::new(&scratch).shell(facts).set("/root/readonly", json!(false)).write();
    let plain = firn.run(&bundle).succeeds().stdout;
    let dir = host.path.to_str().unwrap();
    let hook = scratch.write("hook", &format!("#!/bin/sh\ntouch {dir}/pwned\n"));
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut annotations = json!({});
    for prefix in ["", "firn.", "io.firn.", "dev.firn.", "run.firn."] {
        annotations[format!("{prefix}root.layers")] = json!(dir);
        annotations[format!("{prefix}root.upper")] = json!(dir);
        annotations[format!("{prefix}root.closure")] = json!(format!("{dir}/secret"));
        annotations[format!("{prefix}root")] = json!(format!("{{\"layers\":[\"{dir}\"]}}"));
        annotations[format!("{prefix}hooks.prestart")] = json!(hook);
    }
    for (name, value) in [
        ("run.oci.handler", "krun"),
        ("run.oci.hooks.stdout", "/host/dir/out"),
        ("run.oci.hooks.stderr", "/host/dir/err"),
        ("run.oci.systemd.subgroup", "../../other"),
        ("run.oci.delegate-cgroup", "../../other"),
        ("run.oci.mount_context_type", "rootcontext"),
        ("run.oci.seccomp.receiver", "/nosuch"),
        ("run.oci.seccomp.plugins", "/nosuch"),
        ("run.oci.seccomp_bpf_data", "AAAA"),
        ("run.oci.timens_offset", "100000"),
        ("run.oci.pidfd_receiver", "/nosuch"),
        ("run.oci.close_range", "1"),
        ("module.wasm.image/variant", "compat"),
    ] {
        annotations[name] = json!(value);
    }
    let bundle = bundle.set("/annotations", annotations).write();
    assert_eq!(firn.run(&bundle).succeeds().stdout, plain);
    host.check("annotations");
}

/// firn.json names host paths: it must be the caller's alone.
#[test]
fn a_firn_json_of_somebody_else_is_refused() {
    let scratch = Scratch::new("firnjson");
    let bundle = Bundle::bare(&scratch, "bundle").shell("echo ran").write();
    let layer = scratch.directory("layer");
    busybox_root(&layer);
    let file = bundle.path.join("firn.json");
    let firn = Runtime::firn(&scratch);
    let text = json!({"root": {"layers": [layer], "upper": "tmpfs"}}).to_string();
    let write = |owner: u32, mode: u32| {
        std::fs::write(&file, &text).unwrap();
        std::os::unix::fs::chown(&file, Some(owner), Some(owner)).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write(0, 0o644);
    assert_eq!(firn.run(&bundle).succeeds().stdout, "ran\n");
    for (owner, mode) in [(1000, 0o644), (1000, 0o600), (0, 0o664), (0, 0o646), (0, 0o666), (65534, 0o644)] {
        write(owner, mode);
        let output = firn.run(&bundle).fails(1);
        assert!(output.stderr.contains("must belong to user 0"), "{owner} {mode:o}: {output:?}");
    }
    write(0, 0o644);
    std::fs::rename(&file, scratch.join("elsewhere")).unwrap();
    symlink(scratch.join("elsewhere"), &file).unwrap();
    firn.run(&bundle).fails(1);
    firn.left_nothing();
}

/// A network namespace that is joined by its path may be the host's own.
#[test]
fn sysctls_of_the_host_are_not_set_through_a_path() {
    let scratch = Scratch::new("hostsysctl");
    let file = "/proc/sys/net/ipv4/ip_default_ttl";
    let before = std::fs::read_to_string(file).unwrap();
    let path = format!("/proc/{}/ns/net", std::process::id());
    let mut bundle = Bundle::new(&scratch).args(&["true"]).without_namespace("network");
    bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "sysfs");
    let bundle = bundle
        .set("/linux/namespaces/-", json!({"type": "network", "path": path}))
        .set("/linux/sysctl", json!({"net.ipv4.ip_default_ttl": "65"}))
        .write();
    let firn = Runtime::firn(&scratch);
    let error = firn.run(&bundle).fails(1).stderr;
    assert!(error.contains("is not allowed in the host's network namespace"), "{error}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), before);
    firn.left_nothing();
}
