//! Pods as Kubernetes makes them: containerd's CRI plugin, driven over its socket
//! as a kubelet does, with firn as the runtime. What it answers is the same as with
//! runc.

mod client;
mod node;
mod pod;
mod security;
mod stream;

use firn_conformance::harness::Output;
use node::{Node, RUNTIMES};
use pod::{Container, Pod, text};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use stream::{STDIN, Stream};

/// A pod with each runtime: the scenario's answers are equal. Afterwards the pod
/// is removed, and nothing of it is left.
#[track_caller]
fn same(node: &Node, scenario: impl Fn(&Pod) -> Value) -> Value {
    same_with(node, &json!({}), scenario)
}

/// The pod has that security context.
#[track_caller]
fn same_with(node: &Node, context: &Value, scenario: impl Fn(&Pod) -> Value) -> Value {
    let [firn, runc] = RUNTIMES.map(|runtime| {
        let pod = Pod::run(node, runtime, context);
        let answers = scenario(&pod);
        pod.remove();
        answers
    });
    assert_eq!(firn, runc, "firn's first, then runc's");
    firn
}

fn answer(output: &Output) -> Value {
    json!([output.code, output.stdout, output.stderr])
}

fn end_of(container: &Container) -> Value {
    let status = container.ended();
    json!([status["exit_code"], status["reason"]])
}

const MIB: u64 = 1 << 20;

#[test]
fn containers_run_log_and_end() {
    let node = Node::start("cri-run");
    let answers = same(&node, |pod| {
        let script = "echo out; echo err >&2; hostname; sleep 0.1; exit 3";
        let three = pod.create("three", &["sh", "-c", script], json!({}));
        assert_eq!(three.status()["state"], "CREATED");
        three.call("StartContainer", json!({}));
        let end = end_of(&three);
        let mut log = three.log();
        log.sort();
        three.remove();
        let zero = end_of(&pod.start("zero", &["true"], json!({})));
        let missing = pod.create("missing", &["no-such-program"], json!({}));
        let error = missing.fails("StartContainer", json!({}));
        assert!(error.contains("\"no-such-program\": executable file not found in $PATH"), "{error}");
        json!([end, log, zero, end_of(&missing)])
    });
    assert_eq!(answers[0], json!([3, "Error"]));
    assert_eq!(answers[1], json!(["stderr F err", "stdout F out", "stdout F the-pod"]));
    assert_eq!(answers[2], json!([0, "Completed"]));
    assert_eq!(answers[3], json!([128, "StartError"]));
}

#[test]
fn programs_are_executed_in_a_container() {
    let node = Node::start("cri-exec");
    let answers = same(&node, |pod| {
        let container = pod.shell("long", "echo up; sleep 1000");
        container.says("up");
        assert_eq!(pod.state_of(&container.id), "running");
        let exec = container.exec("echo out; echo err >&2; id -u; exit 7");
        let error = container.fails("ExecSync", json!({"cmd": ["sleep", "1001"], "timeout": 1}));
        assert!(error.starts_with("DEADLINE_EXCEEDED: "), "{error}");
        let missing = container.fails("ExecSync", json!({"cmd": ["no-such-program"]}));
        assert!(missing.contains("\"no-such-program\": executable file not found in $PATH"), "{missing}");
        let late = container.exec("ps -o args | grep -c '^sleep 1001$'");
        json!([answer(&exec), answer(&late), streamed(&container), terminal(&container), attached(pod)])
    });
    assert_eq!(answers[0], json!([7, "out\n0\n", "err\n"]));
    // The one that took too long is gone.
    assert_eq!(answers[1], json!([1, "0\n", ""]));
    assert_eq!(answers[2], json!(["got words\n", "err\n", "Failure", "5"]));
    assert_eq!(answers[3], json!("30 100\r\n"));
    assert_eq!(answers[4], json!("you said words\n"));
}

/// An exec with all three streams.
fn streamed(container: &Container) -> Value {
    let script = "read line; echo got $line; echo err >&2; exit 5";
    let request = json!({"cmd": ["sh", "-c", script], "stdin": true, "stdout": true, "stderr": true});
    let mut stream = Stream::open(&text(&container.call("Exec", request)["url"]));
    stream.send(STDIN, "words\n");
    let streams = stream.read(None);
    let status: Value = serde_json::from_str(&streams.status).unwrap_or_else(|e| panic!("{e}: {streams:?}"));
    json!([streams.stdout, streams.stderr, status["status"], status["details"]["causes"][0]["message"]])
}

/// An exec with a terminal, which changes its size.
fn terminal(container: &Container) -> Value {
    let script = "until [ \"$(stty size 2>/dev/null)\" = '30 100' ]; do sleep 0.1; done; stty size";
    let request = json!({"cmd": ["sh", "-c", script], "stdin": true, "stdout": true, "tty": true});
    let mut stream = Stream::open(&text(&container.call("Exec", request)["url"]));
    stream.resize(100, 30);
    json!(stream.read(None).stdout)
}

/// The streams of a container's own program.
fn attached(pod: &Pod) -> Value {
    let script = "while read line; do echo you said $line; done";
    let container = pod.start("reader", &["sh", "-c", script], json!({"stdin": true}));
    let request = json!({"stdin": true, "stdout": true, "stderr": true});
    let mut stream = Stream::open(&text(&container.call("Attach", request)["url"]));
    stream.send(STDIN, "words\n");
    json!(stream.read(Some("words\n")).stdout)
}

#[test]
fn limits_are_set_changed_and_measured() {
    let node = Node::start("cri-limits");
    let answers = same(&node, |pod| {
        let resources = json!({"memory_limit_in_bytes": 64 * MIB, "cpu_period": 100_000, "cpu_quota": 50_000,
            "cpu_shares": 512, "cpuset_cpus": "0"});
        let script = "dd if=/dev/zero of=/dev/shm/block bs=1M count=8 2>/dev/null; echo up; sleep 1000";
        let container = pod.start("limited", &["sh", "-c", script], json!({"linux": {"resources": resources}}));
        container.says("up");
        let before = container.exec(LIMITS);
        let stats = container.call("ContainerStats", json!({}))["stats"].clone();
        assert!(number(&stats["memory"]["working_set_bytes"]) > 8 * MIB, "{stats}");
        assert!(number(&stats["cpu"]["usage_core_nano_seconds"]) > 1_000_000, "{stats}");
        let linux = json!({"memory_limit_in_bytes": 96 * MIB, "cpu_period": 100_000, "cpu_quota": 80_000,
            "cpu_shares": 2048, "cpuset_cpus": "0-1"});
        container.call("UpdateContainerResources", json!({"linux": linux}));
        let [(before, less), (after, more)] = [before, container.exec(LIMITS)].map(|output| {
            let output = output.succeeds();
            let (limits, weight) = output.stdout.trim().rsplit_once('\n').expect("four lines");
            (limits.to_owned(), weight.parse::<u64>().expect("a weight"))
        });
        // Releases of runc turn shares into weights in two ways.
        assert!(less < more, "{less} {more}");
        json!([before, after])
    });
    assert_eq!(answers, json!([format!("{}\n50000\n0", 64 * MIB), format!("{}\n80000\n0-1", 96 * MIB)]));
}

/// Memory, quota, processors and weight, with cgroup v2 or v1.
const LIMITS: &str = "cd /sys/fs/cgroup
    if [ -e cgroup.controllers ]; then
        cat memory.max; cut -d' ' -f1 cpu.max; cat cpuset.cpus cpu.weight
    else
        cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpuset/cpuset.cpus cpu/cpu.shares
    fi";

fn number(value: &Value) -> u64 {
    // JSON has no 64 bits.
    text(&value["value"]).parse().expect("a number")
}

#[test]
fn a_container_out_of_memory_is_reported() {
    let node = Node::start("cri-oom");
    let answers = same(&node, |pod| {
        // The kubelet hears of it while the container still runs.
        let script = "head -c 200m /dev/zero | tail >/dev/null; code=$?; sleep 1; exit $code";
        let change = json!({"linux": {"resources": {"memory_limit_in_bytes": 16 * MIB}}});
        end_of(&pod.start("hog", &["sh", "-c", script], change))
    });
    assert_eq!(answers, json!([137, "OOMKilled"]));
}

#[test]
fn containers_are_stopped_in_time_or_killed() {
    let node = Node::start("cri-stop");
    let answers = same(&node, |pod| {
        let polite = pod.shell("polite", "trap 'echo bye; exit 5' TERM; echo up; sleep 1000 & wait");
        let deaf = pod.shell("deaf", "trap '' TERM; echo up; exec sleep 1000");
        let doomed = pod.shell("doomed", "trap '' TERM; echo up; exec sleep 1000");
        [&polite, &deaf, &doomed].iter().for_each(|container| container.says("up"));
        polite.call("StopContainer", json!({"timeout": 100}));
        let begin = Instant::now();
        deaf.call("StopContainer", json!({"timeout": 1}));
        assert!(begin.elapsed() >= Duration::from_secs(1), "it had no time");
        doomed.call("StopContainer", json!({"timeout": 0}));
        // Of a container that has ended there is nothing to execute in, and to stop.
        let error = polite.fails("ExecSync", json!({"cmd": ["true"]}));
        assert!(error.contains("EXITED"), "{error}");
        polite.call("StopContainer", json!({"timeout": 0}));
        let ends = json!([end_of(&polite), polite.log(), end_of(&deaf), end_of(&doomed)]);
        [polite, deaf, doomed].into_iter().for_each(Container::remove);
        ends
    });
    assert_eq!(answers, json!([[5, "Error"], ["stdout F up", "stdout F bye"], [137, "Error"], [137, "Error"]]));
}

#[test]
fn a_pods_containers_share_its_namespaces() {
    let node = Node::start("cri-share");
    let answers = same(&node, |pod| {
        let pid = |mode: &str, target: &str| json!({"linux": {"security_context": {"namespace_options": {"pid": mode, "target_id": target}}}});
        let script = |first: &str| format!("{first}; echo up; exec sleep 1001");
        let start = |name, first, change| pod.start(name, &["sh", "-c", &script(first)], change);
        let one = start("one", "echo here > /dev/shm/file", pid("CONTAINER", ""));
        let two = start("two", "true", pid("POD", ""));
        let three = start("three", "true", pid("TARGET", &one.id));
        let containers = [&one, &two, &three];
        containers.iter().for_each(|container| container.says("up"));
        let seen = two.exec("cat /dev/shm/file; hostname; cat /proc/sys/kernel/shm_rmid_forced; ip -o addr show eth0");
        let (seen, devices) = seen.stdout.split_at(SEEN.len());
        let address = text(&pod.status()["network"]["ip"]);
        assert!(devices.contains(&format!("inet {address}/")), "{address} is not in {devices}");
        let [one, two, three] = containers.map(|container| {
            let answer = container.exec(SPACES).succeeds().stdout;
            answer.lines().map(String::from).collect::<Vec<_>>()
        });
        let as_one =
            |other: &[String]| one.iter().zip(other).skip(1).map(|(one, other)| one == other).collect::<Vec<_>>();
        json!([seen, [&one[0], &two[0], &three[0]], as_one(&two), as_one(&three)])
    });
    assert_eq!(answers[0], SEEN);
    assert_eq!(answers[1], json!(["sleep 1001 ", "sleep 1000000 ", "sleep 1001 "]));
    assert_eq!(answers[2], json!([true, true, true, false, false]));
    assert_eq!(answers[3], json!([true, true, true, true, false]));
}

/// The file of another container, the pod's name, and its sysctl.
const SEEN: &str = "here\nthe-pod\n1\n";
/// The first process, and the namespaces.
const SPACES: &str = "tr '\\0' ' ' < /proc/1/cmdline; echo
    for kind in ipc net uts pid mnt; do readlink /proc/self/ns/$kind; done";
