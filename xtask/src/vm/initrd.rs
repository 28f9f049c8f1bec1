//! The initial RAM disk: busybox, and the modules that lead to the root's disk.

use crate::Result;
use crate::build::run;
use std::path::Path;
use std::process::Command;

/// What has to be loaded to mount the root; those that are built in are passed over.
pub const MODULES: [&str; 4] = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"];

/// Its process 1.
pub const INIT: &str = "\
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do
    /bin/busybox insmod \"$module\" || echo \"firn: $module can't be loaded\"
done
until [ -b /dev/vda ]; do
    /bin/busybox sleep 0.1
done
/bin/busybox mount -t ext4 -o noatime /dev/vda /root
exec /bin/busybox switch_root /root /sbin/init
";

pub fn write(root: &Path, release: &str, initrd: &Path) -> Result<()> {
    let tree = initrd.with_extension("tree");
    for dir in ["bin", "dev", "modules", "root"] {
        std::fs::create_dir_all(tree.join(dir))?;
    }
    std::fs::copy(root.join("usr/bin/busybox").canonicalize()?, tree.join("bin/busybox"))?;
    std::fs::write(tree.join("init"), INIT)?;
    run(Command::new("chmod").arg("755").arg(tree.join("init")))?;
    let modules = root.join("lib/modules").join(release);
    for (number, module) in load_order(&modules)?.iter().enumerate() {
        let name = Path::new(module).file_name().unwrap_or_default().to_string_lossy();
        let plain = name.trim_end_matches(".xz").trim_end_matches(".zst");
        unpack(&modules.join(module), &tree.join(format!("modules/{number:02}-{plain}")))?;
    }
    let script = "cd \"$1\" && find . | busybox cpio --quiet -o -H newc > \"$2\"";
    run(Command::new("sh").args(["-c", script, "cpio"]).arg(&tree).arg(initrd))?;
    Ok(std::fs::remove_dir_all(&tree)?)
}

/// The files of `MODULES`, each after what it depends on, from modules.dep.
fn load_order(modules: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(modules.join("modules.dep"))?;
    let mut order: Vec<String> = Vec::new();
    for wanted in MODULES {
        let line = text.lines().find(|line| {
            let file = line.split(':').next().unwrap_or_default();
            let name = file.rsplit('/').next().and_then(|name| name.split('.').next()).unwrap_or_default();
            name.replace('-', "_") == wanted
        });
        let Some((file, needs)) = line.and_then(|line| line.split_once(':')) else { continue };
        // modules.dep lists what is needed the other way round.
        for module in needs.split_whitespace().rev().chain([file]) {
            if !order.iter().any(|known| known == module) {
                order.push(module.to_owned());
            }
        }
    }
    Ok(order)
}

fn unpack(from: &Path, to: &Path) -> Result<()> {
    let program = match from.extension().and_then(|e| e.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return Ok(std::fs::copy(from, to).map(drop)?),
    };
    run(Command::new(program).args(["-dc"]).arg(from).stdout(std::fs::File::create(to)?))
}
