//! firnctl of users that are not root.

use firn_conformance::harness::{Output, Scratch, binary, command};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Another user's call, with what is in a directory as PATH.
fn call(program: &Path, path: &Path, args: &[&str]) -> Output {
    let mut call = Command::new(program);
    call.uid(65534).gid(65534).env("PATH", path).env("NIX_PATH", "nixpkgs=/n").env("OTHER", "x").args(args);
    command(&mut call)
}

#[test]
fn sudo_runs_it_again_where_root_is_needed() {
    let scratch = Scratch::new("ctl-sudo");
    let bin = scratch.directory("bin");
    for directory in [scratch.path(), &bin] {
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    // Where others may execute it.
    let firnctl = bin.join("firnctl");
    std::fs::copy(binary("firnctl"), &firnctl).unwrap();
    let link = bin.join("nixos-container");
    std::os::unix::fs::symlink("firnctl", &link).unwrap();
    let empty = scratch.directory("empty");
    std::fs::set_permissions(&empty, std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = call(&firnctl, &empty, &["list"]).fails(1).stderr;
    assert!(
        error.ends_with(
            "firnctl: containers of the machine are root's, and sudo is not installed: run this as root, or with --rootless \
             for containers of your own\n"
        ),
        "{error}"
    );
    let sudo = scratch.write("bin/sudo", "#!/bin/sh\nprintf '[%s]' \"$@\"\nexit 7\n");
    std::fs::set_permissions(sudo, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("PATH={}", bin.display());
    // A link's name is what counts.
    for program in [&firnctl, &link] {
        let output = call(program, &bin, &["status", "a b"]).fails(7);
        let expected = ["--", "env", &path, "NIX_PATH=nixpkgs=/n", program.to_str().unwrap(), "status", "a b"];
        assert_eq!(output.stdout, expected.map(|word| format!("[{word}]")).concat());
        assert_eq!(
            output.stderr,
            "firnctl: containers of the machine are root's: running this by sudo (--rootless: your own)\n"
        );
    }
    // What needs no root asks for none; and keys' commands are for root's sshd alone.
    scratch.write("firn.json", "{\"containers\": {}}");
    let file = scratch.join("firn.json");
    call(&firnctl, &bin, &["config", "check", file.to_str().unwrap()]).succeeds();
    let error = call(&firnctl, &bin, &["ssh-command", "a@b"]).fails(255).stderr;
    assert_eq!(error, "firnctl: containers are root's: this is for programs of root\n");
}
