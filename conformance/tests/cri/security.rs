//! What a pod's security context asks for.

use crate::node::{Node, RUNTIMES};
use crate::pod::Pod;
use crate::{same, same_with};
use firn_conformance::harness::skip;
use serde_json::{Value, json};

/// Who and where a program is. Options that a bind mount keeps of its source and
/// the hierarchies of cgroup v1 are shown in one way by some releases of runc and
/// in another by others.
const FACTS: &str = "id; grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status
    cat /proc/self/oom_score_adj /proc/self/uid_map /proc/self/attr/current 2>/dev/null
    stat -c '%u %n' /etc/passwd /proc/self
    touch /file 2>&1; ls /dev
    cut -d, -f1 /proc/self/mountinfo | cut -d' ' -f5,6 | grep -v '^/sys/fs/cgroup' | sort";

fn facts(pod: &Pod, name: &str, context: &Value) -> Value {
    let container = pod.start(name, &["sh", "-c", FACTS], json!({"linux": {"security_context": context}}));
    let status = container.ended();
    assert_eq!(status["exit_code"], 0, "{status}: {:?}", container.log());
    json!(container.log().join("\n"))
}

#[track_caller]
fn holds(facts: &Value, wanted: &[&str]) {
    let facts = facts.as_str().unwrap();
    wanted.iter().for_each(|words| assert!(facts.contains(words), "{words:?} is not in\n{facts}"));
}

#[test]
fn security_contexts_reach_the_program() {
    let node = Node::start("cri-security");
    let answers = same(&node, |pod| {
        let strict = json!({"run_as_user": {"value": 1000}, "readonly_rootfs": true, "no_new_privs": true,
            "capabilities": {"drop_capabilities": ["ALL"], "add_capabilities": ["NET_BIND_SERVICE"]},
            "seccomp": {"profile_type": "RuntimeDefault"}});
        json!([facts(pod, "usual", &json!({})), facts(pod, "strict", &strict)])
    });
    holds(&answers[0], &["uid=0(root)", "NoNewPrivs:\t0", "Seccomp:\t0", "CapEff:\t00000000a80425fb"]);
    holds(&answers[1], &["uid=1000(app)", "NoNewPrivs:\t1", "Seccomp:\t2", "CapBnd:\t0000000000000400", "Read-only"]);
}

/// As the node's own agents run.
#[test]
fn a_privileged_pod_has_the_nodes_namespaces() {
    let node = Node::start("cri-node");
    let spaces = json!({"network": "NODE", "pid": "NODE", "ipc": "NODE"});
    let context = json!({"privileged": true, "namespace_options": spaces});
    let own = |kind: &str| {
        let link = std::fs::read_link(format!("/proc/thread-self/ns/{kind}")).unwrap();
        format!("{}\n", link.display())
    };
    let answers = same_with(&node, &context, |pod| {
        let facts = facts(pod, "facts", &context);
        let wait = pod.start("wait", &["sleep", "1000"], json!({"linux": {"security_context": context}}));
        let shared = ["net", "pid", "ipc"].map(|kind| {
            let inside = wait.exec(&format!("readlink /proc/self/ns/{kind}")).succeeds().stdout;
            json!([kind, inside == own(kind)])
        });
        json!([facts, shared])
    });
    holds(&answers[0], &["Seccomp:\t0", "/sys rw"]);
    assert_eq!(answers[1], json!([["net", true], ["pid", true], ["ipc", true]]));
}

#[test]
fn a_pod_has_a_user_namespace_of_its_own() {
    let node = Node::start("cri-users");
    let status = node.client.call("Status", &json!({}));
    let features = RUNTIMES.map(|name| {
        let handlers = status["runtime_handlers"].as_array().cloned().unwrap_or_default();
        handlers.into_iter().find(|handler| handler["name"] == name).map(|handler| handler["features"].clone())
    });
    assert_eq!(features[0], features[1], "what firn is found to know, and what runc is");
    if features[0].as_ref().is_none_or(|features| features["user_namespaces"] != true) {
        skip("this containerd has no user namespaces for pods");
        return;
    }
    let ids = json!([{"container_id": 0, "host_id": 200_000, "length": 65536}]);
    let context = json!({"namespace_options": {"userns_options": {"mode": "POD", "uids": ids, "gids": ids}}});
    let answers = same_with(&node, &context, |pod| facts(pod, "mapped", &context));
    holds(&answers, &["uid=0(root)", "200000      65536", "F 0 /etc/passwd"]);
}
