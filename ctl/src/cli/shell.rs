//! `firnctl shell`: a container that is thrown away, and a shell on the host with commands for it.

use super::destroy::destroy;
use super::health::HealthArgs;
use super::install::{check, install};
use super::places::PlaceArgs;
use super::source::SourceArgs;
use super::together;
use crate::definition::nix::Depth;
use crate::generation::Container;
use crate::host::Owner;
use crate::interrupt;
use crate::view::answer::print;
use crate::wanted::network::main_link;
use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::Command;

const EXAMPLES: &str = "\
Examples:
  firnctl shell web.toml                     a shell with `c` (run in the container) and `h` (help)
  firnctl shell web.toml --run c hostname    one command; its exit status is ours
  firnctl shell -n web.toml                  the container stays, and may be there before
";

/// Set in a shell, to the container's name.
const RUNNING: &str = "runningShellContainer";

/// Start a container, open a shell with commands for it, and destroy it when that ends.
///
/// In such a shell a further `firnctl shell` with the same container's definition changes the
/// container instead.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ShellArgs {
    #[command(flatten)]
    pub source: SourceArgs,
    /// Don't destroy the container before and after.
    #[arg(long, short, conflicts_with = "destroy")]
    no_destroy: bool,
    /// Destroy it before and after, also in the shell of the same container.
    #[arg(long, short)]
    destroy: bool,
    #[command(flatten)]
    health: HealthArgs,
    /// Run this with the shell's commands, instead of a shell; all that follows belongs to it.
    #[arg(long, value_name = "COMMAND", num_args = 1.., allow_hyphen_values = true)]
    run: Vec<String>,
    /// What is said of the shell is said on standard output, as by extra-container.
    #[arg(skip)]
    pub says_on_stdout: bool,
}

/// Runs the shell; its exit status.
pub fn run(arguments: &mut ShellArgs, places: &PlaceArgs) -> Result<u8> {
    if arguments.run.is_empty() {
        arguments.run = arguments.source.take_run();
    }
    places.become_owner()?;
    interrupt::watch()?;
    let loaded = arguments.source.load_for(Depth::Built, places)?;
    let [instance] = loaded.instances.as_slice() else {
        bail!("a shell is one container's: the definitions make {}", loaded.instances.len());
    };
    let is_inside = std::env::var_os(RUNNING).is_some_and(|name| *name == *instance.name);
    let throws_away = !arguments.no_destroy && (!is_inside || arguments.destroy);
    let all_places = places.places()?;
    // Before anything is destroyed: it may be another project's.
    check(&loaded, &all_places)?;
    let container = Container::new(&instance.name, &all_places);
    let keeps = container.upper(&instance.definition).is_some_and(|upper| upper.starts_with(container.state_dir()));
    if throws_away && keeps && container.exists() && !arguments.destroy {
        bail!(
            "container {}: is there already, and keeps what it writes: `--no-destroy` opens a shell of it, `--destroy` removes it first",
            container.name
        );
    }
    if throws_away {
        destroy(&container)?;
    }
    let containers = install(&loaded, &all_places)?;
    let plans = together::plans(&containers)?;
    let started = together::apply(&plans, &together::waits(&containers), arguments.health.health());
    if is_inside && !arguments.destroy {
        return started.map(|()| 0);
    }
    let ended = match started {
        // Ctrl-C during the start: a look at what is there, as with extra-container.
        Err(error) if !interrupt::has_come() || !arguments.run.is_empty() => Err(error),
        Err(error) => {
            eprintln!("firnctl: {error:#}");
            open(&containers[0], places, arguments, &[])
        }
        Ok(()) => open(&containers[0], places, arguments, &arguments.run),
    };
    if throws_away {
        // With a command extra-container is silent.
        if !arguments.says_on_stdout || arguments.run.is_empty() {
            arguments.say("Destroying container.")?;
        }
        destroy(&containers[0])?;
    }
    ended
}

impl ShellArgs {
    fn say(&self, text: &str) -> Result<()> {
        if self.says_on_stdout {
            return print(&format!("{text}\n"));
        }
        eprintln!("{text}");
        Ok(())
    }
}

/// A shell, or the command, with the commands for the container.
fn open(container: &Container, places: &PlaceArgs, arguments: &ShellArgs, command: &[String]) -> Result<u8> {
    let file = Commands::write(container, &commands(container, places)?)?;
    let mut bash = Command::new("bash");
    if command.is_empty() {
        arguments.say("\nStarting shell.\nEnter \"h\" for documentation.")?;
        // The first is for a terminal, the second for commands from a pipe.
        bash.arg("--rcfile").arg(&file.0).env("BASH_ENV", &file.0);
    } else {
        arguments.say("\nRunning command.")?;
        bash.args(["-c", r#". "$0"; "$@""#]).arg(&file.0).args(command);
    }
    let status = bash.env(RUNNING, &container.name).status().context("run bash")?;
    let of_signal = || std::os::unix::process::ExitStatusExt::signal(&status).map(|signal| 128 + signal);
    Ok(u8::try_from(status.code().or_else(of_signal).unwrap_or(1)).unwrap_or(1))
}

/// The text of the shell's commands.
fn commands(container: &Container, places: &PlaceArgs) -> Result<String> {
    let own = std::env::current_exe().context("find our own path")?;
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    let mut firnctl = quoted(&own);
    if container.places().owner() == Owner::User {
        firnctl += " --rootless";
    }
    for (option, path) in places.options() {
        firnctl += &format!(" {option} {}", quoted(&std::path::absolute(path).context(option)?));
    }
    let key = container.places().ssh_key();
    let definition = container.wanted()?.map(|wanted| wanted.definition);
    let address = definition.and_then(|definition| main_link(&definition).local_address.clone()).unwrap_or_default();
    let ip = address.split('/').next().unwrap_or_default();
    Ok(format!(
        r#"unset BASH_ENV
[ -z "$PS1" ] || [ ! -f ~/.bashrc ] || . ~/.bashrc
name='{name}'
ip='{ip}'
c() {{
  if [ $# -gt 0 ]; then {firnctl} run "$name" -- "$@"; else {firnctl} root-login "$name"; fi
}}
cssh() {{
  if {firnctl} ssh-proxy --check "$name" 2>/dev/null; then
    set -- -o ProxyCommand={proxy} -o ProxyUseFdpass=yes "root@$name" "$@"
  elif [ -n "$ip" ]; then
    set -- "root@$ip" "$@"
  else
    echo "cssh: $name has no localAddress, and no sshd at /run/host/unix-export/ssh" >&2; return 1
  fi
  ssh {key}-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "$@"
}}
h() {{
  cat <<'END'
c COMMAND    run a command in the container, as its root
c            a login shell in it
cssh [CMD]   the same by SSH
$name, $ip   its name and address
END
}}
PS1="[{name}] $PS1"
"#,
        name = container.name,
        // Of extra.enableSSH; ssh has others too.
        key = if key.exists() { format!("-i {} ", quoted(&key)) } else { String::new() },
        // ssh replaces what begins with `%`.
        proxy = quoted(Path::new(&format!("{} ssh-proxy {}", firnctl.replace('%', "%%"), container.name))),
    ))
}

/// A file with them, removed with this.
struct Commands(PathBuf);

impl Commands {
    fn write(container: &Container, text: &str) -> Result<Self> {
        let path = container.run_dir().join("shell");
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(Commands(path))
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
