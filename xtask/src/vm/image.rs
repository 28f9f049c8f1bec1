//! Disks, kernels and initial RAM disks, made from Debian's packages once and
//! kept until their recipe changes.

use super::guest;
use super::initrd;
use crate::build::run;
use crate::{Result, cache, debian};
use std::path::{Path, PathBuf};
use std::process::Command;

const GUEST_HOOK: &str = include_str!("guest.sh");
const ROOTS_SCRIPT: &str = include_str!("roots.sh");
/// The kernel's package would make an initial RAM disk that nobody boots.
const NO_INITRAMFS: &str = "--essential-hook=for hook in postinst.d postrm.d; do \
    mkdir -p $1/etc/kernel/$hook; printf '#!/bin/sh\\n' > $1/etc/kernel/$hook/initramfs-tools; done; \
    mkdir -p $1/etc/initramfs-tools; echo update_initramfs=no > $1/etc/initramfs-tools/update-initramfs.conf";

/// What qemu boots.
#[derive(Debug)]
pub struct Image {
    pub root: PathBuf,
    pub kernel: PathBuf,
    pub initrd: PathBuf,
}

/// The image of a Debian release, made if there is none of today's recipe.
pub fn of_suite(suite: &str) -> Result<Image> {
    let recipe = cache::fingerprint(&[
        GUEST_HOOK,
        &guest::packages(suite),
        NO_INITRAMFS,
        initrd::INIT,
        &initrd::MODULES.join(","),
    ]);
    let dir = cache::entry(&format!("vm-{suite}"), &recipe, |dir| {
        println!("making the guest {suite} from Debian's packages (two minutes, once)");
        make(suite, dir)
    })?;
    Ok(Image { root: dir.join("root.ext4"), kernel: dir.join("kernel"), initrd: dir.join("initrd") })
}

/// One read-only disk for every guest: Debian roots to boot as containers, a
/// busybox image. Mounted at /srv.
pub fn roots(debian: &Path) -> Result<PathBuf> {
    let dir = cache::entry("vm-roots", &cache::fingerprint(&[ROOTS_SCRIPT, &debian.to_string_lossy()]), |dir| {
        println!("making the disk of container roots");
        let tree = dir.join("tree");
        std::fs::create_dir(&tree)?;
        let busybox = Path::new("/usr/bin/busybox");
        run(Command::new("sh").args(["-euc", ROOTS_SCRIPT, "roots"]).arg(&tree).arg(debian).arg(busybox))?;
        file_system(&tree, &dir.join("roots.ext4"), "1G")?;
        Ok(std::fs::remove_dir_all(&tree)?)
    })?;
    Ok(dir.join("roots.ext4"))
}

fn make(suite: &str, dir: &Path) -> Result<()> {
    let root = dir.join("root");
    let mut make = debian::make(suite, &guest::packages(suite), &root);
    run(make.arg(NO_INITRAMFS).arg(debian::hook(dir, GUEST_HOOK)?))?;
    let release = kernel_release(&root)?;
    std::fs::copy(root.join(format!("boot/vmlinuz-{release}")), dir.join("kernel"))?;
    initrd::write(&root, &release, &dir.join("initrd"))?;
    file_system(&root, &dir.join("root.ext4"), "8G")?;
    Ok(std::fs::remove_dir_all(&root)?)
}

fn kernel_release(root: &Path) -> Result<String> {
    let mut names = std::fs::read_dir(root.join("lib/modules"))?;
    let entry = names.next().ok_or("the guest has no kernel modules")??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

/// An ext4 file system with what is in `tree`, in a file with holes. Without a
/// journal: it is never written, qemu keeps changes aside.
fn file_system(tree: &Path, image: &Path, size: &str) -> Result<()> {
    run(Command::new("mke2fs").args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"]).arg(tree).arg(image).arg(size))
}
