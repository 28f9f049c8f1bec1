//! Our own types of config.json against those of the oci-spec crate: whatever
//! that one writes, ours read to the same meaning.

use firn::spec::{self, linux};
use oci_spec::runtime as oci;
use proptest::prelude::*;

fn word() -> impl Strategy<Value = String> {
    "[a-z]{1,8}"
}

fn mount() -> impl Strategy<Value = oci::Mount> {
    (word(), proptest::option::of(word()), proptest::option::of(word()), proptest::collection::vec(word(), 0..4))
        .prop_map(|(destination, kind, source, options)| {
            let mut mount = oci::Mount::default();
            mount.set_destination(format!("/{destination}").into()).set_typ(kind);
            mount.set_source(source.map(Into::into)).set_options(Some(options));
            mount
        })
}

fn process() -> impl Strategy<Value = oci::Process> {
    let rlimit = (any::<u64>(), any::<u64>()).prop_map(|(hard, soft)| {
        let limit = oci::PosixRlimitBuilder::default().typ(oci::PosixRlimitType::RlimitNofile).hard(hard).soft(soft);
        limit.build().unwrap()
    });
    (
        proptest::collection::vec(word(), 0..4),
        (any::<u32>(), any::<u32>(), proptest::collection::vec(any::<u32>(), 0..3)),
        (any::<bool>(), any::<bool>(), proptest::option::of(any::<i32>())),
        proptest::collection::vec(rlimit, 0..2),
    )
        .prop_map(|(args, (uid, gid, groups), (terminal, no_new_privileges, oom), rlimits)| {
            let user = oci::UserBuilder::default().uid(uid).gid(gid).additional_gids(groups).build().unwrap();
            let mut process = oci::Process::default();
            process.set_args(Some(args)).set_user(user).set_terminal(Some(terminal));
            process.set_no_new_privileges(Some(no_new_privileges)).set_oom_score_adj(oom).set_rlimits(Some(rlimits));
            process
        })
}

fn resources() -> impl Strategy<Value = oci::LinuxResources> {
    (
        proptest::option::of(any::<i64>()),
        proptest::option::of(any::<i64>()),
        proptest::option::of(any::<u64>()),
        any::<i64>(),
    )
        .prop_map(|(limit, swap, shares, pids)| {
            let mut memory = oci::LinuxMemory::default();
            memory.set_limit(limit).set_swap(swap);
            let mut cpu = oci::LinuxCpu::default();
            cpu.set_shares(shares).set_cpus(Some("0-1".into()));
            let mut resources = oci::LinuxResources::default();
            resources.set_memory(Some(memory)).set_cpu(Some(cpu));
            resources.set_pids(Some(oci::LinuxPidsBuilder::default().limit(pids).build().unwrap()));
            resources
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_oci_spec_writes_we_read(
        mounts in proptest::collection::vec(mount(), 0..4),
        process in process(),
        resources in resources(),
        hostname in proptest::option::of(word()),
    ) {
        let mut config = oci::Spec::default();
        config.set_mounts(Some(mounts.clone())).set_process(Some(process.clone())).set_hostname(hostname.clone());
        let mut linux_part = oci::Linux::default();
        linux_part.set_resources(Some(resources.clone()));
        config.set_linux(Some(linux_part.clone()));
        let ours = spec::parse(&serde_json::to_vec(&config).unwrap()).unwrap();

        prop_assert_eq!(&ours.oci_version, config.version());
        prop_assert_eq!(ours.hostname, hostname.unwrap_or_default());
        prop_assert_eq!(ours.mounts.len(), mounts.len());
        for (ours, theirs) in ours.mounts.iter().zip(&mounts) {
            prop_assert_eq!(&ours.destination, &theirs.destination().to_string_lossy());
            prop_assert_eq!(&ours.kind, theirs.typ().as_deref().unwrap_or(""));
            prop_assert_eq!(&ours.source, &theirs.source().as_deref().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default());
            prop_assert_eq!(&ours.options, theirs.options().as_ref().unwrap());
        }
        let our_process = ours.process.unwrap();
        prop_assert_eq!(&our_process.args, process.args().as_ref().unwrap());
        prop_assert_eq!((our_process.user.uid, our_process.user.gid), (process.user().uid(), process.user().gid()));
        prop_assert_eq!(&our_process.user.additional_gids, process.user().additional_gids().as_ref().unwrap());
        prop_assert_eq!(Some(our_process.terminal), process.terminal());
        prop_assert_eq!(Some(our_process.no_new_privileges), process.no_new_privileges());
        prop_assert_eq!(our_process.oom_score_adj, process.oom_score_adj());
        for (ours, theirs) in our_process.rlimits.iter().zip(process.rlimits().as_ref().unwrap()) {
            prop_assert_eq!((&*ours.kind, ours.hard, ours.soft), ("RLIMIT_NOFILE", theirs.hard(), theirs.soft()));
        }
        let capabilities = our_process.capabilities.unwrap();
        let theirs = process.capabilities().as_ref().unwrap();
        prop_assert_eq!(capabilities.bounding.len(), theirs.bounding().as_ref().unwrap().len());
        check_linux(&ours.linux.unwrap(), &linux_part, &resources)?;
    }
}

fn check_linux(ours: &linux::Linux, theirs: &oci::Linux, resources: &oci::LinuxResources) -> Result<(), TestCaseError> {
    prop_assert_eq!(&ours.masked_paths, theirs.masked_paths().as_ref().unwrap());
    prop_assert_eq!(&ours.readonly_paths, theirs.readonly_paths().as_ref().unwrap());
    let kinds: Vec<String> = theirs
        .namespaces()
        .iter()
        .flatten()
        .map(|namespace| serde_json::to_value(namespace.typ()).unwrap().as_str().unwrap().to_owned())
        .collect();
    prop_assert_eq!(ours.namespaces.iter().map(|n| n.kind.clone()).collect::<Vec<_>>(), kinds);
    let limits = ours.resources.as_ref().unwrap();
    let (memory, cpu) = (limits.memory.as_ref().unwrap(), limits.cpu.as_ref().unwrap());
    prop_assert_eq!(memory.limit, resources.memory().as_ref().unwrap().limit());
    prop_assert_eq!(memory.swap, resources.memory().as_ref().unwrap().swap());
    prop_assert_eq!(cpu.shares, resources.cpu().as_ref().unwrap().shares());
    prop_assert_eq!(&cpu.cpus, "0-1");
    prop_assert_eq!(limits.pids.as_ref().unwrap().limit, Some(resources.pids().as_ref().unwrap().limit()));
    Ok(())
}
