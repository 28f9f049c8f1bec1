//! Plans by tables: a config, a request and a host each.

use super::*;
use request::Console;

fn config(change: &str) -> Spec {
    let mut config: serde_json::Value = serde_json::from_str(
        r#"{"root":{"path":"/tmp"},"process":{"args":["a"],"cwd":"/","env":["A=config"]},
            "linux":{"namespaces":[{"type":"mount"},{"type":"uts"},{"type":"ipc"},{"type":"network"}]}}"#,
    )
    .unwrap();
    merge(&mut config, serde_json::from_str(change).unwrap());
    serde_json::from_value(config).unwrap()
}

fn planned(change: &str) -> Result<Plan> {
    plan_for(&config(change), Request::default(), &Host::root())
}

fn plan_for(spec: &Spec, request: Request, host: &Host) -> Result<Plan> {
    let request = Request { id: "c".into(), bundle: "/tmp".into(), ..request };
    plan(spec, request, host, &Log::quiet())
}

fn merge(into: &mut serde_json::Value, change: serde_json::Value) {
    match (into, change) {
        (serde_json::Value::Object(into), serde_json::Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, change) => *into = change,
    }
}

fn refused(change: &str) -> String {
    planned(change).unwrap_err().chain()
}

#[test]
fn mistakes_are_named_with_their_field() {
    assert_eq!(refused(r#"{"process":null}"#), "process is missing");
    assert_eq!(refused(r#"{"root":{"path":""}}"#), "root.path is missing");
    assert_eq!(refused(r#"{"root":{"path":"/"}}"#), "root.path is the host's own root");
    assert!(refused(r#"{"hostname":"x","linux":{"namespaces":[{"type":"mount"}]}}"#).contains("\"uts\" namespace"));
    assert!(refused(r#"{"linux":{"maskedPaths":["proc"]}}"#).contains("must be an absolute path"));
    assert!(refused(r#"{"hooks":{"poststop":[{"path":"x"}]}}"#).contains("hooks.poststop"));
    assert!(refused(r#"{"linux":{"personality":{"domain":"BSD"}}}"#).contains("LINUX32"));
}

#[test]
fn sysctls_belong_to_the_containers_namespaces() {
    let plan = planned(r#"{"linux":{"sysctl":{"net.ipv4.conf.eth0/1.rp_filter":"1","kernel.shmmax":"5"}}}"#).unwrap();
    assert_eq!(plan.sysctls[1].0, "net/ipv4/conf/eth0.1/rp_filter");
    for names in [r#"{"kernel.hostname":"a"}"#, r#"{"kernel.domainname":"a"}"#] {
        let config = format!(r#"{{"hostname":"a","domainname":"b","linux":{{"sysctl":{names}}}}}"#);
        assert!(refused(&config).contains("conflicts with the OCI"), "{names}");
    }
    assert!(refused(r#"{"linux":{"sysctl":{"kernel.core_pattern":"|x"}}}"#).contains("not in a namespace"));
    assert!(refused(r#"{"linux":{"sysctl":{"net/../kernel/core_pattern":"|x"}}}"#).contains("not in a namespace"));
}

fn attached() -> Option<Attachment> {
    Some(Attachment::default())
}

#[test]
fn what_the_request_adds_is_in_the_plan() {
    let request = Request {
        attachment: attached(),
        notify_directory: Some("/run/firn/c/notify".into()),
        environment: vec!["A=request".into(), "LISTEN_FDS=1".into()],
        preserved_fds: vec![3, 9],
        no_new_keyring: true,
        starts_at_once: true,
        ..Request::default()
    };
    let plan = plan_for(&config("{}"), request, &Host::root()).unwrap();
    let env: Vec<_> = plan.process.env.iter().map(|entry| entry.to_str().unwrap()).collect();
    assert_eq!(env, ["A=request", "NOTIFY_SOCKET=/run/notify/notify.sock", "LISTEN_FDS=1"]);
    assert_eq!(plan.mounts.last().map(|mount| mount.target.to_string()).as_deref(), Some("/run/notify"));
    assert_eq!(plan.process.preserved_fds, [3, 9]);
    assert!(plan.has_notify_directory && !plan.new_keyring && plan.starts_at_once);
}

/// As for a checkpoint: the mounts are needed, and no process is made.
#[test]
fn the_plan_of_a_container_that_exists_has_no_streams() {
    let change = r#"{"process":{"terminal":true}}"#;
    let request = Request { notify_directory: Some("/n".into()), ..Request::default() };
    let plan = plan_for(&config(change), request, &Host::root()).unwrap();
    assert_eq!(plan.process.streams.console, Console::None);
    assert_eq!(plan.process.env, [c"A=config".to_owned()]);
    assert_eq!(plan.mounts.len(), 1);
    let request = Request { attachment: attached(), ..Request::default() };
    let error = plan_for(&config(change), request, &Host::root()).unwrap_err();
    assert!(error.chain().contains("a terminal needs --console-socket"), "{}", error.chain());
}

#[test]
fn who_makes_the_cgroup_is_in_the_plan() {
    let with = |cgroup_manager, path: &str| {
        let change = format!(r#"{{"linux":{{"cgroupsPath":"{path}"}}}}"#);
        plan_for(&config(&change), Request { cgroup_manager, ..Request::default() }, &Host::root())
            .map(|plan| plan.cgroup)
    };
    let systemd = CgroupManager::Systemd { of_user: true };
    let (named, own) = (with(systemd, "a.slice:p:n").unwrap(), with(CgroupManager::Cgroupfs, "").unwrap());
    let unit = named.unit.unwrap();
    assert_eq!((&*unit.name, &*unit.slice, unit.of_user, named.is_named), ("p-n.scope", "a.slice", true, true));
    assert_eq!((&*own.path, own.is_named, own.is_disabled, own.unit), ("c", false, false, None));
    assert!(with(CgroupManager::Disabled, "").unwrap().is_disabled);
    assert!(with(systemd, "/a").is_err());
}

/// umount2("/") uncovers the host's root where it was moved away, if a process has CAP_SYS_ADMIN.
#[test]
fn a_root_that_is_moved_is_kept_from_who_may_unmount() {
    let with = |capabilities: &str, namespace: &str, no_pivot, host: &Host| {
        let maps = r#"[{"containerID":0,"hostID":1000,"size":1}]"#;
        let change = format!(
            r#"{{"process":{{"capabilities":{{"bounding":[{capabilities}]}}}},"linux":{{
                "namespaces":[{{"type":"mount"}}{namespace}],"uidMappings":{maps},"gidMappings":{maps}}}}}"#
        );
        plan_for(&config(&change), Request { no_pivot, ..Request::default() }, host).map(|plan| plan.no_pivot)
    };
    let (user, admin) = (r#",{"type":"user"}"#, r#""CAP_SYS_ADMIN""#);
    assert!(with(admin, user, true, &Host::root()).unwrap_err().chain().starts_with("--no-pivot: "));
    assert!(!with(admin, user, false, &Host::root()).unwrap());
    assert!(with("", user, true, &Host::root()).unwrap());
    assert!(with(admin, "", true, &Host::root()).unwrap(), "root of the host anyway");
}

#[test]
fn network_devices_of_the_host_are_not_an_unprivileged_users() {
    let spec = config(r#"{"linux":{"netDevices":{"eth9":{}}}}"#);
    assert!(plan_for(&spec, Request::default(), &Host::root()).is_ok());
    let error = plan_for(&spec, Request::default(), &Host::unprivileged()).unwrap_err();
    assert!(error.chain().contains("an unprivileged user"), "{}", error.chain());
}

#[test]
fn an_exec_has_the_config_of_its_container() {
    let spec =
        config(r#"{"annotations":{"run.oci.keep_original_groups":"1"},"linux":{"personality":{"domain":"LINUX32"}}}"#);
    let process = Process { args: vec!["b".into()], cwd: "/x".into(), ..Process::default() };
    let exec =
        |uncovered| exec(&process, &spec, &Attachment::default(), vec![5], uncovered, &Host::root(), &Log::quiet());
    let plan = exec(false).unwrap();
    assert!(plan.process.keeps_groups && plan.process.personality == Some(8));
    assert_eq!((plan.process.preserved_fds, plan.process.env.len()), (vec![5], 0));
    assert!(plan.namespaces.makes(clone::NEWNS) && plan.seccomp.is_none());
    assert!(exec(true).is_ok(), "without CAP_SYS_ADMIN");
}
