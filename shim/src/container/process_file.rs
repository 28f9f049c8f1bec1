//! The process.json of a further process with a terminal, for the runtime's `exec --process`: no option of
//! runtimes gives a terminal its size, and a program that asks for that at once must not find 0×0.

use crate::control::protocol::{ExecProcess, TerminalSize};
use firn::error::{Context, Error, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Writes it to `file`: the process of the bundle's config, changed as the runtime's own options would.
pub(super) fn write(file: &Path, bundle: &Path, exec: &ExecProcess, size: TerminalSize) -> Result<()> {
    let config = bundle.join("config.json");
    let read = || format!("read {}", config.display());
    let mut config: Value = serde_json::from_slice(&fs::read(&config).doing(read)?).doing(read)?;
    let mut process = config["process"].take();
    change(&mut process, exec, size)?;
    fs::write(file, process.to_string()).doing(|| format!("write {}", file.display()))
}

fn change(process: &mut Value, exec: &ExecProcess, size: TerminalSize) -> Result<()> {
    process["args"] = json!(exec.args);
    process["terminal"] = json!(true);
    process["consoleSize"] = json!({"height": size.rows, "width": size.columns});
    if let Some(cwd) = &exec.cwd {
        process["cwd"] = json!(cwd);
    }
    if let Some(user) = &exec.user {
        let (uid, gid) = user.split_once(':').map_or((&**user, None), |(uid, gid)| (uid, Some(gid)));
        process["user"]["uid"] = number(uid)?;
        if let Some(gid) = gid {
            process["user"]["gid"] = number(gid)?;
        }
    }
    extend(process, "env", &exec.env);
    extend(&mut process["user"], "additionalGids", &exec.groups);
    Ok(())
}

fn number(id: &str) -> Result<Value> {
    let parsed: u32 = id.parse().map_err(|_| Error::new(format!("{id:?} is not a numeric id (UID or UID:GID)")))?;
    Ok(json!(parsed))
}

/// Of a list that the config may leave out.
fn extend<T: Clone + Into<Value>>(object: &mut Value, name: &str, more: &[T]) {
    if more.is_empty() {
        return;
    }
    let mut list = object[name].as_array().cloned().unwrap_or_default();
    list.extend(more.iter().cloned().map(Into::into));
    object[name] = list.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_configs_process_with_the_clients_changes() {
        let mut process = json!({
            "args": ["/init"], "cwd": "/", "env": ["A=1"], "noNewPrivileges": true,
            "user": {"uid": 5, "gid": 6, "umask": 18}, "rlimits": [],
        });
        let mut exec = ExecProcess { args: vec!["vi".into()], env: vec!["TERM=vt220".into()], ..Default::default() };
        let size = TerminalSize { rows: 33, columns: 101 };
        change(&mut process, &exec, size).unwrap();
        let expected = json!({
            "args": ["vi"], "cwd": "/", "env": ["A=1", "TERM=vt220"], "noNewPrivileges": true,
            "user": {"uid": 5, "gid": 6, "umask": 18}, "rlimits": [], "terminal": true,
            "consoleSize": {"height": 33, "width": 101},
        });
        assert_eq!(process, expected);
        (exec.cwd, exec.user, exec.groups) = (Some("/home".into()), Some("7:8".into()), vec![9]);
        change(&mut process, &exec, size).unwrap();
        assert_eq!(process["user"], json!({"uid": 7, "gid": 8, "umask": 18, "additionalGids": [9]}));
        assert_eq!(process["cwd"], "/home");
        exec.user = Some("root".into());
        assert!(change(&mut process, &exec, size).unwrap_err().chain().contains("\"root\" is not a numeric id"));
    }
}
