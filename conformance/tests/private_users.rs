//! Roots of layers and closures in a container with a user namespace: files show the owners that
//! they have in the layers, and what is written belongs to the container's ids on the host.

use firn_conformance::harness::bundle::image_bundle;
use firn_conformance::harness::place::older_than;
use firn_conformance::harness::{Output, Runtime, Scratch, busybox_root};
use rustix::fs::XattrFlags;
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const BASE: u32 = 300_000;

/// A bundle of firn-image in a user namespace whose id 0 is `base` on the host.
fn bundle(scratch: &Scratch, base: u32, args: &[&str]) -> PathBuf {
    let maps = json!([{"containerID": 0, "hostID": base, "size": 65_536}]);
    with_namespace(scratch, args, &json!({"type": "user"}), &maps)
}

fn with_namespace(scratch: &Scratch, args: &[&str], namespace: &Value, maps: &Value) -> PathBuf {
    let path = image_bundle(scratch, args);
    let config = path.join("config.json");
    let mut text: Value = serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
    text["linux"]["namespaces"].as_array_mut().unwrap().push(namespace.clone());
    text["linux"]["uidMappings"] = maps.clone();
    text["linux"]["gidMappings"] = maps.clone();
    std::fs::write(&config, text.to_string()).unwrap();
    path
}

fn run(firn: &Runtime, bundle: &Path) -> Output {
    firn.call(&["run", "--bundle", &bundle.to_string_lossy(), firn.id()])
}

/// Two layers with files of users 0 and 7, and with the marks that take privileges to read.
fn layers(scratch: &Scratch) {
    busybox_root(&scratch.directory("base"));
    for name in ["base/forms/gone", "base/forms/opaque/below", "base/forms/plain/file", "top/forms/opaque/above"] {
        scratch.directory(Path::new(name).parent().unwrap().to_str().unwrap());
        scratch.write(name, "");
    }
    chown(scratch.join("base/forms/plain/file"), Some(7), Some(8)).unwrap();
    let whiteout = scratch.join("top/forms/gone");
    assert!(Command::new("mknod").arg(whiteout).args(["c", "0", "0"]).status().unwrap().success());
    let opaque = scratch.join("top/forms/opaque");
    rustix::fs::setxattr(opaque, "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
}

const SHOW: &str = "stat -c '%u:%g %n' / /bin/busybox /forms/plain/file; ls /forms /forms/opaque | xargs; \
    rm -r /forms/plain && mkdir /forms/plain && ls /forms/plain | wc -l; echo x >> /new; wc -l < /new; \
    chown 5:6 /new && stat -c '%u:%g' /new; cat /proc/self/uid_map | xargs";
const SHOWN: &str = "0:0 /\n0:0 /bin/busybox\n7:8 /forms/plain/file\n/forms: opaque plain /forms/opaque: above\n0\n";

#[test]
fn layers_have_their_own_owners() {
    let scratch = Scratch::new("mappedlayers");
    layers(&scratch);
    let firn = Runtime::firn(&scratch);
    let args = ["--layer", "base", "--layer", "top", "--", "sh", "-c", SHOW];
    let path = bundle(&scratch, BASE, &args);
    let expected = format!("{SHOWN}1\n5:6\n0 {BASE} 65536\n");
    for _ in 0..2 {
        assert_eq!(run(&firn, &path).succeeds().stdout, expected);
    }
    let layer = std::fs::metadata(scratch.join("base/forms/plain/file")).unwrap();
    assert_eq!((layer.uid(), layer.gid()), (7, 8), "layers are not changed");
    assert!(!scratch.join("base/new").exists() && !scratch.join("top/new").exists());
    firn.left_nothing();
}

#[test]
fn a_kept_directory_belongs_to_the_containers_ids() {
    let scratch = Scratch::new("mappedupper");
    layers(&scratch);
    let firn = Runtime::firn(&scratch);
    let upper = scratch.directory("kept").to_string_lossy().into_owned();
    let script = "echo x >> /new; wc -l < /new; chown 5:6 /new; stat -c '%u:%g' / /new | xargs";
    let args = ["--layer", "base", "--upper", &upper, "--", "sh", "-c", script];
    let path = bundle(&scratch, BASE, &args);
    for count in 1..3 {
        assert_eq!(run(&firn, &path).succeeds().stdout, format!("{count}\n0:0 5:6\n"));
    }
    let owner = |name: &str| {
        let stat = std::fs::metadata(scratch.join(name)).unwrap();
        (stat.uid(), stat.gid())
    };
    assert_eq!(owner("kept/upper"), (BASE, BASE));
    assert_eq!(owner("kept/upper/new"), (BASE + 5, BASE + 6));
    // Nobody of another mapping could use the files.
    let path = bundle(&scratch, 2 * BASE, &args);
    let says = format!("belongs to user {BASE}, whom the container's user namespace does not map");
    let output = run(&firn, &path).fails(1);
    assert!(output.stderr.contains(&says), "{output:?}");
    std::fs::remove_dir_all(scratch.join("kept/upper")).unwrap();
    std::fs::create_dir(scratch.join("kept/upper")).unwrap();
    assert_eq!(run(&firn, &path).succeeds().stdout, "1\n0:0 5:6\n");
    firn.left_nothing();
}

/// Three store paths, a directory, a link and a file, in a store of the test's own, and a fourth
/// that is not in the closure. Returns the first.
fn store(scratch: &Scratch) -> String {
    let store = scratch.directory("host/nix/store");
    let name = |letter: &str| format!("{}-x", letter.repeat(32));
    busybox_root(&store.join(name("a")));
    std::fs::write(store.join(name("a")).join("etc/of-7"), "seven\n").unwrap();
    chown(store.join(name("a")).join("etc/of-7"), Some(7), Some(7)).unwrap();
    symlink(format!("/nix/store/{}", name("a")), store.join(name("b"))).unwrap();
    std::fs::write(store.join(name("c")), "a file\n").unwrap();
    std::fs::write(store.join(name("d")), "outside\n").unwrap();
    let list: Vec<String> = ["a", "b", "c"].iter().map(|letter| format!("/nix/store/{}", name(letter))).collect();
    scratch.write("list", &list.join("\n"));
    list[0].clone()
}

#[test]
fn a_closure_has_its_own_owners_in_either_form() {
    let scratch = Scratch::new("mappedclosure");
    let tools = store(&scratch);
    let firn = Runtime::firn(&scratch);
    let script = format!(
        "export PATH={tools}/bin; grep -c ' /nix/store' /proc/mounts; cd /nix/store; \
         stat -c '%u:%g %n' . ./* {tools}/etc/of-7 | sed 's/\\(.\\)\\1*-x/\\1/; s,/nix/store/,,'; \
         cat {tools}/etc/of-7 ./c*; touch /nix/store/new 2>&1; cat ./d* 2>&1"
    );
    let program = format!("{tools}/bin/sh");
    let args = ["--closure", &tools, "--store", "host/nix/store", "--store-paths", "list", "--"];
    let path = bundle(&scratch, BASE, &[&args[..], &[&program, "-c", &script]].concat());
    let expected = "0:0 .\n0:0 ./a\n0:0 ./b\n0:0 ./c\n7:7 a/etc/of-7\nseven\na file\n\
         touch: /nix/store/new: Read-only file system\ncat: can't open './d*': No such file or directory\n";
    // In one mount since Linux 6.12; by binds a tmpfs and two mounts, as one path is a link.
    let in_one = if older_than("6.12") { 3 } else { 1 };
    assert_eq!(run(&firn, &path).stdout, format!("{in_one}\n{expected}"));
    let firn_json = path.join("firn.json");
    let mut text: Value = serde_json::from_str(&std::fs::read_to_string(&firn_json).unwrap()).unwrap();
    assert!(text["root"].as_object_mut().unwrap().remove("closureImage").is_some());
    std::fs::write(&firn_json, text.to_string()).unwrap();
    assert_eq!(run(&firn, &path).stdout, format!("3\n{expected}"));
    // Without a layer that has /nix/store: it is created, for the container's root.
    text["root"]["layers"] = json!([]);
    std::fs::write(&firn_json, text.to_string()).unwrap();
    assert_eq!(run(&firn, &path).stdout, format!("3\n{expected}"));
    firn.left_nothing();
}

#[test]
fn a_mapping_to_the_same_ids_reads_the_marks_too() {
    let scratch = Scratch::new("mappedsame");
    layers(&scratch);
    let firn = Runtime::firn(&scratch);
    let path = bundle(&scratch, 0, &["--layer", "base", "--layer", "top", "--", "sh", "-c", SHOW]);
    assert_eq!(run(&firn, &path).succeeds().stdout, format!("{SHOWN}1\n5:6\n0 0 65536\n"));
    firn.left_nothing();
}

/// A process with a user namespace for others to join.
struct Holder(Child);

impl Holder {
    fn new() -> Self {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "sh", "-c", "echo; exec cat"]);
        let mut child = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("run unshare");
        let mut line = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).expect("unshare is ready");
        for file in ["uid_map", "gid_map"] {
            std::fs::write(format!("/proc/{}/{file}", child.id()), format!("0 {BASE} 65536")).unwrap();
        }
        Holder(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn a_user_namespace_that_is_joined_maps_layers_as_well() {
    let scratch = Scratch::new("mappedjoined");
    layers(&scratch);
    let firn = Runtime::firn(&scratch);
    let holder = Holder::new();
    let namespace = json!({"type": "user", "path": format!("/proc/{}/ns/user", holder.0.id())});
    let args = ["--layer", "base", "--layer", "top", "--", "sh", "-c", SHOW];
    let path = with_namespace(&scratch, &args, &namespace, &json!([]));
    assert_eq!(run(&firn, &path).succeeds().stdout, format!("{SHOWN}1\n5:6\n0 {BASE} 65536\n"));
    firn.left_nothing();
}

#[test]
fn a_layer_that_can_not_be_mapped_is_an_error() {
    let scratch = Scratch::new("mappednot");
    layers(&scratch);
    let firn = Runtime::firn(&scratch);
    let path = bundle(&scratch, BASE, &["--layer", "base", "--", "true"]);
    let firn_json = path.join("firn.json");
    let mut text: Value = serde_json::from_str(&std::fs::read_to_string(&firn_json).unwrap()).unwrap();
    for (layer, says) in [
        ("/proc/sys", "map the ids of /proc/sys to the container's (its file system has no idmapped mounts"),
        ("/", "layer /: the host's root directory can't be a layer in a user namespace"),
    ] {
        text["root"]["layers"][0] = json!(layer);
        std::fs::write(&firn_json, text.to_string()).unwrap();
        let output = run(&firn, &path).fails(1);
        assert!(output.stderr.contains(says), "{output:?}");
    }
    firn.left_nothing();
}
