//! What an image's config says of its container (image-spec, "conversion.md").

use oci_spec::image::{Config, ImageConfiguration};
use std::collections::BTreeMap;

/// Settings of other programs and of the runtime, which an image must not have: annotations that
/// begin so are left out. Those of crun, of systemd's units, of criu, of crun's handlers and of kata.
const RESERVED: &[&str] = &["run.oci.", "org.systemd.property.", "org.criu.", "module.wasm.", "io.katacontainers."];

/// The prefix of the annotations that conversion.md makes.
const PREFIX: &str = "org.opencontainers.image.";

/// File systems of the kernel, in which no volume may be.
const API_DIRECTORIES: &[&str] = &["proc", "sys", "dev"];

/// The parts of an image's config that a bundle is made from.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ImageSettings {
    pub(crate) entrypoint: Vec<String>,
    pub(crate) cmd: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// Absolute.
    pub(crate) cwd: Option<String>,
    /// As `--user` takes it.
    pub(crate) user: Option<String>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// Absolute paths, sorted.
    pub(crate) volumes: Vec<String>,
}

/// Why a config can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageConfigError {
    #[error("the image's volume {0:?}: not an absolute path without \"..\", or one of /proc, /sys and /dev")]
    Volume(String),
    #[error("the image has neither an entrypoint nor a command: give a COMMAND after --")]
    NoCommand,
}

impl ImageSettings {
    pub(crate) fn new(image: &ImageConfiguration) -> Result<Self, ImageConfigError> {
        let default = Config::default();
        let config = image.config().as_ref().unwrap_or(&default);
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Ok(Self {
            entrypoint: list(config.entrypoint()),
            cmd: list(config.cmd()),
            env: list(config.env()).iter().filter_map(|text| variable(text)).collect(),
            cwd: text(config.working_dir()).map(|cwd| format!("/{}", cwd.trim_start_matches('/'))),
            user: text(config.user()).and_then(|user| user_spec(&user)),
            annotations: annotations(image, config),
            volumes: volumes(list(config.volumes()))?,
        })
    }

    /// `process.args`: a command takes the place of the image's, an entrypoint of both, as with
    /// podman. An entrypoint of an empty text is none.
    pub(crate) fn args(&self, entrypoint: Option<&str>, command: &[String]) -> Result<Vec<String>, ImageConfigError> {
        let (mut args, cmd) = match entrypoint {
            Some("") => (Vec::new(), &[][..]),
            Some(entrypoint) => (vec![entrypoint.to_owned()], &[][..]),
            None => (self.entrypoint.clone(), &self.cmd[..]),
        };
        args.extend_from_slice(if command.is_empty() { cmd } else { command });
        if args.is_empty() { Err(ImageConfigError::NoCommand) } else { Ok(args) }
    }
}

fn variable(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    (!name.is_empty()).then(|| (name.into(), value.into()))
}

/// `user:` and `:group` are written too; of the first the group is left out, and the second is of
/// root.
fn user_spec(text: &str) -> Option<String> {
    match text.split_once(':') {
        Some(("", "")) => None,
        Some((user, "")) => Some(user.into()),
        Some(("", group)) => Some(format!("0:{group}")),
        _ => Some(text.into()),
    }
}

/// Labels count more than what the other fields say.
fn annotations(image: &ImageConfiguration, config: &Config) -> BTreeMap<String, String> {
    let mut ports = config.exposed_ports().clone().unwrap_or_default();
    ports.sort();
    let fields = [
        ("os", Some(image.os().to_string())),
        ("architecture", Some(image.architecture().to_string())),
        ("variant", image.variant().clone()),
        ("os.version", image.os_version().clone()),
        ("os.features", image.os_features().as_ref().map(|features| features.join(","))),
        ("author", image.author().clone()),
        ("created", image.created().clone()),
        ("stopSignal", config.stop_signal().clone()),
        ("exposedPorts", Some(ports.join(","))),
    ];
    let fields = fields.into_iter().filter_map(|(name, value)| Some((format!("{PREFIX}{name}"), value?)));
    let mut all: BTreeMap<_, _> = fields.filter(|(_, value)| !value.is_empty()).collect();
    let is_free = |name: &String| !name.is_empty() && !RESERVED.iter().any(|prefix| name.starts_with(prefix));
    let labels = config.labels().clone().unwrap_or_default();
    all.extend(labels.into_iter().filter(|(name, _)| is_free(name)));
    all
}

fn volumes(paths: Vec<String>) -> Result<Vec<String>, ImageConfigError> {
    let mut volumes = Vec::new();
    for path in paths {
        let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        match names.first() {
            Some(first) if path.starts_with('/') && !names.contains(&"..") && !API_DIRECTORIES.contains(first) => {
                volumes.push(format!("/{}", names.join("/")));
            }
            _ => return Err(ImageConfigError::Volume(path)),
        }
    }
    volumes.sort();
    volumes.dedup();
    Ok(volumes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(config: &str) -> Result<ImageSettings, ImageConfigError> {
        let text = format!(
            r#"{{"os":"linux","architecture":"amd64","author":"me","rootfs":{{"type":"layers","diff_ids":[]}},"config":{config}}}"#
        );
        ImageSettings::new(&serde_json::from_str(&text).unwrap())
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_command_replaces_cmd_and_an_entrypoint_both() {
        let image = settings(r#"{"Entrypoint":["/e","-x"],"Cmd":["a","b"]}"#).unwrap();
        let args = |entrypoint, command: &[&str]| image.args(entrypoint, &strings(command)).ok();
        assert_eq!(args(None, &[]), Some(strings(&["/e", "-x", "a", "b"])));
        assert_eq!(args(None, &["c"]), Some(strings(&["/e", "-x", "c"])));
        assert_eq!(args(Some("/n"), &[]), Some(strings(&["/n"])));
        assert_eq!(args(Some(""), &["c"]), Some(strings(&["c"])));
        assert_eq!(args(Some(""), &[]), None);
        assert!(settings(r#"{"Entrypoint":null,"Cmd":null}"#).unwrap().args(None, &[]).is_err());
    }

    #[test]
    fn labels_and_fields_become_annotations_but_no_settings_of_a_runtime() {
        let config = r#"{"StopSignal":"SIGQUIT","ExposedPorts":{"90/tcp":{},"80/udp":{}},"Labels":{
            "org.opencontainers.image.author":"you","note":"x","run.oci.handler":"krun",
            "org.systemd.property.ExecStart":"x","org.criu.config":"/x"}}"#;
        let annotations = settings(config).unwrap().annotations;
        let wanted = [
            ("note", "x"),
            ("org.opencontainers.image.architecture", "amd64"),
            ("org.opencontainers.image.author", "you"),
            ("org.opencontainers.image.exposedPorts", "80/udp,90/tcp"),
            ("org.opencontainers.image.os", "linux"),
            ("org.opencontainers.image.stopSignal", "SIGQUIT"),
        ];
        assert_eq!(annotations, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn users_and_directories_are_completed() {
        let image =
            settings(r#"{"User":"web:","WorkingDir":"srv","Env":["A=b=c","B","=x"],"Volumes":{"/b/":{},"/a//c":{}}}"#)
                .unwrap();
        assert_eq!((image.user.as_deref(), image.cwd.as_deref()), (Some("web"), Some("/srv")));
        assert_eq!(image.env, [("A".into(), "b=c".into())]);
        assert_eq!(image.volumes, ["/a/c", "/b"]);
        assert_eq!(settings(r#"{"User":":"}"#).unwrap().user, None);
        assert_eq!(settings(r#"{"User":":5"}"#).unwrap().user.as_deref(), Some("0:5"));
        for volume in ["x", "/", "/a/../b", "/proc/x", "//sys", "/./dev"] {
            assert!(settings(&format!(r#"{{"Volumes":{{"{volume}":{{}}}}}}"#)).is_err(), "{volume}");
        }
    }
}
