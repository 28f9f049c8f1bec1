//! Images of an ordinary user: unpacked in a user namespace with the ids of /etc/subuid, run by firn
//! without privileges, and removed again.

use crate::common::{IMAGE, Temp, init, needs, text};
use crate::layout::{Blob, Layout, digest};
use crate::tar::{Header, Tar};
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Nobody else's, on any machine that runs these tests.
const USER: u32 = 61_235;
const SUBIDS: u32 = 3_000_000;

/// The user's home, programs that the user can reach, and an image.
struct Fixture {
    temp: Temp,
    low: Vec<u8>,
}

impl Fixture {
    fn new(name: &str) -> Self {
        needs("newuidmap", "uidmap");
        needs("busybox", "busybox-static");
        let temp = Temp::new(name);
        std::fs::create_dir(temp.path("home")).expect("make directory");
        chown(temp.path("home"), Some(USER), Some(USER)).expect("chown");
        let firn = Path::new(IMAGE).with_file_name("firn");
        for program in [Path::new(IMAGE), &firn, Path::new(&init())] {
            crate::dialects::run(&temp, &["cp", program.to_str().expect("utf-8"), "."]);
        }
        let passwd = std::fs::read_to_string("/etc/passwd").expect("read passwd");
        temp.file("passwd", &format!("{passwd}firn-test:x:{USER}:{USER}::/:/bin/sh\n"), 0o644);
        temp.file("subids", &format!("firn-test:{SUBIDS}:65536\n"), 0o644);
        temp.file("none", "", 0o644);
        let low = low();
        let layout = Layout::new(&temp);
        let blobs = [Blob::gzip(&low), Blob::gzip(&high())];
        let config = json!({ "User": "web", "Cmd": ["/bin/sh", "-c", SCRIPT], "Env": ["PATH=/bin"] });
        let manifest = layout.image(&blobs, &config);
        layout.tag("v", manifest);
        Self { temp, low }
    }

    /// A script in the user's home, with the ids that the file gives.
    fn run(&self, ids: &str, script: &str) -> Output {
        let dir = self.temp.0.display();
        // A view of one version of cgroups, and the users and ranges of the test.
        let view = format!(
            "mount --bind {dir}/passwd /etc/passwd; mount --bind {dir}/{ids} /etc/subuid; \
             mount --bind {dir}/{ids} /etc/subgid; cd {dir}/home; exec \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &view, "sh"]);
        command.args(["setpriv", &format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"]);
        command.args(["env", "-i", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", &format!("HOME={dir}/home")]);
        command.args([&format!("XDG_RUNTIME_DIR={dir}/home"), "sh", "-ec", script]);
        command.output().expect("run unshare")
    }

    fn succeeds(&self, script: &str) -> String {
        let output = self.run("subids", script);
        assert!(output.status.success(), "{script}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    fn layer(&self) -> PathBuf {
        self.temp.path("home/.local/share/firn/layers").join(digest(&self.low).replace(':', "/"))
    }
}

/// What the container sees: owners, what the upper layer hides, and a directory in the place of
/// another one, which takes a mark in the container's own layer.
const SCRIPT: &str = "id; stat -c '%u:%g %a %n' / /bin/busybox /srv/file /srv/last /srv/setuid; ls /srv /srv/opaque | xargs; \
    ls /dev-of-image | wc -l; touch /srv/mine && stat -c %U /srv/mine; rm -r /srv/gone-too; mkdir /srv/gone-too; ls /srv/gone-too | wc -l";
const SHOWN: &str = "uid=33(web) gid=34\n0:0 755 /\n0:0 755 /bin/busybox\n33:34 644 /srv/file\n\
    65534:65534 644 /srv/last\n0:0 4755 /srv/setuid\n/srv: file gone-too last opaque setuid /srv/opaque: above\n\
    0\nweb\n0\n";

fn low() -> Vec<u8> {
    let busybox = std::fs::read("/bin/busybox").expect("read busybox");
    let program = |path, mode| Header { path, mode, size: busybox.len() as u64, ..Header::default() };
    let web: &[(&str, &[u8])] = &[("uid", b"33"), ("gid", b"34")];
    let last: &[(&str, &[u8])] = &[("uid", b"65534"), ("gid", b"65534")];
    let mut tar = Tar::default().directory("bin").member(&program(b"bin/busybox", 0o755), &busybox);
    for name in ["sh", "id", "stat", "ls", "xargs", "touch", "rm", "mkdir", "wc"] {
        tar = tar.symlink(&format!("bin/{name}"), "busybox");
    }
    tar.directory("etc")
        .file("etc/passwd", "web:x:33:34::/srv:/bin/sh\n")
        .pax(b'x', web)
        .directory("srv")
        .pax(b'x', web)
        .file("srv/file", "file\n")
        .pax(b'x', last)
        .file("srv/last", "")
        .member(&Header { path: b"srv/setuid", mode: 0o4755, ..Header::default() }, b"")
        .file("srv/gone", "")
        .directory("srv/opaque")
        .file("srv/opaque/below", "")
        .pax(b'x', web)
        .directory("srv/gone-too")
        .pax(b'x', web)
        .file("srv/gone-too/below", "")
        .directory("dev-of-image")
        .member(&Header { kind: b'3', path: b"dev-of-image/null", device: (1, 3), ..Header::default() }, b"")
        .end()
}

fn high() -> Vec<u8> {
    let web: &[(&str, &[u8])] = &[("uid", b"33"), ("gid", b"34")];
    Tar::default()
        .pax(b'x', web)
        .directory("srv")
        .file("srv/.wh.gone", "")
        .directory("srv/opaque")
        .file("srv/opaque/.wh..wh..opq", "")
        .file("srv/opaque/above", "")
        .end()
}

#[test]
fn an_image_of_an_ordinary_user_is_unpacked_runs_and_is_removed() {
    let fixture = Fixture::new("user-life");
    let id = format!("firn-image-test-user-{}", std::process::id());
    fixture.succeeds("../firn-image bundle oci:../img:v -o web");
    assert_eq!(fixture.succeeds(&format!("../firn run --bundle web {id}")), SHOWN);
    // What the container has written is in its own layer, and the layers are below the user's data.
    assert_eq!(fixture.succeeds(&format!("../firn run --bundle web {id}")), SHOWN);
    let owner = |name: &str| {
        let stat = std::fs::metadata(fixture.layer().join(name)).expect("stat");
        (stat.uid(), stat.gid())
    };
    assert_eq!([owner("bin"), owner("srv/file")], [(USER, USER), (SUBIDS + 32, SUBIDS + 33)]);
    let config: Value = fixture.temp.json("home/web/config.json");
    let maps =
        json!([{ "containerID": 0, "hostID": USER, "size": 1 }, { "containerID": 1, "hostID": SUBIDS, "size": 65536 }]);
    assert_eq!([&config["linux"]["uidMappings"], &config["linux"]["gidMappings"]], [&maps, &maps]);
    // A copy for other runtimes, and an image of a layer: root's files are root's.
    fixture.succeeds("../firn-image bundle oci:../img:v --copy -o copied");
    assert!(!fixture.temp.path("home/copied/rootfs/srv/gone").exists());
    let file = std::fs::metadata(fixture.temp.path("home/copied/rootfs/srv/file")).expect("stat");
    assert_eq!(file.uid(), SUBIDS + 32);
    fixture.succeeds("../firn-image build --layer copied/rootfs --cmd /bin/true --output oci:built:x >/dev/null");
    fixture.succeeds("../firn-image bundle oci:built:x -o again -- /bin/busybox stat -c %u:%g /srv /srv/file");
    assert_eq!(fixture.succeeds(&format!("../firn run --bundle again {id}")), "33:34\n33:34\n");
    // Files of the user's other ids are removed where the user alone could not.
    let kept = fixture.succeeds("../firn-image gc");
    assert!(kept.contains("0 layers removed") && fixture.layer().exists(), "{kept}");
    fixture.succeeds("rm -r web again");
    let removed = fixture.succeeds("../firn-image gc");
    assert!(!removed.contains("0 layers removed") && !fixture.layer().exists(), "{removed}");
}

#[test]
fn an_ordinary_user_without_ids_is_told_how_to_get_some() {
    let fixture = Fixture::new("user-none");
    let output = fixture.run("none", "../firn-image bundle oci:../img:v -o web");
    let said = text(&output.stderr);
    assert!(!output.status.success() && !fixture.temp.path("home/.local").exists(), "{said}");
    assert!(said.contains("user firn-test has no ids in /etc/subuid"), "{said}");
    assert!(said.contains("usermod --add-subuids") && said.contains("run firn-image as root"), "{said}");
    // Too few for the users of the image.
    fixture.temp.file("few", &format!("{USER}:{SUBIDS}:1000\n"), 0o644);
    let output = fixture.run("few", "../firn-image bundle oci:../img:v -o web");
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("/srv/last: it belongs to user 65534"), "{said}");
}
