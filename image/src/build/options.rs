//! What an image says about running it: the `config` object of an image configuration (image-spec,
//! "config.md"), from a file and from options of the command line, which come after it.

use oci_spec::image::Config;
use serde_json::{Map, Value, json};

/// Options, as given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// The `config` object that the others change.
    pub(crate) base: Map<String, Value>,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) cmd: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// For PATH, unless that is set: directories before the usual ones.
    pub(crate) path: Vec<String>,
    pub(crate) user: Option<String>,
    pub(crate) workdir: Option<String>,
    pub(crate) stop_signal: Option<String>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) ports: Vec<String>,
    pub(crate) volumes: Vec<String>,
}

/// Why a `config` object is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OptionsError {
    #[error("not a config object: give one such as {{\"Cmd\": [\"/bin/sh\"]}}")]
    Shape,
    #[error("unknown key {key:?}: give what an image configuration has in \"config\": {known}", known = KEYS.join(", "))]
    Unknown { key: String },
    #[error("parse")]
    Parse(#[from] serde_json::Error),
}

/// The keys of image-spec, and those that it reserves for Docker.
const KEYS: [&str; 15] = [
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "ArgsEscaped",
    "Memory",
    "MemorySwap",
    "CpuShares",
    "Healthcheck",
    "Shell",
];

/// The last directories in PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Reads a `config` object. Errors: a key is unknown, or has a value of another type.
pub(crate) fn parse_base(text: &[u8]) -> Result<Map<String, Value>, OptionsError> {
    let Value::Object(object) = serde_json::from_slice(text)? else { return Err(OptionsError::Shape) };
    if let Some(key) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(OptionsError::Unknown { key: key.clone() });
    }
    serde_json::from_value::<Config>(Value::Object(object.clone()))?;
    Ok(object)
}

/// The whole `config` object.
pub(super) fn config(options: &Options) -> Map<String, Value> {
    let mut config = options.base.clone();
    let mut set = |key: &str, value: Value| config.insert(key.to_owned(), value);
    if !options.entrypoint.is_empty() {
        // As in a Dockerfile: what the entrypoint of before had as arguments means nothing to another.
        set("Entrypoint", json!(options.entrypoint));
        config.remove("Cmd");
    }
    let mut set = |key: &str, value: Value| config.insert(key.to_owned(), value);
    if !options.cmd.is_empty() {
        set("Cmd", json!(options.cmd));
    }
    let texts = [("User", &options.user), ("WorkingDir", &options.workdir), ("StopSignal", &options.stop_signal)];
    for (key, text) in texts {
        if let Some(text) = text {
            set(key, json!(text));
        }
    }
    add_env(&mut config, options);
    add_to_object(&mut config, "Labels", options.labels.iter().map(|(key, value)| (key.clone(), json!(value))));
    add_to_object(&mut config, "ExposedPorts", options.ports.iter().map(|port| (port.clone(), json!({}))));
    add_to_object(&mut config, "Volumes", options.volumes.iter().map(|volume| (volume.clone(), json!({}))));
    config
}

/// A variable that is set again keeps its place in the list.
fn add_env(config: &mut Map<String, Value>, options: &Options) {
    let known = config.get("Env").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let mut env: Vec<(String, String)> = known
        .map(|text| text.split_once('=').unwrap_or((text, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    for (key, value) in &options.env {
        match env.iter_mut().find(|(known, _)| known == key) {
            Some(place) => place.1.clone_from(value),
            None => env.push((key.clone(), value.clone())),
        }
    }
    if !options.path.is_empty() && env.iter().all(|(key, _)| key != "PATH") {
        env.insert(0, ("PATH".into(), format!("{}:{DEFAULT_PATH}", options.path.join(":"))));
    }
    if !env.is_empty() {
        let env: Vec<String> = env.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        config.insert("Env".into(), json!(env));
    }
}

fn add_to_object(config: &mut Map<String, Value>, key: &str, new: impl Iterator<Item = (String, Value)>) {
    let mut object = match config.remove(key) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    };
    object.extend(new);
    if !object.is_empty() {
        config.insert(key.into(), Value::Object(object));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_after_the_file() {
        let text = br#"{"Cmd": ["x"], "Env": ["A=1", "B=2"], "Labels": {"a": "1"}, "Healthcheck": {"Test": ["NONE"]}}"#;
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let mut options = Options {
            base: parse_base(text).unwrap(),
            env: vec![pair("B", "3"), pair("C", "4")],
            labels: vec![pair("b", "2")],
            path: vec!["/x/bin".into()],
            ports: vec!["80/tcp".into()],
            ..Options::default()
        };
        let path = format!("PATH=/x/bin:{DEFAULT_PATH}");
        assert_eq!(
            Value::Object(config(&options)),
            json!({
                "Cmd": ["x"], "Env": [path, "A=1", "B=3", "C=4"], "Labels": {"a": "1", "b": "2"},
                "Healthcheck": {"Test": ["NONE"]}, "ExposedPorts": {"80/tcp": {}},
            })
        );
        options.entrypoint = vec!["/init".into()];
        options.env.push(pair("PATH", "/y"));
        let config = config(&options);
        assert_eq!((&config["Entrypoint"], config.get("Cmd")), (&json!(["/init"]), None));
        assert_eq!(config["Env"], json!(["A=1", "B=3", "C=4", "PATH=/y"]));
    }

    #[test]
    fn what_is_no_config_is_refused() {
        for (text, reason) in [
            ("[]", "not a config object"),
            ("{", "parse"),
            (r#"{"cmd": []}"#, "unknown key \"cmd\""),
            (r#"{"config": {}}"#, "unknown key"),
            (r#"{"Cmd": "x"}"#, "parse"),
        ] {
            let error = parse_base(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{text}: {error}");
        }
    }
}
