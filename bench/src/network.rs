//! `firn-bench network`: making the network of one container (a veth pair with an address on each side, routes both
//! ways, one forwarded port), beside what `ip -batch` and one `nft -j -f -` take for the same.

use crate::Result;
use crate::contest::Scratch;
use crate::machine::Machine;
use crate::options::Options;
use crate::parts::{self, Part};
use crate::statistics::Summary;
use crate::table;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// More than this many times what they take is too long.
const MOST: f64 = 1.5;
/// Rounds before those that count.
const WARM_UP: usize = 3;

const HOST: &str = "\
link add ve-bench address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02 netns INSIDE
addr add 10.1.1.1/32 dev ve-bench
link set ve-bench up
route add 10.1.1.2/32 dev ve-bench
";
const INSIDE: &str = "\
link set lo up
addr add 10.1.1.2/32 dev eth0
link set eth0 up
route add 10.1.1.1/32 dev eth0
route add default via 10.1.1.1
";

/// Two network namespaces: that in which this runs from now on, and a container's, with a process in it.
struct Stand {
    scratch: PathBuf,
    host: String,
    inside: String,
    sleeper: Option<Child>,
}

pub fn bench(options: &Options) -> Result<()> {
    let scratch = Scratch(std::env::temp_dir().join(format!("firn-bench-network-{}", std::process::id())));
    std::fs::create_dir(&scratch.0)?;
    let mut stand = Stand::new(&scratch.0)?;
    let rules = stand.rules()?;
    let (mut firn, mut others) = (Vec::new(), Vec::new());
    for round in 0..options.rounds + WARM_UP {
        // Each is the first in turn.
        let [mut own, mut theirs] = [0.0; 2];
        for turn in 0..2 {
            stand.fresh()?;
            if (round + turn) % 2 == 0 { own = stand.firn()? } else { theirs = stand.others(&rules)? }
        }
        if round >= WARM_UP {
            firn.push(own);
            others.push(theirs);
        }
    }
    let ratio = Summary::of_ratios(&firn, &others);
    let (own, theirs) = (Summary::of(&firn), Summary::of(&others));
    println!("the network of a container, {} rounds", options.rounds);
    println!("  firn-network up       {:6.2} ms", own.median);
    println!("  ip -batch, nft -j -f  {:6.2} ms", theirs.median);
    println!("  ratio                 {:6.2} ({:.2} to {:.2})", ratio.median, ratio.lower, ratio.upper);
    if let Some(path) = &options.json {
        let text = json!({"firn": own.json(), "ip_and_nft": theirs.json(), "ratio": ratio.json()});
        std::fs::write(path, format!("{text:#}\n"))?;
    }
    if let Some(docs) = &options.docs {
        parts::write(Part::Network, &text(&own, &theirs, &ratio, options.rounds), docs)?;
    }
    if ratio.median > MOST {
        return Err(
            format!("firn-network takes {:.2} times as long, and at most {MOST} is wanted", ratio.median).into()
        );
    }
    Ok(())
}

const TEXT: &str = "
`cargo xtask bench network` writes this part: a veth pair with an address on each side, routes both ways and one forwarded port, made by `firn-network` for one container, and in turns by two runs of `ip -batch` and one of `nft -j -f -` with the same rules. The ratio is the median of those of the same round, with its quartiles.
";

fn text(own: &Summary, theirs: &Summary, ratio: &Summary, rounds: usize) -> String {
    let machine = Machine::here();
    let row = |name: &str, ratio: String, times: &Summary| {
        let times = [times.min, times.median, times.p90].map(|time| format!("{time:.2}"));
        [name.to_owned(), ratio].into_iter().chain(times).collect::<Vec<_>>()
    };
    let spread = format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.lower, ratio.upper);
    let rows = [row("firn-network", spread, own), row("ip and nft", "1".into(), theirs)];
    let table = table::table(&["", "ratio to ip and nft (quartiles)", "min ms", "median ms", "90 % ms"], &rows);
    format!("{TEXT}\n{}: Linux {}; {rounds} rounds.\n\n{table}", machine.date, machine.kernel)
}

impl Stand {
    fn new(scratch: &Path) -> Result<Self> {
        let name = |end: &str| format!("firn-bench-{}-{end}", std::process::id());
        let host = name("host");
        run(Command::new("ip").args(["netns", "add", &host]))?;
        let namespace = File::open(Path::new("/run/netns").join(&host))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        // There is none before: what it clears is in that namespace.
        let stand = Stand { scratch: scratch.into(), host, inside: name("inside"), sleeper: None };
        let message = json!({
            "version": 1, "container": "bench", "pin": scratch.join("networks/bench"), "table": "firn-bench",
            "veths": [{
                "host": {"name": "ve-bench", "mac": [2, 0, 0, 0, 0, 1]},
                "inside": {"name": "eth0", "mac": [2, 0, 0, 0, 0, 2]},
                "hostAddresses": ["10.1.1.1"], "addresses": [["10.1.1.2", 32]], "peers": ["10.1.1.1"],
                "gateways": ["10.1.1.1"], "reachesLocalhost": true,
            }],
            "ports": [{"protocol": "tcp", "hostPort": 8080, "address": "10.1.1.2", "port": 80}],
        });
        std::fs::write(stand.message(), message.to_string())?;
        std::fs::write(scratch.join("host.batch"), HOST.replace("INSIDE", &stand.inside))?;
        std::fs::write(scratch.join("inside.batch"), INSIDE)?;
        Ok(stand)
    }

    fn message(&self) -> PathBuf {
        self.scratch.join("network.json")
    }

    /// Nothing is there but a container's namespace.
    fn fresh(&mut self) -> Result<()> {
        self.clear();
        run(Command::new("ip").args(["netns", "add", &self.inside]))?;
        let path = Path::new("/run/netns").join(&self.inside);
        let mut sleeper = Command::new("nsenter");
        // It says when it is there.
        sleeper.arg(format!("--net={}", path.display())).args(["sh", "-c", "echo; exec sleep 1000"]);
        let sleeper = self.sleeper.insert(sleeper.stdout(Stdio::piped()).spawn()?);
        let mut line = [0];
        std::io::Read::read_exact(&mut sleeper.stdout.take().ok_or("no stdout")?, &mut line)?;
        Ok(())
    }

    fn clear(&mut self) {
        if let Some(mut sleeper) = self.sleeper.take() {
            let _ = Command::new(program()).arg("down").arg(self.message()).stderr(Stdio::null()).status();
            let _ = sleeper.kill().and_then(|()| sleeper.wait());
            let _ = Command::new("ip").args(["netns", "delete", &self.inside]).status();
        }
        for (name, words) in
            [("ip", &["link", "delete", "ve-bench"][..]), ("nft", &["delete", "table", "inet", "firn-bench"])]
        {
            let _ = Command::new(name).args(words).stderr(Stdio::null()).status();
        }
    }

    /// What nft is told, by an nft that keeps it.
    fn rules(&mut self) -> Result<Vec<u8>> {
        let (programs, kept) = (self.scratch.join("programs"), self.scratch.join("rules"));
        std::fs::create_dir(&programs)?;
        let nft = programs.join("nft");
        std::fs::write(&nft, format!("#!/bin/sh\nexec cat >'{}'\n", kept.display()))?;
        run(Command::new("chmod").arg("+x").arg(&nft))?;
        self.fresh()?;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut up = self.up()?;
        up.0.env("PATH", format!("{}:{path}", programs.display()));
        timed(up)?;
        Ok(std::fs::read(kept)?)
    }

    fn up(&self) -> Result<(Command, Vec<u8>)> {
        let mut up = Command::new(program());
        up.arg("up").arg(self.message());
        let pid = self.sleeper.as_ref().map(Child::id).ok_or("no process")?;
        Ok((up, json!({"pid": pid}).to_string().into_bytes()))
    }

    fn firn(&self) -> Result<f64> {
        timed(self.up()?)
    }

    fn others(&self, rules: &[u8]) -> Result<f64> {
        let mut host = Command::new("ip");
        host.arg("-batch").arg(self.scratch.join("host.batch"));
        let mut inside = Command::new("ip");
        inside.args(["-netns", &self.inside, "-batch"]).arg(self.scratch.join("inside.batch"));
        let mut nft = Command::new("nft");
        nft.args(["-j", "-f", "-"]);
        Ok(timed((host, Vec::new()))? + timed((inside, Vec::new()))? + timed((nft, rules.to_vec()))?)
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.clear();
        let _ = Command::new("ip").args(["netns", "delete", &self.host]).status();
    }
}

/// Beside this one.
fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_default().with_file_name("firn-network")
}

/// Milliseconds until it has ended.
fn timed((mut command, input): (Command, Vec<u8>)) -> Result<f64> {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&input)?;
    }
    let status = child.wait()?;
    let milliseconds = began.elapsed().as_secs_f64() * 1000.0;
    if status.success() { Ok(milliseconds) } else { Err(format!("{command:?}: {status}").into()) }
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}
