//! `firnctl config`, by the real program.

use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A directory that goes with the test.
struct Project(PathBuf);

impl Project {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("firnctl-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("make a directory");
        Project(dir.canonicalize().expect("resolve it"))
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("make a directory");
        std::fs::write(path, text).expect("write");
    }

    fn call(&self, args: &[&str], input: &str) -> Output {
        let mut firnctl = Command::new(env!("CARGO_BIN_EXE_firnctl"));
        let firnctl = firnctl.args(args).current_dir(&self.0);
        let firnctl = firnctl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = firnctl.spawn().expect("run firnctl");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("write to firnctl");
        child.wait_with_output().expect("wait for firnctl")
    }

    #[track_caller]
    fn succeeds(&self, args: &[&str], input: &str) -> String {
        let output = self.call(args, input);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{args:?}: {stderr}");
        assert_eq!(stderr, "", "{args:?}");
        stdout.into_owned()
    }

    #[track_caller]
    fn fails(&self, args: &[&str], input: &str) -> String {
        let output = self.call(args, input);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    #[track_caller]
    fn shown(&self, args: &[&str], input: &str) -> Value {
        let text = self.succeeds(&[&["config", "show", "--json"], args].concat(), input);
        serde_json::from_str(&text).expect("JSON")
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The example of the README.
const EXAMPLE: &str = r#"
[containers.db]
rootFS = ["./debian", "./db"]
[containers.web]
path = "./result"
dependsOn = ["db"]
privateNetwork = true
hostAddress = "10.233.1.1"
localAddress = "10.233.1.2"
forwardPorts = [{ hostPort = 8080, containerPort = 80 }]
bindMounts."/data" = { hostPath = "./data", isReadOnly = false }
"#;

#[test]
fn a_project_is_found_from_below_and_its_paths_count_from_its_directory() {
    let project = Project::new("found");
    project.file("firn.toml", EXAMPLE);
    assert_eq!(project.succeeds(&["config", "check"], ""), "firn.toml: 2 containers, no mistakes\n");
    let dir = project.0.to_str().expect("UTF-8");
    let wanted = json!({"containers": {
        "db": {"rootFS": [format!("{dir}/debian"), format!("{dir}/db")]},
        "web": {
            "path": format!("{dir}/result"),
            "dependsOn": ["db"],
            "privateNetwork": true,
            "hostAddress": "10.233.1.1",
            "localAddress": "10.233.1.2",
            "forwardPorts": [{"protocol": "tcp", "hostPort": 8080, "containerPort": 80}],
            "bindMounts": {"/data": {"hostPath": format!("{dir}/data"), "isReadOnly": false}},
        },
    }});
    assert_eq!(project.shown(&[], ""), wanted);
    project.file("below/x", "");
    let below = Project(project.0.join("below"));
    assert_eq!(below.shown(&[], ""), wanted);
    // What is shown is a definition again, in both languages.
    let toml = project.succeeds(&["config", "show"], "");
    project.file("shown.toml", &toml);
    assert_eq!(project.shown(&["shown.toml"], ""), wanted);
    assert_eq!(project.shown(&["-"], &wanted.to_string()), wanted);
}

#[test]
fn without_a_project_the_error_says_what_to_do() {
    let project = Project::new("none");
    let told = project.fails(&["config", "check"], "");
    assert!(told.contains("there is no firn.toml in") && told.contains("name a file"), "{told}");
    assert!(project.fails(&["config", "check", "absent.toml"], "").contains("No such file"));
    project.file("x.yaml", "");
    assert!(project.fails(&["config", "check", "x.yaml"], "").contains("ends in .toml, .json, .nix or .conf"));
}

/// A definition with more than thirty kinds of mistakes; each line that has one ends with what is
/// told of it.
const MISTAKES: &str = r#"[containers."bad name"] #! ' ' can't be in the name of a container
rootFS = ["./r"]
[containers.empty] #! nothing to run: give path (a NixOS system), flake or rootFS (layers)
[containers.both]
path = "./result"
rootFS = ["./r"] #! path is set too
[containers.flaky]
path = "./result"
flake = "." #! the options path and flake cannot both be set
[containers.types]
rootFS = "./r" #! must be a list of strings
privateNetwork = "yes" #! must be true or false
hostAdress = "10.0.0.1" #! no such option; did you mean hostAddress?
restart = "allways" #! did you mean always?
pids = 0 #! must be a whole number from 1
timeoutStartSec = "soon" #! is no time: write it as 90, 1min 30s or infinity
memory = "lots" #! is no size: write it as 512M
cpus = 0.0 #! must be at least 0.01
[containers.net]
rootFS = ["./r"]
hostAddress = "10.0.0.1" #! needs privateNetwork = true
[containers.addresses]
rootFS = ["./r"]
privateNetwork = true
hostAddress = "10.0.1.1/24" #! must have no prefix here: write 10.0.1.1
localAddress = "fc00::1" #! must be an IPv4 address
localAddress6 = "::1" #! is a loopback address
localMacAddress = "01:00:00:00:00:00" #! is a multicast address
hostBridge = "a-bridge-with-a-long-name" #! longer than the 15 bytes
[containers.ports]
rootFS = ["./r"]
privateNetwork = true
forwardPorts = [{ hostPort = 80 }] #! needs localAddress, localAddress6 or hostBridge
[containers.joined]
rootFS = ["./r"]
networkNamespace = "/run/netns/wg" #! interfaces is set too
interfaces = ["eth1"]
[containers.files]
rootFS = ["./r"]
tmpfs = ["/data", "relative"] #! "relative" must be an absolute path
bindMounts."/data" = {}
bindMounts."/a/../b" = {} #! must have no ".."
bindMounts."/" = { hostPath = "/x" } #! can't be mounted over the container's root
volumes = [":/x"] #! must be SOURCE or SOURCE:/MOUNT/POINT
[containers.rights]
rootFS = ["./r"]
additionalCapabilities = ["NET_ADMN"] #! did you mean CAP_NET_ADMIN?
allowedDevices = [{ node = "/dev/fuse", modifier = "x" }] #! must be some of r (read)
privateUsers = 7 #! lies among the host's own ids
sshKeys.root = ["command=\"x\" ssh-ed25519 AAAA"] #! without options
environment."A=B" = "" #! can't be the name of an environment variable
[containers.order]
rootFS = ["./r"]
dependsOn = ["oder"] #! there is no container "oder" here; did you mean order?
[containers.circle-a]
rootFS = ["./r"]
dependsOn = ["circle-b"] #! waits for itself: circle-a → circle-b → circle-a
[containers.circle-b]
rootFS = ["./r"]
dependsOn = ["circle-a"]
[containers.kept]
rootFS = ["./r"]
ephemeral = true
persistent = true #! ephemeral is set too
[containers.wan]
rootFS = ["./r"]
extra.enableWAN = true #! needs localAddress, or extra.addressPrefix
extra.addresPrefix = "10.1.1" #! no such option; did you mean addressPrefix?
[containers.many]
rootFS = ["./r"]
instances = 2
privateNetwork = true
localAddress = "10.0.9.2" #! is the address of container many-1 already: write %i
[container] #! no such key; did you mean containers?
"#;

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let project = Project::new("mistakes");
    project.file("firn.toml", MISTAKES);
    let told = project.fails(&["config", "check"], "");
    let mut wanted = 0;
    for (number, line) in MISTAKES.lines().enumerate() {
        let place = format!("firn.toml:{}:", number + 1);
        let mine: Vec<&str> = told.lines().filter(|told| told.starts_with(&place)).collect();
        match line.split_once("#! ") {
            Some((_, message)) => {
                assert!(mine.iter().any(|told| told.contains(message)), "line {}: {line}\n{told}", number + 1);
                wanted += 1;
            }
            None => assert_eq!(mine, Vec::<&str>::new(), "line {}: {line}", number + 1),
        }
    }
    assert!(wanted > 30, "{wanted}");
    assert!(told.ends_with("mistakes\n"), "{told}");
}

#[test]
fn a_mistake_in_json_has_its_place_and_a_form_for_programs() {
    let project = Project::new("json");
    project.file("c.json", "{\n  \"containers\": {\n    \"web\": {\"rootFS\": [\"./r\"], \"pids\": -1}\n  }\n}\n");
    let output = project.call(&["config", "check", "--json", "c.json"], "");
    assert_eq!(output.status.code(), Some(1));
    let mistakes: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        mistakes,
        json!([{
            "file": "c.json",
            "line": 3,
            "column": 32,
            "option": "containers.web.pids",
            "message": "must be a whole number from 1 to 4194304, not -1",
        }])
    );
    let told = project.fails(&["config", "check", "-"], "{\"containers\": {\"web\": {}}}");
    assert!(told.starts_with("standard input:1:17: containers.web: nothing to run"), "{told}");
}

#[test]
fn errors_of_the_language_have_a_place_too() {
    let project = Project::new("syntax");
    project.file("firn.toml", "a = \n[containers.web]\npath = \n");
    let told = project.fails(&["config", "check"], "");
    for line in [1, 3] {
        assert!(told.lines().any(|told| told.starts_with(&format!("firn.toml:{line}:"))), "{told}");
    }
    project.file("c.json", "{\"containers\": {},}");
    assert!(project.fails(&["config", "check", "c.json"], "").starts_with("c.json:1:1"), "a trailing comma");
}

#[test]
fn instances_are_containers_of_their_own() {
    let project = Project::new("instances");
    project.file("firn.toml", "[containers.w]\nrootFS = [\"./r\"]\ninstances = 3\nextra.addressPrefix = \"10.9.%i\"\n");
    let shown = project.shown(&[], "");
    let names: Vec<&String> = shown["containers"].as_object().expect("an object").keys().collect();
    assert_eq!(names, ["w-1", "w-2", "w-3"]);
    assert_eq!(shown["containers"]["w-2"]["extra"]["addressPrefix"], "10.9.2");
}

#[test]
fn nix_expressions_are_evaluated_by_nix() {
    assert!(
        Command::new("nix-instantiate").arg("--version").output().is_ok(),
        "nix-instantiate is missing: install Debian's package nix-bin"
    );
    let project = Project::new("nix");
    let expression = "{ containers.web = { rootFS = [ (toString ./r) ]; pids = 10 + 2; }; }";
    let dir = project.0.to_str().expect("UTF-8");
    let wanted = json!({"containers": {"web": {"rootFS": [format!("{dir}/r")], "pids": 12}}});
    assert_eq!(project.shown(&["-E", expression], ""), wanted);
    assert_eq!(project.shown(&["-"], expression), wanted);
    project.file("default.nix", expression);
    assert_eq!(project.shown(&["."], ""), wanted);
    let told = project.fails(&["config", "check", "-E", "{ containers.web = { pid = 1; rootFS = [ \"r\" ]; }; }"], "");
    assert!(told.starts_with("-E: containers.web.pid: no such option; did you mean pids?"), "{told}");
    let told = project.fails(&["config", "check", "-E", "{ a = b; }"], "");
    assert!(told.contains("-E: Nix can't evaluate it: undefined variable 'b'"), "{told}");
}

#[test]
fn the_schema_is_one_and_names_every_option() {
    let project = Project::new("schema");
    let schema: Value = serde_json::from_str(&project.succeeds(&["config", "schema"], "")).expect("JSON");
    let options = &schema["properties"]["containers"]["additionalProperties"]["properties"];
    for option in ["path", "rootFS", "privateNetwork", "hostAddress6", "forwardPorts", "volumes-ro", "ociConfig"] {
        assert!(options[option]["description"].is_string(), "{option}: {}", options[option]);
    }
    assert_eq!(options["copyResolvConf"]["default"], true);
}

#[test]
fn a_conf_of_nixos_containers_is_a_definition_too() {
    let project = Project::new("conf");
    project.file("web.conf", "SYSTEM_PATH=/nix/store/x\nPRIVATE_NETWORK=0\nLOCAL_ADDRESS=10.233.1.2\n");
    let error = project.fails(&["config", "check", "web.conf"], "");
    // Found by its meaning, and told where it stands.
    assert!(error.starts_with("web.conf:3:1: containers.web.localAddress: needs privateNetwork = true"), "{error}");
    project.file("web.conf", "SYSTEM_PATH=/nix/store/x\nHOST_ADDRESS=\nEXTRA_NSPAWN_FLAGS=--bind-ro=/srv\n");
    let expected = json!({"path": "/nix/store/x", "bindMounts": {"/srv": {"hostPath": "/srv"}}});
    assert_eq!(project.shown(&["web.conf"], "")["containers"]["web"], expected);
}

#[test]
fn containers_of_nixos_container_are_imported() {
    let project = Project::new("import");
    project.file("confs/web.conf", "PRIVATE_NETWORK=1\nHOST_ADDRESS=10.233.1.1\nLOCAL_ADDRESS=10.233.1.2\nHOST_PORT=\nSYSTEM_PATH=/nix/system\nFLAKE=path:/f\n");
    project.file("confs/db.conf", "FLAKE=path:/f#db\nAUTO_START=1\n");
    project.file("confs/libpod.conf", "[engine]\n");
    project.file("more/db.conf", "FLAKE=path:/other\n");
    let text = project.succeeds(&["config", "import", "confs", "more/db.conf"], "");
    // It is what `up` reads.
    project.file("firn.toml", &text);
    let shown = project.shown(&["firn.toml"], "");
    let expected = json!({
        "web": {"privateNetwork": true, "hostAddress": "10.233.1.1", "localAddress": "10.233.1.2", "path": "/nix/system"},
        "db": {"flake": "path:/f#db", "autoStart": true},
    });
    assert_eq!(shown["containers"], expected);
    let json = project.succeeds(&["config", "import", "--json", "confs"], "");
    assert_eq!(serde_json::from_str::<Value>(&json).expect("JSON")["containers"], expected);
    // Mistakes of all files are told.
    project.file("confs/bad.conf", "HOST_ADRESS=1\n");
    project.file("confs/worse.conf", "AUTO_START=maybe\n");
    let error = project.fails(&["config", "import", "confs"], "");
    assert!(
        error.contains("confs/bad.conf:1:1: no such variable") && error.contains("worse.conf:1:1: \"maybe\""),
        "{error}"
    );
    let error = project.fails(&["config", "import", "."], "");
    assert!(error.contains("there are no containers of nixos-container"), "{error}");
}
