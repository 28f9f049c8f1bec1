//! What firn prints as JSON, read by types that are not firn's: those of the
//! oci-spec crate.

use firn_conformance::harness::{Bundle, Runtime, Scratch};
use oci_spec::runtime::{Features, Spec, State};

#[test]
fn the_state_is_that_of_the_specification() {
    let scratch = Scratch::new("outstate");
    let firn = Runtime::firn(&scratch);
    firn.create(&Bundle::new(&scratch).shell("sleep 1000").write()).succeeds();
    let text = firn.call(&["state", firn.id()]).succeeds().stdout;
    let state: State = serde_json::from_str(&text).expect("a state");
    assert_eq!(state.id(), firn.id());
    assert_eq!(state.status().to_string(), "created");
    assert!(state.pid().is_some_and(|pid| pid > 1));
    assert_eq!(*state.bundle(), scratch.join("bundle"));
}

#[test]
fn the_features_are_those_of_the_specification() {
    let scratch = Scratch::new("outfeatures");
    let text = Runtime::firn(&scratch).call(&["features"]).succeeds().stdout;
    let features: Features = serde_json::from_str(&text).expect("features");
    assert!(features.hooks().as_ref().is_some_and(|hooks| hooks.len() == 6));
    let linux = features.linux().as_ref().expect("features of Linux");
    assert_eq!(linux.namespaces().as_ref().map(Vec::len), Some(8));
    assert_eq!(linux.capabilities().as_ref().map(Vec::len), Some(41));
    assert!(linux.seccomp().as_ref().expect("seccomp").enabled().is_some_and(|enabled| enabled));
}

#[test]
fn the_config_to_begin_with_is_valid_and_runs() {
    let scratch = Scratch::new("outspec");
    let firn = Runtime::firn(&scratch);
    for options in [&["spec", "--file", "-"][..], &["spec", "--rootless", "--file", "-"]] {
        let text = firn.call(options).succeeds().stdout;
        let spec: Spec = serde_json::from_str(&text).expect("a config");
        assert!(spec.process().is_some() && spec.linux().is_some());
    }
    let bundle = Bundle::new(&scratch).args(&["true"]).write();
    firn.run(&bundle).succeeds();
    let again = firn.call(&["spec", "--bundle", &bundle.path.to_string_lossy()]).fails(1);
    assert!(again.stderr.contains("exists. Remove it first"), "{again:?}");
}
