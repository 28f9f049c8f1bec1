//! `firn.json` of the bundle, for firn and its monitor.

use super::init::Init as Process1;
use super::plan::{Plan, Upper, names};
use firn::spec::firn_config::{FirnConfig, Init, Root};

/// The exit status by which the init of a bundle asks for a restart.
const RESTART: u8 = 133;

/// The content of the file. `has_image`: the bundle has an image of the closure.
pub(super) fn content(plan: &Plan, has_image: bool) -> FirnConfig {
    // 133 is what a shell gives for SIGTRAP (5) too: the program of an image may end so.
    let restart = plan.has_host_files() || matches!(plan.init, Process1::Firn { .. });
    FirnConfig {
        root: (!plan.copy).then(|| root(plan, has_image)),
        init: Some(Init { restart_exit_code: restart.then_some(RESTART), notify: Some(plan.notify) }),
    }
}

fn root(plan: &Plan, has_image: bool) -> Root {
    let closure = plan.closure.as_ref();
    let mut layers = Vec::new();
    if closure.is_some() {
        layers.push(plan.file(names::SKELETON));
    }
    layers.extend_from_slice(plan.layers.paths());
    Root {
        layers,
        upper: Some(upper(&plan.upper)),
        closure: closure.map(|_| plan.file(names::CLOSURE)),
        closure_image: has_image.then(|| plan.file(names::CLOSURE_IMAGE)),
        store: closure.and_then(|_| plan.store.root()).map(|_| plan.store.dir().to_owned()),
    }
}

fn upper(upper: &Upper) -> String {
    match upper {
        Upper::Tmpfs(None) => "tmpfs".into(),
        Upper::Tmpfs(Some(options)) => format!("tmpfs:{options}"),
        Upper::Directory(path) => path.display().to_string(),
    }
}
