//! Mounts whose files show other owners.

use firn_conformance::harness::place::older_than;
use firn_conformance::harness::{Bundle, Output, Runtime, Scratch, skip};
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt, chown};

/// A directory with files of users 0 and 7, bound at /data with `mount`'s fields.
fn bundle(scratch: &Scratch, mount: &Value, script: &str) -> Bundle {
    let data = scratch.directory("data");
    for owner in [0, 7] {
        let file = scratch.write(&format!("data/of-{owner}"), "");
        chown(file, Some(owner), Some(owner)).unwrap();
    }
    let mut entry = json!({"destination": "/data", "type": "bind", "source": data, "options": ["bind"]});
    for (name, value) in mount.as_object().unwrap() {
        entry[name] = value.clone();
    }
    let bundle = Bundle::new(scratch).shell(script).mount(entry);
    std::fs::create_dir(bundle.root().join("data")).unwrap();
    bundle
}

fn run(scratch: &Scratch, bundle: Bundle) -> Output {
    let bundle = bundle.write();
    let firn = Runtime::firn(scratch);
    let output = firn.run(&bundle);
    firn.left_nothing();
    std::fs::remove_dir_all(&bundle.path).unwrap();
    output
}

const OWNERS: &str = "stat -c '%u:%g %n' /data/of-*";

#[test]
fn a_mount_has_the_owners_of_its_own_mapping() {
    let scratch = Scratch::new("idmap");
    let maps = json!([{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 7, "hostID": 2000, "size": 1}]);
    for options in [json!(["bind"]), json!(["bind", "idmap"]), json!(["rbind", "ridmap"])] {
        let mount = json!({"uidMappings": maps, "gidMappings": maps, "options": options});
        let output = run(&scratch, bundle(&scratch, &mount, OWNERS)).succeeds();
        assert_eq!(output.stdout, "1000:1000 /data/of-0\n2000:2000 /data/of-7\n", "{options}");
    }
    // What is written goes back the same way; what is not mapped has no owner.
    let maps = json!([{"containerID": 7, "hostID": 0, "size": 1}]);
    let mount = json!({"uidMappings": maps, "gidMappings": maps});
    let output = run(&scratch, bundle(&scratch, &mount, &format!("{OWNERS}; echo x > /data/of-7; exit 0"))).succeeds();
    assert_eq!(output.stdout, "65534:65534 /data/of-0\n0:0 /data/of-7\n");
    assert_eq!(std::fs::read_to_string(scratch.join("data/of-7")).unwrap(), "x\n");
}

fn with_user_namespace(bundle: Bundle) -> Bundle {
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    let bundle = bundle.set("/linux/namespaces/-", json!({"type": "user"}));
    bundle.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps)
}

#[test]
fn a_mount_has_the_containers_mapping() {
    let scratch = Scratch::new("idmapown");
    let script = format!("{OWNERS}; touch /data/new");
    let bundle = with_user_namespace(bundle(&scratch, &json!({"options": ["bind", "idmap"]}), &script));
    let output = run(&scratch, bundle).succeeds();
    assert_eq!(output.stdout, "0:0 /data/of-0\n7:7 /data/of-7\n");
    // On the disk it is root's, as the container has it.
    let new = std::fs::metadata(scratch.join("data/new")).unwrap();
    assert_eq!((new.uid(), new.gid()), (0, 0));
}

#[test]
fn a_mount_without_a_mapping_keeps_its_owners() {
    let scratch = Scratch::new("idmapnone");
    let bundle = with_user_namespace(bundle(&scratch, &json!({}), OWNERS));
    assert_eq!(run(&scratch, bundle).succeeds().stdout, "65534:65534 /data/of-0\n65534:65534 /data/of-7\n");
}

#[test]
fn a_file_system_of_the_containers_own_is_mapped_too() {
    if older_than("6.3") {
        skip("tmpfs can be mapped since Linux 6.3");
        return;
    }
    let scratch = Scratch::new("idmaptmpfs");
    let maps = json!([{"containerID": 0, "hostID": 3000, "size": 10}]);
    let mount = json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"],
        "uidMappings": maps, "gidMappings": maps});
    let bundle = Bundle::new(&scratch).shell("stat -c '%u:%g' /data").mount(mount);
    assert_eq!(run(&scratch, bundle).succeeds().stdout, "3000:3000\n");
}

/// In a user namespace init lacks the rights, and the runtime has them.
#[test]
fn what_init_mounts_in_a_user_namespace_is_mapped_too() {
    let scratch = Scratch::new("idmapinside");
    let bundle = |mounts: &[&Value]| {
        let bundle = Bundle::new(&scratch).shell("stat -c '%u:%g' /data");
        for name in ["first", "data"] {
            std::fs::create_dir(bundle.root().join(name)).unwrap();
        }
        let first = bundle.root().join("first");
        let with_source = |mount: &Value| match &mount["source"] {
            Value::Null => set(mount, &json!({"source": first})),
            _ => mount.clone(),
        };
        with_user_namespace(mounts.iter().fold(bundle, |bundle, mount| bundle.mount(with_source(mount))))
    };
    let maps = json!([{"containerID": 0, "hostID": 100_003, "size": 10}]);
    let maps = json!({"uidMappings": maps, "gidMappings": maps});
    let first =
        json!({"destination": "/first", "type": "bind", "source": scratch.directory("host"), "options": ["bind"]});
    // The second shows what the first brings into the root.
    let second = json!({"destination": "/data", "type": "bind", "options": ["bind"]});
    assert_eq!(run(&scratch, bundle(&[&first, &second])).succeeds().stdout, "65534:65534\n");
    assert_eq!(run(&scratch, bundle(&[&first, &set(&second, &maps)])).succeeds().stdout, "3:3\n");
    let containers = set(&second, &json!({"options": ["bind", "idmap"]}));
    assert_eq!(run(&scratch, bundle(&[&first, &containers])).succeeds().stdout, "0:0\n");
    // A file system of the container's own, which has the container's mapping already.
    if older_than("6.3") {
        skip("tmpfs can be mapped since Linux 6.3");
        return;
    }
    let tmpfs = json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]});
    assert_eq!(run(&scratch, bundle(&[&set(&tmpfs, &maps)])).succeeds().stdout, "3:3\n");
    let twice = set(&tmpfs, &json!({"options": ["idmap"]}));
    let output = run(&scratch, bundle(&[&twice])).fails(1);
    assert!(output.stderr.contains("map the ids of mount /data"), "{output:?}");
}

fn set(mount: &Value, fields: &Value) -> Value {
    let mut mount = mount.clone();
    mount.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    mount
}

#[test]
fn mistakes_are_told() {
    let scratch = Scratch::new("idmapwrong");
    let maps = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    for (mount, says) in [
        (json!({"uidMappings": maps}), "must have uidMappings and gidMappings"),
        (json!({"options": ["bind", "idmap"]}), "there is no \"user\" namespace"),
        (
            json!({"type": "proc", "source": "proc", "options": [], "destination": "/proc", "uidMappings": maps, "gidMappings": maps}),
            "map the ids of mount /proc",
        ),
    ] {
        let output = run(&scratch, bundle(&scratch, &mount, "true")).fails(1);
        assert!(output.stderr.replace('\\', "").contains(says), "{output:?}");
    }
}
