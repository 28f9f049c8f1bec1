//! `firn checkpoint`.

use super::context::Context;
use crate::bail;
use crate::criu::dump::Dump;
use crate::criu::options::{CgroupMode, Common, NetworkLock};
use crate::error::Result;
use crate::lifecycle::checkpoint::checkpoint;
use clap::ValueEnum;
use std::path::PathBuf;

// What `checkpoint` and `restore` have in common; clap would show a comment of
// the other kind as what the command does.
#[derive(Debug, clap::Args)]
pub struct Shared {
    /// The directory of the images [default: checkpoint]
    #[arg(long, value_name = "DIR")]
    image_path: Option<PathBuf>,
    /// The directory of criu's log [default: that of the images]
    #[arg(long, value_name = "DIR")]
    work_path: Option<PathBuf>,
    /// Allow open TCP connections
    #[arg(long)]
    tcp_established: bool,
    /// Allow Unix sockets that are connected to outside
    #[arg(long)]
    ext_unix_sk: bool,
    /// Allow programs of a shell's that stays outside
    #[arg(long)]
    shell_job: bool,
    /// Allow file locks
    #[arg(long)]
    file_locks: bool,
    /// What of the cgroups below the container's is kept [default: soft]
    #[arg(long, value_enum, value_name = "MODE")]
    manage_cgroups_mode: Option<Mode>,
    /// Network devices are never kept; accepted for runc's callers: network
    #[arg(long, value_name = "NAMESPACE", hide = true)]
    empty_ns: Vec<Namespace>,
    /// Pages that are in a later image go from the earlier ones
    #[arg(long)]
    auto_dedup: bool,
    /// Memory comes when it is needed, from `criu lazy-pages`
    #[arg(long)]
    lazy_pages: bool,
    /// How packets are kept away meanwhile (crun)
    #[arg(long, value_enum, value_name = "METHOD")]
    network_lock: Option<Lock>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    Soft,
    Full,
    Strict,
    Ignore,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Namespace {
    Network,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Lock {
    Iptables,
    Nftables,
    Skip,
}

impl Shared {
    pub fn common(self) -> Common {
        Common {
            images: self.image_path.unwrap_or_else(|| PathBuf::from("checkpoint")),
            work: self.work_path,
            tcp_established: self.tcp_established,
            ext_unix_sk: self.ext_unix_sk,
            shell_job: self.shell_job,
            file_locks: self.file_locks,
            auto_dedup: self.auto_dedup,
            lazy_pages: self.lazy_pages,
            manage_cgroups: match self.manage_cgroups_mode {
                None | Some(Mode::Soft) => CgroupMode::Soft,
                Some(Mode::Full) => CgroupMode::Full,
                Some(Mode::Strict) => CgroupMode::Strict,
                Some(Mode::Ignore) => CgroupMode::Ignore,
            },
            network_lock: self.network_lock.map(|lock| match lock {
                Lock::Iptables => NetworkLock::Iptables,
                Lock::Nftables => NetworkLock::Nftables,
                Lock::Skip => NetworkLock::Skip,
            }),
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The container is gone afterwards, unless --leave-running or --pre-dump is given.\n\nExamples:\n  firn checkpoint --image-path /var/tmp/web web\n  firn restore --detach --image-path /var/tmp/web --bundle BUNDLE web"
)]
pub struct Args {
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    shared: Shared,
    /// Images of a --pre-dump before, from the directory of the new ones
    #[arg(long, value_name = "DIR")]
    parent_path: Option<PathBuf>,
    /// Let the container run on
    #[arg(long)]
    leave_running: bool,
    /// Save memory alone, and let the container run on
    #[arg(long)]
    pre_dump: bool,
    /// Leave out TCP connections that are being made
    #[arg(long)]
    tcp_skip_in_flight: bool,
    /// Give files that have been removed a name again
    #[arg(long)]
    link_remap: bool,
    /// Send pages to this server
    #[arg(long, value_name = "ADDRESS:PORT")]
    page_server: Option<String>,
    /// Write a zero byte here when --lazy-pages can be served
    #[arg(long, value_name = "N")]
    status_fd: Option<i32>,
}

pub fn run(args: Args, context: &Context) -> Result<u8> {
    let (id, dump) = (args.id.clone(), args.dump()?);
    checkpoint(&context.root, &id, &dump, &context.log)?;
    Ok(0)
}

impl Args {
    fn dump(self) -> Result<Dump> {
        if self.parent_path.as_ref().is_some_and(|path| path.is_absolute()) {
            bail!("--parent-path must be relative: it counts from the directory of the images");
        }
        Ok(Dump {
            page_server: self.page_server.as_deref().map(page_server).transpose()?,
            common: self.shared.common(),
            parent: self.parent_path,
            leave_running: self.leave_running,
            pre_dump: self.pre_dump,
            tcp_skip_in_flight: self.tcp_skip_in_flight,
            link_remap: self.link_remap,
            status_fd: self.status_fd.filter(|number| *number >= 0),
        })
    }
}

/// An address of IPv6 stands in brackets.
fn page_server(text: &str) -> Result<(String, u16)> {
    let parts = text.rsplit_once(':').map(|(address, port)| (address.trim_matches(['[', ']']), port.parse()));
    match parts {
        Some((address, Ok(port))) if !address.is_empty() => Ok((address.to_owned(), port)),
        _ => bail!("--page-server {text:?} is not ADDRESS:PORT"),
    }
}

#[cfg(test)]
mod tests {
    use super::page_server;

    #[test]
    fn page_servers_have_address_and_port() {
        assert_eq!(page_server("127.0.0.1:27277").unwrap(), ("127.0.0.1".to_owned(), 27277));
        assert_eq!(page_server("[::1]:1").unwrap(), ("::1".to_owned(), 1));
        for wrong in ["", "host", "host:", ":1", "host:99999"] {
            assert!(page_server(wrong).is_err(), "{wrong}");
        }
    }
}
