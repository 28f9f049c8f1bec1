//! Images made by umoci, skopeo, buildah and podman: the same tree as they unpack.

use crate::common::{Temp, needs, text};
use crate::dialects::{make_tree, run};
use crate::tree::tree;
use std::path::Path;
use std::process::Command;

/// Every mode, owner, link, time, attribute and byte.
pub fn assert_same(made: &Path, wanted: &Path, what: &str) {
    let (made, wanted) = (tree(made), tree(wanted));
    for (name, facts) in &wanted {
        assert_eq!(made.get(name), Some(facts), "{what}: {}", name.display());
    }
    assert_eq!(made.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "{what}");
}

/// An image `img:v` of three layers by umoci: a tree, a changed one, and one more.
fn umoci_image(temp: &Temp) {
    needs("umoci", "umoci");
    let repack = |script: &str| {
        let script = format!(
            "set -e; rm -rf b; umoci unpack --image img:v b; cd b/rootfs; {script}; cd ../..; \
             umoci repack --image img:v b"
        );
        run(temp, &["sh", "-c", &format!("{{ {script}; }} >umoci.log 2>&1")]);
    };
    make_tree(temp, "root");
    run(temp, &["sh", "-c", "umoci init --layout img && umoci new --image img:v"]);
    repack("cp -a ../../root/. .; mkdir -p opq/sub; echo low > opq/sub/low; echo low > opq/low");
    repack(
        "rm -r bin/su2 tmp; rm -r opq; mkdir opq; echo new > opq/new; rm etc/plain; mkdir etc/plain; \
         touch etc/plain/file; rm -r group; ln -s acl group; ln etc/link etc/link3; chmod 700 acl; rm null",
    );
    repack("echo 3 > third; echo more > opq/more; mkdir tmp; chmod 1777 tmp");
    run(temp, &["umoci", "config", "--image", "img:v", "--config.cmd", "/bin/true"]);
}

/// The root of a bundle with `--copy` of a reference.
fn copied(temp: &Temp, reference: &str, name: &str) -> std::path::PathBuf {
    temp.made(&[reference, "--layer-store", "store", "--copy", "-o", name]);
    temp.path(name).join("rootfs")
}

#[test]
fn an_image_of_umocis_is_unpacked_as_by_umoci() {
    let temp = Temp::new("peer-umoci");
    umoci_image(&temp);
    run(&temp, &["sh", "-c", "umoci unpack --image img:v reference >umoci.log 2>&1"]);
    assert_same(&copied(&temp, "oci:img:v", "web"), &temp.path("reference/rootfs"), "umoci");
}

/// Whether a blob ends as zstd:chunked does.
fn has_table_of_contents(blobs: &Path) -> bool {
    let entries = std::fs::read_dir(blobs).expect("list").map(|entry| entry.expect("entry").path());
    entries.into_iter().any(|blob| std::fs::read(blob).expect("read").ends_with(b"GnUlInUx"))
}

#[test]
fn archives_of_skopeos_hold_the_same_image() {
    needs("skopeo", "skopeo");
    let temp = Temp::new("peer-skopeo");
    umoci_image(&temp);
    run(&temp, &["sh", "-c", "umoci unpack --image img:v reference >umoci.log 2>&1"]);
    let wanted = temp.path("reference/rootfs");
    let skopeo = |options: &[&str], from: &str, to: &str| {
        run(&temp, &[&["skopeo", "--insecure-policy", "copy", "--quiet"], options, &[from, to]].concat());
    };
    skopeo(&[], "oci:img:v", "oci-archive:oci.tar:v");
    skopeo(&[], "oci:img:v", "docker-archive:docker.tar:localhost/web:1");
    skopeo(&["--dest-compress-format", "zstd"], "docker-archive:docker.tar", "oci:zstd:v");
    // With a skippable frame that has a table of contents, and annotations that lead there.
    let chunked = ["--dest-compress", "--dest-compress-format", "zstd:chunked"];
    skopeo(&chunked, "docker-archive:docker.tar", "oci:chunked:v");
    assert!(has_table_of_contents(&temp.path("chunked/blobs/sha256")), "skopeo made another form");
    run(&temp, &["sh", "-c", "gzip -k docker.tar && zstd -q oci.tar"]);
    for (name, reference) in [
        ("1", "oci-archive:oci.tar:v"),
        ("2", "oci-archive:oci.tar"),
        ("3", "docker-archive:docker.tar:localhost/web:1"),
        ("4", "docker-archive:docker.tar"),
        ("5", "docker-archive:docker.tar.gz"),
        ("6", "oci-archive:oci.tar.zst:v"),
        ("7", "oci:zstd:v"),
        ("8", "oci:chunked:v"),
    ] {
        // Each reads its own blobs.
        let _ = std::fs::remove_dir_all(temp.path("store"));
        assert_same(&copied(&temp, reference, name), &wanted, reference);
    }
    assert_eq!(temp.names().iter().filter(|name| name.starts_with('.')).count(), 0);
    let refused = |reference: &str| temp.refused(&[reference, "--layer-store", "store", "-o", "out"]);
    assert!(refused("docker-archive:docker.tar:web:2").contains("it has localhost/web:1"));
    assert!(refused("docker-archive:oci.tar").contains("is it an archive of this kind?"));
    assert!(refused("oci-archive:docker.tar").contains("is it an archive of this kind?"));
    temp.file("text", &"text\n".repeat(1000), 0o644);
    assert!(refused("oci-archive:text").contains("is it a tar file?"));
    assert!(refused("oci-archive:img").contains("not a regular file"));
}

/// What podman shows of it, and what podman writes of it, with layers made by the kernel's overlay.
#[test]
fn an_image_of_buildahs_is_what_podman_mounts() {
    needs("buildah", "buildah");
    needs("podman", "podman");
    let temp = Temp::new("peer-podman");
    make_tree(&temp, "root");
    let script = r#"set -e
        buildah() { command buildah --root "$PWD/storage" --runroot "$PWD/run" --storage-driver overlay "$@"; }
        podman() { command podman --root "$PWD/storage" --runroot "$PWD/run" --storage-driver overlay "$@"; }
        change() {
            container=$(buildah from "$1"); shift; root=$(buildah mount "$container")
            (cd "$root"; eval "$1"); shift
            buildah config --cmd /bin/true "$container"
            buildah commit --quiet --format "$2" "$container" "$1"
        }
        change scratch 'cp -a "$OLDPWD/root/." .; mkdir -p opq/sub; echo low > opq/sub/low' web:1 oci
        change localhost/web:1 'rm -r bin/su2 tmp opq; mkdir opq; echo new > opq/new; rm null; chmod 700 acl' web:2 oci
        change localhost/web:2 'mv etc moved; ln moved/link moved/link3; mkdir tmp' web:3 docker
        podman save --quiet --format oci-archive -o oci.tar web:2
        podman save --quiet --format docker-archive -o docker.tar web:3
        podman save --quiet --format oci-dir -o dir web:3
        for tag in 2 3; do cp -a "$(podman image mount web:$tag)" shown-$tag; done
    "#;
    let output = Command::new("unshare").args(["--mount", "bash", "-c", script]).current_dir(&temp.0).output();
    let output = output.expect("run buildah and podman");
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (name, reference, shown) in [
        ("1", "oci-archive:oci.tar", "shown-2"),
        ("2", "docker-archive:docker.tar:localhost/web:3", "shown-3"),
        ("3", "docker-archive:docker.tar", "shown-3"),
        ("4", "oci:dir", "shown-3"),
    ] {
        assert_same(&copied(&temp, reference, name), &temp.path(shown), reference);
    }
}
