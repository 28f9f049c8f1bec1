//! Containers that the host's configuration declares, as NixOS's does: a file for each, which its units hand over.

use crate::host::Host;
use serde_json::{Value, json};

/// Writes the file of a definition.
fn declare(host: &Host, name: &str, more: Value) {
    let mut definition = json!({"rootFS": [host.scratch.join("root")], "persistent": true});
    definition.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    host.scratch.directory("declared");
    let name = host.name(name);
    host.scratch.write(&format!("declared/{name}.json"), &json!({"containers": {name: definition}}).to_string());
}

fn hand_over(host: &Host) -> String {
    host.call(&["unit", "declare", "declared"]).succeeds().stderr
}

fn pending(host: &Host, name: &str) -> Value {
    let list: Value = serde_json::from_str(&host.call(&["list", "--json"]).succeeds().stdout).unwrap();
    let name = host.name(name);
    let found = list.as_array().unwrap().iter().find(|container| container["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not listed"))["pending"].clone()
}

fn names(host: &Host) -> String {
    host.call(&["list", "--quiet"]).succeeds().stdout.replace(&host.name(""), "")
}

#[test]
fn what_is_declared_is_installed_and_applied_by_its_unit() {
    let host = Host::new("ctl-declared");
    declare(&host, "a", json!({}));
    declare(&host, "b", json!({"instances": 2, "dependsOn": [host.name("a")]}));
    assert_eq!(hand_over(&host), "");
    assert_eq!(names(&host), "a\nb-1\nb-2\n");
    host.call(&["start", &host.name("a")]).succeeds();

    // Handed over, and not applied: that is the unit's reload, or its restart.
    declare(&host, "a", json!({"pids": 50}));
    hand_over(&host);
    assert_eq!(pending(&host, "a"), "live");
    host.call(&["unit", "reload", &host.name("a")]).succeeds();
    assert_eq!(pending(&host, "a"), Value::Null);
    declare(&host, "a", json!({"pids": 50, "hostname": "other", "restartIfChanged": false}));
    hand_over(&host);
    assert_eq!(pending(&host, "a"), "restart");
    // A reload that leaves it so has not failed, or a rebuild would each time.
    let told = host.call(&["unit", "reload", &host.name("a")]).succeeds();
    assert!(told.stderr.contains("pending (restart: hostname): `systemctl restart` does it"), "{}", told.stderr);
    assert_eq!((host.status("a"), pending(&host, "a")), ("up".into(), "restart".into()));
    declare(&host, "a", json!({"pids": 50, "hostname": "other"}));
    hand_over(&host);
    let error = host.call(&["unit", "reload", &host.name("a")]).fails(1);
    assert!(error.stderr.contains("restart: hostname: `systemctl restart` does it"), "{}", error.stderr);
    host.call(&["restart", &host.name("a")]).succeeds();
    assert_eq!(host.exec("a", &["hostname"]), "other\n");

    // Nobody else takes its name, or removes it.
    host.project(json!({"a": {}}));
    let error = host.call(&["create", "firn.json"]).fails(1).stderr;
    assert!(error.contains("belongs to "), "{error}");
    let error = host.call(&["destroy", &host.name("a")]).fails(1).stderr;
    let words = "cannot destroy declarative container (remove it from your configuration.nix instead)";
    assert!(error.contains(words), "{error}");
    assert_eq!(host.status("a"), "up");
}

#[test]
fn what_is_declared_no_longer_is_no_ghost_and_keeps_its_files() {
    let host = Host::new("ctl-removed");
    declare(&host, "a", json!({}));
    declare(&host, "b", json!({"instances": 2}));
    hand_over(&host);
    host.call(&["start", &host.name("a"), &host.name("b-1")]).succeeds();
    host.exec("a", &["sh", "-c", "echo kept > /file"]);

    // One that runs is told of until it has been stopped, as systemd does with a unit that is gone.
    std::fs::remove_file(host.scratch.join(&format!("declared/{}.json", host.name("a")))).unwrap();
    declare(&host, "b", json!({"instances": 1}));
    assert!(hand_over(&host).contains(&format!("container {}: is not declared any more, and runs", host.name("a"))));
    assert_eq!(names(&host), "a\nb-1\n");
    host.call(&["stop", &host.name("a")]).succeeds();
    hand_over(&host);
    assert_eq!(names(&host), "b-1\n");
    assert!(host.state("a").join("root").exists());

    // Declared again, it has its files.
    declare(&host, "a", json!({}));
    hand_over(&host);
    host.call(&["start", &host.name("a")]).succeeds();
    assert_eq!(host.exec("a", &["cat", "/file"]), "kept\n");
    host.call(&["stop", "--all"]).succeeds();

    // Without a container there is no directory, and nobody who would hand it over.
    std::fs::remove_dir_all(host.scratch.join("declared")).unwrap();
    assert_eq!(names(&host), "");
    // Or an empty one is left.
    host.scratch.directory("declared");
    assert_eq!(names(&host), "");
    hand_over(&host);
    declare(&host, "a", json!({}));
    hand_over(&host);
    std::fs::remove_file(host.scratch.join(&format!("declared/{}.json", host.name("a")))).unwrap();
    hand_over(&host);
    assert_eq!(names(&host), "");
    host.call(&["destroy", &host.name("a"), &host.name("b-1"), &host.name("b-2")]).succeeds();
    host.leaves_nothing();
}

#[test]
fn one_that_cannot_be_installed_keeps_none_of_the_others() {
    let host = Host::new("ctl-declared-others");
    host.project(json!({"taken": {}}));
    host.call(&["create", "firn.json"]).succeeds();
    declare(&host, "a", json!({}));
    declare(&host, "taken", json!({"pids": 50}));
    declare(&host, "z", json!({}));
    let error = host.call(&["unit", "declare", "declared"]).fails(1).stderr;
    assert!(error.contains(&format!("container {}: belongs to ", host.name("taken"))), "{error}");
    assert_eq!(names(&host), "a\ntaken\nz\n");
    host.call(&["start", &host.name("a"), &host.name("z")]).succeeds();
}

/// As docs/nixos.md has it: the root of nixos-container, moved.
#[test]
fn a_root_that_was_moved_in_is_the_containers() {
    let host = Host::new("ctl-moved");
    let root = host.state("a").join("root");
    std::fs::create_dir_all(&root).unwrap();
    let of_nixos = host.scratch.directory("nixos-containers/a");
    std::fs::create_dir_all(of_nixos.join("var/lib")).unwrap();
    std::fs::write(of_nixos.join("var/lib/data"), "kept\n").unwrap();
    std::fs::rename(of_nixos, root.join("upper")).unwrap();
    declare(&host, "a", json!({}));
    hand_over(&host);
    host.call(&["start", &host.name("a")]).succeeds();
    assert_eq!(host.exec("a", &["cat", "/var/lib/data"]), "kept\n");
    std::fs::remove_dir_all(host.scratch.join("declared")).unwrap();
    host.leaves_nothing();
}

/// As `firn.takeOver` has it: what NixOS's container has written is firn's container's, and can be given back.
#[test]
fn the_root_of_a_container_of_systemd_nspawn_is_taken_over_once() {
    let host = Host::new("ctl-taken");
    let of_nixos = host.scratch.directory("nixos-containers");
    let from = of_nixos.join(host.name("a"));
    std::fs::create_dir_all(from.join("var/lib")).unwrap();
    std::fs::write(from.join("var/lib/data"), "kept\n").unwrap();
    declare(&host, "a", json!({"rootFrom": from}));
    hand_over(&host);
    let start = || host.call(&["start", &host.name("a")]);

    // One that systemd-nspawn runs, or whose files belong to others, stays what it is.
    let lock = std::fs::File::create(of_nixos.join(format!(".#{}.lck", host.name("a")))).unwrap();
    rustix::fs::fcntl_lock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let error = start().fails(1).stderr;
    assert!(error.contains("systemd-nspawn runs it: stop it first"), "{error}");
    rustix::fs::fcntl_lock(&lock, rustix::fs::FlockOperation::Unlock).unwrap();
    std::os::unix::fs::chown(&from, Some(524_288), Some(524_288)).unwrap();
    let error = start().fails(1).stderr;
    assert!(error.contains("belongs to user 524288 and group 524288"), "{error}");
    std::os::unix::fs::chown(&from, Some(0), Some(0)).unwrap();
    assert!(!from.is_symlink() && from.join("var/lib/data").exists());

    start().succeeds();
    assert_eq!(host.exec("a", &["cat", "/var/lib/data"]), "kept\n");
    host.exec("a", &["sh", "-c", "echo new > /var/lib/data"]);
    // Where it was it is still found, by whom the container may be given back to.
    assert_eq!(std::fs::read_to_string(from.join("var/lib/data")).unwrap(), "new\n");
    host.call(&["stop", &host.name("a")]).succeeds();
    std::fs::write(from.join("var/lib/data"), "of another\n").unwrap();
    start().succeeds();
    assert_eq!(host.exec("a", &["cat", "/var/lib/data"]), "of another\n");

    // What the container has already is not replaced.
    host.call(&["stop", &host.name("a")]).succeeds();
    std::fs::remove_file(&from).unwrap();
    std::fs::create_dir_all(from.join("other")).unwrap();
    start().succeeds();
    assert_eq!(host.exec("a", &["cat", "/var/lib/data"]), "of another\n");
    assert!(from.join("other").exists());

    std::fs::remove_dir_all(host.scratch.join("declared")).unwrap();
    host.leaves_nothing();
    assert!(from.join("other").exists());
}

#[test]
fn a_root_on_another_file_system_is_left_where_it_is() {
    let host = Host::new("ctl-taken-far");
    let from = host.scratch.directory("far/a");
    let far = host.scratch.join("far");
    rustix::mount::mount("none", &far, "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    std::fs::create_dir_all(from.join("etc")).unwrap();
    std::fs::write(from.join("etc/data"), "kept\n").unwrap();
    declare(&host, "a", json!({"rootFrom": from}));
    hand_over(&host);
    let error = host.call(&["start", &host.name("a")]).fails(1).stderr;
    let data = std::fs::read_to_string(from.join("etc/data"));
    // Begun with none: the option was left out.
    declare(&host, "a", json!({}));
    hand_over(&host);
    host.call(&["start", &host.name("a")]).succeeds();
    rustix::mount::unmount(&far, rustix::mount::UnmountFlags::empty()).unwrap();
    assert!(error.contains("is on another file system than ") && error.contains("leave rootFrom out"), "{error}");
    assert_eq!(data.unwrap(), "kept\n");
    std::fs::remove_dir_all(host.scratch.join("declared")).unwrap();
    host.leaves_nothing();
}
