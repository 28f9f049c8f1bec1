//! `cargo xtask demo`: firn's parts, shown at work on this machine. Leaves
//! nothing behind.

use crate::Result;
use crate::build::release;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What is shown, in order.
pub fn run() -> Result<()> {
    if !is_root()? {
        return Err("the demo makes containers: run it as root (sudo cargo xtask demo)".into());
    }
    println!("building firn (a few minutes the first time)");
    let demo = Demo::new(release()?)?;
    demo.layers()?;
    demo.kept()?;
    demo.closure()?;
    demo.podman()
}

fn is_root() -> Result<bool> {
    let output = Command::new("id").arg("-u").output()?;
    Ok(output.stdout == b"0\n")
}

struct Demo {
    bin: PathBuf,
    directory: PathBuf,
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Whatever was cut off: containers first, then their directories.
        for name in ["layers", "kept", "closure"] {
            let id = self.id(name);
            let _ = Command::new(self.bin.join("firn")).args(["delete", "--force", &id]).output();
            let _ = std::fs::remove_dir_all(Path::new("/run/firn/shim").join(&id));
        }
        // podman's own clean-up may still be at work in its directories.
        for _ in 0..40 {
            if std::fs::remove_dir_all(&self.directory).is_ok() || !self.directory.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // Only if nobody else's containers are there.
        for dir in ["/run/firn/shim", "/run/firn"] {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

impl Demo {
    fn new(bin: PathBuf) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("firn-demo-{}", std::process::id()));
        for (dir, file, text) in [("base", "motd", "from the lower layer\n"), ("top", "motd", "from the upper layer\n")]
        {
            std::fs::create_dir_all(directory.join(dir).join("etc"))?;
            std::fs::write(directory.join(dir).join("etc").join(file), text)?;
        }
        std::fs::create_dir_all(directory.join("base/bin"))?;
        std::fs::copy(bin.join("firn-inside"), directory.join("base/bin/firn-inside"))?;
        Ok(Demo { bin, directory })
    }

    fn id(&self, name: &str) -> String {
        format!("firn-demo-{name}-{}", std::process::id())
    }

    fn firn(&self, args: &[&str]) -> Result<String> {
        output(Command::new(self.bin.join("firn")).args(args))
    }

    fn bundle(&self, name: &str, args: &[&str]) -> Result<PathBuf> {
        let bundle = self.directory.join(self.id(name));
        let begun = Instant::now();
        let mut image = Command::new(self.bin.join("firn-image"));
        output(image.current_dir(&self.directory).arg("bundle").arg("--output").arg(&bundle).args(args))?;
        took("bundle", begun);
        Ok(bundle)
    }

    /// Two layers under a tmpfs: ready, exec, a restart on a fresh root, stop.
    fn layers(&self) -> Result<()> {
        title("A container from two layers, under a fresh tmpfs");
        let bundle =
            self.bundle("layers", &["--layer", "base", "--layer", "top", "--", "/bin/firn-inside", "starts"])?;
        let id = self.id("layers");
        let mut monitor = Monitor::start(&self.bin, &bundle)?;
        monitor.wait_for("is ready")?;
        self.show_exec(&id, &["/bin/firn-inside", "facts"])?;
        self.show_exec(&id, &["/bin/firn-inside", "cat", "/etc/motd"])?;
        self.restart(&id, &mut monitor)?;
        self.expect_exec(&id, &["/bin/firn-inside", "cat", "/starts"], "1\n")?;
        println!("  the root is new: what was written before is gone");
        monitor.stop()
    }

    /// The same with a directory, which a restart keeps.
    fn kept(&self) -> Result<()> {
        title("The same layers, with a directory that is kept");
        let upper = self.directory.join("upper");
        std::fs::create_dir(&upper)?;
        let upper = upper.to_string_lossy().into_owned();
        let words = ["--layer", "base", "--layer", "top", "--upper", &upper, "--", "/bin/firn-inside", "starts"];
        let bundle = self.bundle("kept", &words)?;
        let id = self.id("kept");
        let mut monitor = Monitor::start(&self.bin, &bundle)?;
        monitor.wait_for("is ready")?;
        // Ready means that the program has been executed, not that it has counted yet.
        self.expect_exec(&id, &["/bin/firn-inside", "cat", "/starts"], "1\n")?;
        self.restart(&id, &mut monitor)?;
        self.expect_exec(&id, &["/bin/firn-inside", "cat", "/starts"], "2\n")?;
        println!("  the root is the same: it has been started twice");
        monitor.stop()
    }

    /// The closure of a store path, from a store that the demo makes: a list of store paths
    /// stands for Nix.
    fn closure(&self) -> Result<()> {
        title("A container from the closure of a store path");
        let system = self.store()?;
        let store = self.directory.join("nix/store");
        let (store, list) = (store.to_string_lossy(), self.directory.join("store-paths"));
        let words = ["--closure", &system, "--store", &store, "--store-paths", &list.to_string_lossy()];
        let bundle = self.bundle("closure", &[&words[..], &["--", "firn-inside", "starts"]].concat())?;
        let id = self.id("closure");
        let mut monitor = Monitor::start(&self.bin, &bundle)?;
        monitor.wait_for("is ready")?;
        self.show_exec(&id, &[&format!("{system}/bin/firn-inside"), "ls", "/nix/store"])?;
        println!("  and nothing else of the store, which has {} paths", std::fs::read_dir(&*store)?.count());
        self.show_exec(&id, &[&format!("{system}/bin/firn-inside"), "cat", &format!("{system}/greeting")])?;
        self.restart(&id, &mut monitor)?;
        monitor.stop()
    }

    /// A store of three store paths: a program, a system that refers to it, and one that nobody
    /// refers to. The closure of the system, which is returned, is listed in `store-paths`.
    fn store(&self) -> Result<String> {
        let path = |hash: char, name: &str| format!("/nix/store/{}-{name}", hash.to_string().repeat(32));
        let place = |path: &str| self.directory.join(path.trim_start_matches('/'));
        let (tools, system, other) = (path('a', "tools"), path('b', "system"), path('c', "other"));
        std::fs::create_dir_all(place(&tools).join("bin"))?;
        std::fs::copy(self.bin.join("firn-inside"), place(&tools).join("bin/firn-inside"))?;
        std::fs::create_dir_all(place(&system))?;
        std::os::unix::fs::symlink(format!("{tools}/bin"), place(&system).join("bin"))?;
        std::fs::write(place(&system).join("greeting"), "hello from the closure\n")?;
        std::fs::create_dir_all(place(&other))?;
        std::fs::write(self.directory.join("store-paths"), format!("{tools}\n{system}\n"))?;
        Ok(system)
    }

    fn podman(&self) -> Result<()> {
        title("podman, with firn as its runtime");
        if !found("podman") {
            return skipped("podman is not installed");
        }
        let conf = self.directory.join("containers.conf");
        // A container's limits can't be above the caller's own.
        std::fs::write(
            &conf,
            "[containers]\ndefault_ulimits=[\"nofile=1024:1024\",\"nproc=1024:1024\"]\n[engine]\nevents_logger=\"none\"\nruntime_supports_json=[\"firn\"]\n",
        )?;
        let storage = self.directory.join("storage");
        let mut podman = Command::new("podman");
        podman.env("CONTAINERS_CONF", &conf).arg("--runtime").arg(self.bin.join("firn"));
        podman.arg("--root").arg(&storage).arg("--runroot").arg(self.directory.join("runroot"));
        podman.arg("--tmpdir").arg(self.directory.join("tmp")).args([
            "--cgroup-manager",
            "cgroupfs",
            "--storage-driver",
            "vfs",
        ]);
        podman.args(["run", "--rm", "--network", "none", "--rootfs"]).arg(self.directory.join("base"));
        podman.args(["/bin/firn-inside", "facts"]);
        let begun = Instant::now();
        print!("{}", indented(&output(&mut podman)?));
        took("podman run", begun);
        Ok(())
    }

    fn restart(&self, id: &str, monitor: &mut Monitor) -> Result<()> {
        let begun = Instant::now();
        self.firn(&["kill", id, "RTMIN+5"])?;
        monitor.wait_for("starting it again")?;
        monitor.wait_for("is ready")?;
        took("init exits 133, and is ready again", begun);
        Ok(())
    }

    fn show_exec(&self, id: &str, command: &[&str]) -> Result<()> {
        let begun = Instant::now();
        let text = self.firn(&[&["exec", id], command].concat())?;
        took(&format!("exec {}", command.join(" ")), begun);
        print!("{}", indented(&text));
        Ok(())
    }

    /// Waits until a command inside says what it should: a program that was
    /// just started may not have got there yet.
    fn expect_exec(&self, id: &str, command: &[&str], wanted: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let text = self.firn(&[&["exec", id], command].concat()).unwrap_or_else(|error| error.to_string());
            if text == wanted {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{} says {text:?}, not {wanted:?}", command.join(" ")).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A monitor that runs in the background, and what it says.
struct Monitor {
    child: Child,
    lines: BufReader<std::process::ChildStderr>,
    begun: Instant,
}

impl Monitor {
    fn start(bin: &Path, bundle: &Path) -> Result<Self> {
        let begun = Instant::now();
        let mut shim = Command::new(bin.join("firn-shim"));
        let mut child =
            shim.arg("run").arg(bundle).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stderr.take().ok_or("the monitor has no stderr")?);
        Ok(Monitor { child, lines, begun })
    }

    fn wait_for(&mut self, words: &str) -> Result<()> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line)? == 0 {
                return Err(format!("the monitor ended before it said {words:?}: {}", self.child.wait()?).into());
            }
            print!("  {line}");
            if line.contains(words) {
                return Ok(());
            }
        }
    }

    /// SIGTERM to the monitor, which sends SIGRTMIN+3 to init.
    fn stop(mut self) -> Result<()> {
        let begun = Instant::now();
        output(Command::new("kill").arg(self.child.id().to_string()))?;
        let status = self.child.wait()?;
        took("stop by SIGRTMIN+3", begun);
        if !status.success() {
            return Err(format!("the monitor ended with {status} after a stop").into());
        }
        println!("  exit status 0, after {} ms in all", self.begun.elapsed().as_millis());
        Ok(())
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
            let _ = self.child.wait();
        }
    }
}

fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().map_err(|e| format!("{name}: {e}"))?;
    if !status.success() {
        return Err(format!("{name}: {status}: {}", String::from_utf8_lossy(&stderr).trim()).into());
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).exists())
}

fn title(text: &str) {
    println!("\n{text}");
}

fn took(what: &str, begun: Instant) {
    println!("  {:>8.1} ms  {what}", begun.elapsed().as_secs_f64() * 1000.0);
}

fn skipped(reason: &str) -> Result<()> {
    println!("  left out: {reason}");
    Ok(())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("              {line}\n")).collect()
}
