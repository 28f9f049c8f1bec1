//! Profiles of AppArmor, which Debian's kernels have.

use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, Output, Runtime, Scratch, binary, command, skip};
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// A profile of the kernel's for as long as this lives.
struct Profile {
    file: String,
    name: String,
}

impl Profile {
    /// Everything but writing to /forbidden.
    fn load(scratch: &Scratch, name: &str) -> Self {
        let name = format!("{}-{name}", scratch.id());
        let rules = "file, capability, network, signal, ptrace, umount, deny /forbidden w,";
        let text = format!("profile {name} flags=(attach_disconnected,mediate_deleted) {{ {rules} }}\n");
        let file = scratch.write(&format!("{name}.profile"), &text).to_str().unwrap().to_owned();
        let profile = Profile { file, name };
        profile.parser("--replace").succeeds();
        profile
    }

    fn parser(&self, verb: &str) -> Output {
        command(Command::new("apparmor_parser").args([verb, "--skip-cache", &self.file]))
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.parser("--remove");
    }
}

const FACTS: &str = "cat /proc/self/attr/current; echo x > /allowed && echo written; \
                     (echo x > /forbidden) 2>/dev/null || echo refused";

#[test]
fn a_profile_confines_the_container_and_what_joins_it() {
    if !Path::new("/sys/kernel/security/apparmor/profiles").exists() {
        skip("this machine has no AppArmor");
        return;
    }
    let scratch = Scratch::new("apparmor");
    let (profile, other) = (Profile::load(&scratch, "one"), Profile::load(&scratch, "two"));
    for path in [binary("firn"), program("runc", "runc")] {
        let runtime = Runtime::new(path, &scratch);
        let bundle = Bundle::new(&scratch)
            .set("/root/readonly", json!(false))
            .set("/process/apparmorProfile", json!(profile.name));
        let confined = |name: &str| format!("{name} (enforce)\nwritten\nrefused\n");
        let bundle = bundle.shell(FACTS).write();
        assert_eq!(runtime.run(&bundle).succeeds().stdout, confined(&profile.name));
        let bundle = bundle.shell("sleep 1000").write();
        runtime.create(&bundle).succeeds();
        runtime.start().succeeds();
        let exec = |options: &[&str]| {
            let args = [&["exec"], options, &[runtime.id(), "sh", "-c", FACTS]].concat();
            runtime.call(&args).succeeds().stdout
        };
        assert_eq!(exec(&[]), confined(&profile.name));
        assert_eq!(exec(&["--apparmor", &other.name]), confined(&other.name));
        assert!(runtime.call(&["exec", "--apparmor", "no-such-profile", runtime.id(), "true"]).code != 0);
        runtime.call(&["delete", "--force", runtime.id()]).succeeds();
        let unknown = bundle.set("/process/apparmorProfile", json!("no-such-profile")).write();
        let output = runtime.run(&unknown);
        assert!(output.code != 0 && output.stderr.contains("no such file or directory"), "{output:?}");
        runtime.call(&["delete", "--force", runtime.id()]);
        std::fs::remove_dir_all(scratch.join("bundle")).unwrap();
    }
}
