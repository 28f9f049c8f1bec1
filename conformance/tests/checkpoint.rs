//! `checkpoint` and `restore` as far as they get without criu; with it:
//! machine/checkpoint.rs.

use firn_conformance::harness::{Bundle, Output, Runtime, Scratch, command};

fn without_criu(firn: &Runtime, args: &[&str]) -> Output {
    command(firn.command(args).env("PATH", "/nonexistent"))
}

/// podman asks so whether a runtime can do it at all, and with labels.
#[test]
fn callers_find_the_commands_and_their_options() {
    let scratch = Scratch::new("ckpthelp");
    let firn = Runtime::firn(&scratch);
    for verb in ["checkpoint", "restore"] {
        let help = firn.call(&[verb, "--help"]).succeeds().stdout;
        for option in ["--image-path", "--work-path", "--tcp-established", "--file-locks", "--manage-cgroups-mode"] {
            assert!(help.contains(option), "{option} in {help}");
        }
    }
    let output = firn.call(&["restore", "--lsm-mount-context"]).fails(1);
    assert!(output.stderr.contains("flag needs an argument: --lsm-mount-context"), "{output:?}");
    let output = firn.call(&["checkpoint", "--manage-cgroups-mode", "gentle", "x"]).fails(1);
    assert!(output.stderr.contains("soft, full, strict, ignore"), "{output:?}");
    let features: serde_json::Value = serde_json::from_str(&firn.call(&["features"]).succeeds().stdout).unwrap();
    assert_eq!(features["annotations"]["org.opencontainers.runc.checkpoint.enabled"], "true");
}

#[test]
fn mistakes_are_told_before_anything_is_made() {
    let scratch = Scratch::new("ckptwrong");
    let firn = Runtime::firn(&scratch);
    let bundle = Bundle::new(&scratch).shell("sleep 1000").write();
    let path = bundle.path.to_str().unwrap();
    let images = scratch.join("images");
    let images = images.to_str().unwrap();
    let said = |output: Output, text: &str| {
        assert!(output.code == 1 && output.stderr.contains(text), "{text}: {output:?}");
    };
    said(firn.call(&["checkpoint", firn.id()]), "container does not exist");
    let restore = ["restore", "--detach", "--bundle", path, "--image-path", images, firn.id()];
    said(without_criu(&firn, &restore), "criu is not in PATH (/nonexistent): install criu");
    firn.left_nothing();
    firn.create(&bundle).succeeds();
    said(firn.call(&["checkpoint", firn.id()]), "can't be checkpointed: it is created");
    firn.start().succeeds();
    let checkpoint =
        |more: &[&str]| without_criu(&firn, &[&["checkpoint", "--image-path", images], more, &[firn.id()]].concat());
    said(checkpoint(&[]), "install criu");
    said(checkpoint(&["--parent-path", "/tmp"]), "--parent-path must be relative");
    said(checkpoint(&["--page-server", "here"]), "is not ADDRESS:PORT");
    said(checkpoint(&["--empty-ns", "pid"]), "network");
    assert!(!std::path::Path::new(images).exists());
    assert_eq!(firn.status(), "running");
}

/// Looked at before criu runs: what stands for it is never called.
#[test]
fn directories_without_images_are_refused() {
    let scratch = Scratch::new("ckptnone");
    let firn = Runtime::firn(&scratch);
    let bundle = Bundle::new(&scratch).shell("true").write();
    let bin = scratch.directory("bin");
    std::os::unix::fs::symlink("/bin/false", bin.join("criu")).unwrap();
    let restore = |images: &std::path::Path| {
        let (path, images) = (bundle.path.to_str().unwrap(), images.to_str().unwrap());
        let args = ["restore", "--detach", "--bundle", path, "--image-path", images, firn.id()];
        command(firn.command(&args).env("PATH", &bin)).fails(1).stderr
    };
    let error = restore(&scratch.join("nowhere"));
    assert!(error.contains("--image-path: open the directory") && error.contains("no such file"), "{error}");
    let empty = scratch.directory("empty");
    let error = restore(&empty);
    assert!(error.contains("descriptors.json") && error.contains("which a checkpoint writes"), "{error}");
    // A criu that does nothing at all.
    std::fs::write(empty.join("descriptors.json"), "[]").unwrap();
    let error = restore(&empty);
    assert!(error.contains("criu failed: "), "{error}");
    firn.left_nothing();
}
