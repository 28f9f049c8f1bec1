//! Who unpacks an image, and by which command.

use super::input::Input;
use super::stage::Stage;
use crate::Result;
use std::path::PathBuf;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Layout,
    Registry,
}

impl Source {
    pub fn name(self) -> &'static str {
        match self {
            Source::Layout => "from a layout",
            Source::Registry => "from a registry",
        }
    }
}

type Words = fn(&Stage, &Input, Source) -> Vec<String>;

pub struct Subject {
    pub name: &'static str,
    pub words: Words,
    /// Works in a daemon, which is started before.
    pub daemon: Option<fn(&mut Stage) -> Result<Daemon>>,
    program: &'static str,
}

const fn command(name: &'static str, program: &'static str, words: Words) -> Subject {
    Subject { name, words, daemon: None, program }
}

pub const SUBJECTS: [Subject; 9] = [
    command("floor: decompress", "", |_, input, _| floor("decompress", None, &input.blobs)),
    command("floor: write", "", |stage, input, _| floor("write", Some(&stage.target), &input.tars)),
    command("firn-image", "", firn_image),
    command("pigz and tar", "pigz", pigz),
    command("umoci", "umoci", umoci),
    command("podman", "podman", podman),
    command("buildah", "buildah", buildah),
    command("skopeo", "skopeo", skopeo),
    Subject { name: "containerd", words: ctr, daemon: Some(Daemon::start), program: "containerd" },
];

impl Subject {
    pub fn is_installed(&self) -> bool {
        let dirs = ["/usr/local/bin", "/usr/bin"];
        self.program.is_empty() || dirs.iter().any(|dir| std::path::Path::new(dir).join(self.program).exists())
    }
}

/// The shell's `script`, with these arguments.
fn shell(script: &str, arguments: &[&str]) -> Vec<String> {
    ["/bin/sh", "-c", script, "sh"].iter().chain(arguments).map(|word| (*word).to_owned()).collect()
}

fn floor(word: &str, target: Option<&PathBuf>, files: &[PathBuf]) -> Vec<String> {
    let program = std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default();
    let mut words = vec![program, "floor".into(), word.into()];
    words.extend(target.into_iter().chain(files).map(|path| path.display().to_string()));
    words
}

/// As skopeo and podman name it.
fn reference(stage: &Stage, input: &Input, source: Source) -> String {
    match (source, &stage.registry) {
        (Source::Registry, Some(registry)) => registry.reference(input),
        _ => format!("oci:{}:v", input.layout.display()),
    }
}

fn firn_image(stage: &Stage, input: &Input, source: Source) -> Vec<String> {
    let target = stage.target.display();
    let program = stage.firn_image.display().to_string();
    let (store, output) = (format!("{target}/layers"), format!("{target}/bundle"));
    [&program, "bundle", &reference(stage, input, source), "--layer-store", &store, "--output", &output]
        .map(str::to_owned)
        .into()
}

/// The layers beside each other, with one sync at the end: no digest, no whiteout, no links checked.
fn pigz(stage: &Stage, input: &Input, _: Source) -> Vec<String> {
    let script = "target=$1; shift; printf '%s\\0' \"$@\" | xargs -0 -n 1 -P \"$(nproc)\" sh -c \
                  'top=\"$0/${1##*/}\"; mkdir \"$top\" && pigz -dc \"$1\" | tar -x -C \"$top\"' \"$target\" && \
                  sync -f \"$target\"";
    let mut words = shell(script, &[&stage.target.to_string_lossy()]);
    words.extend(input.blobs.iter().map(|blob| blob.display().to_string()));
    words
}

fn umoci(stage: &Stage, input: &Input, source: Source) -> Vec<String> {
    let target = stage.target.display();
    match source {
        Source::Layout => shell(
            "exec umoci unpack --image \"$1\" \"$2\" >/dev/null 2>&1",
            &[&format!("{}:v", input.layout.display()), &format!("{target}/bundle")],
        ),
        Source::Registry => shell(
            "cd \"$1\" && skopeo --insecure-policy copy -q --src-tls-verify=false \"$2\" oci:layout:v >/dev/null && \
             exec umoci unpack --image layout:v bundle >/dev/null 2>&1",
            &[&target.to_string(), &reference(stage, input, source)],
        ),
    }
}

fn podman(stage: &Stage, input: &Input, source: Source) -> Vec<String> {
    let script = "exec podman --root \"$1/storage\" --runroot \"$1/run\" --storage-driver overlay pull -q \
                  --tls-verify=false \"$2\" >/dev/null";
    shell(script, &[&stage.target.to_string_lossy(), &reference(stage, input, source)])
}

fn buildah(stage: &Stage, input: &Input, source: Source) -> Vec<String> {
    let script = "exec buildah --root \"$1/storage\" --runroot \"$1/run\" --storage-driver overlay from -q \
                  --tls-verify=false \"$2\" >/dev/null";
    shell(script, &[&stage.target.to_string_lossy(), &reference(stage, input, source)])
}

fn skopeo(stage: &Stage, input: &Input, source: Source) -> Vec<String> {
    let script = "exec skopeo --insecure-policy copy -q --src-tls-verify=false \"$2\" \
                  \"containers-storage:[overlay@$1/storage+$1/run]localhost/image:v\" >/dev/null";
    shell(script, &[&stage.target.to_string_lossy(), &reference(stage, input, source)])
}

/// From a layout: containerd takes it as a tar file only.
fn ctr(stage: &Stage, input: &Input, source: Source) -> Vec<String> {
    let socket = format!("{}/sock", stage.target.display());
    match source {
        Source::Layout => shell(
            "exec ctr --address \"$1\" images import \"$2\" >/dev/null",
            &[&socket, &input.archive.to_string_lossy()],
        ),
        Source::Registry => {
            let name = reference(stage, input, source).trim_start_matches("docker://").to_owned();
            shell("exec ctr --address \"$1\" images pull --plain-http \"$2\" >/dev/null", &[&socket, &name])
        }
    }
}

/// containerd, in the place where commands run.
pub struct Daemon {
    pid: String,
}

impl Daemon {
    fn start(stage: &mut Stage) -> Result<Self> {
        let script = "cd \"$1\" || exit; echo 'version = 2
            disabled_plugins = [\"io.containerd.grpc.v1.cri\"]' > config
            containerd --config config --root \"$1/root\" --state \"$1/state\" --address \"$1/sock\" >log 2>&1 &
            echo $! > pid; for i in $(seq 100); do
            ctr --address \"$1/sock\" version >/dev/null 2>&1 && cp pid \"$2/pid\" && exit; sleep 0.1; done; exit 1";
        let words = shell(script, &[&stage.target.to_string_lossy(), &stage.scratch.to_string_lossy()]);
        if stage.place.run(&words)?.status != 0 {
            return Err("containerd does not start".into());
        }
        Ok(Self { pid: std::fs::read_to_string(stage.scratch.join("pid"))?.trim().to_owned() })
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.pid)).unwrap_or_default()
    }

    /// Of all its threads, and of children that it waited for.
    pub fn cpu_milliseconds(&self) -> f64 {
        let stat = self.file("stat");
        // utime, stime, cutime, cstime in ticks of 10 ms, after the name in brackets.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() * 10.0
    }

    pub fn peak_kib(&self) -> u64 {
        let status = self.file("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = std::process::Command::new("kill").arg(&self.pid).status();
        // Its mounts are gone with it; a zombie of another process counts as gone.
        for _ in 0..200 {
            let gone = self
                .file("stat")
                .rsplit(')')
                .next()
                .is_none_or(|rest| rest.trim().is_empty() || rest.starts_with(" Z"));
            if gone {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
