//! `cargo xtask install --system`: what the host's network managers are told, so that they leave the host's ends
//! of containers' links alone.

use crate::Result;
use crate::build::workspace;
use std::path::Path;

/// Files of ours in directories that are read by many.
const DROP_INS: [(&str, &str); 2] =
    [("90-firn.conf", "etc/NetworkManager/conf.d"), ("10-firn.network", "etc/systemd/network")];
/// dhcpcd reads one file alone: our lines are added to it where there is one.
const DHCPCD: (&str, &str) = ("dhcpcd.conf", "etc/dhcpcd.conf");

/// Writes them below a root directory, also where a manager comes later.
pub fn write(root: &Path) -> Result<()> {
    let text = |name: &str| std::fs::read_to_string(workspace().join("ctl/host").join(name));
    for (name, directory) in DROP_INS {
        let directory = root.join(directory);
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join(name), text(name)?)?;
    }
    let (name, path) = (DHCPCD.0, root.join(DHCPCD.1));
    let lines = text(name)?;
    match std::fs::read_to_string(&path) {
        Ok(present) if !present.contains(&lines) => {
            let end = if present.is_empty() || present.ends_with('\n') { "" } else { "\n" };
            std::fs::write(&path, format!("{present}{end}{lines}"))?;
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    println!(
        "told NetworkManager, systemd-networkd and dhcpcd to leave ve-* and vb-* alone; each reads it when it starts"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managers_are_told_once() {
        let root = std::env::temp_dir().join(format!("firn-xtask-system-{}", std::process::id()));
        std::fs::create_dir_all(root.join("etc")).unwrap();
        let dhcpcd = root.join("etc/dhcpcd.conf");
        write(&root).unwrap();
        assert!(!dhcpcd.exists(), "none of dhcpcd's is made");
        std::fs::write(&dhcpcd, "hostname").unwrap();
        for _ in 0..2 {
            write(&root).unwrap();
        }
        let text = std::fs::read_to_string(&dhcpcd).unwrap();
        assert!(text.starts_with("hostname\n") && text.matches("denyinterfaces ve-* vb-*\n").count() == 1, "{text}");
        let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
        let networkd = read("etc/systemd/network/10-firn.network");
        assert!(networkd.contains("\n[Match]\nName=ve-* vb-*\n\n[Link]\nUnmanaged=yes\n"), "{networkd}");
        let manager = read("etc/NetworkManager/conf.d/90-firn.conf");
        assert!(manager.ends_with("match-device=interface-name:ve-*,interface-name:vb-*\nmanaged=0\n"), "{manager}");
        std::fs::remove_dir_all(root).unwrap();
    }
}
