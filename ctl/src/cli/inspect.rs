//! `firnctl inspect` and `show-host-key`: what is known of a container, and its key of SSH.

use super::places::{PlaceArgs, find};
use crate::access::user::Root;
use crate::generation::Container;
use crate::view::answer::{Form, json_of, print_json};
use crate::view::state::Seen;
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

/// Print all that is known of containers, as JSON: their definitions, what runs, and how they do.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Names of containers.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// For those who type it: it is JSON anyway.
    #[arg(long, hide = true)]
    json: bool,
}

/// Print the public key by which a container's own sshd is known.
#[derive(Debug, Args)]
pub struct ShowHostKeyArgs {
    /// Name of the container.
    name: String,
    #[command(flatten)]
    form: Form,
}

/// As nixos-container looks for them.
const HOST_KEYS: [&str; 2] = ["/etc/ssh/ssh_host_ed25519_key.pub", "/etc/ssh/ssh_host_ecdsa_key.pub"];

/// Prints an array.
pub fn inspect(arguments: &InspectArgs, places: &PlaceArgs) -> Result<()> {
    places.become_owner()?;
    let places = places.places()?;
    let all = arguments.names.iter().map(|name| known(&find(&places, name)?)).collect::<Result<Vec<_>>>()?;
    print_json(&Value::Array(all))
}

fn known(container: &Container) -> Result<Value> {
    let wanted = container.wanted()?.with_context(|| format!("container {}: is not installed", container.name))?;
    let mut known = Seen::look(container).json();
    known["definition"] = json_of(&wanted.definition)?;
    known["overridden"] = json!(wanted.overridden());
    known["running"] = json_of(&container.running()?)?;
    known["stateDir"] = json!(container.state_dir());
    known["runDir"] = json!(container.run_dir());
    known["log"] = json!(container.log());
    Ok(known)
}

/// Prints the key.
pub fn show_host_key(arguments: &ShowHostKeyArgs, places: &PlaceArgs) -> Result<()> {
    places.become_owner()?;
    let container = find(&places.places()?, &arguments.name)?;
    let Some(key) = host_key(&container)? else { bail!("container {}: has no host key of SSH", container.name) };
    arguments.form.answer(|| Ok(json!({"name": container.name, "key": key.trim_end()})), || key.clone())
}

/// The first of its keys.
pub fn host_key(container: &Container) -> Result<Option<String>> {
    let Some(root) = Root::of_any(container)? else { return Ok(None) };
    for path in HOST_KEYS {
        let key = root.text(path)?;
        if !key.is_empty() {
            return Ok(Some(key));
        }
    }
    Ok(None)
}
