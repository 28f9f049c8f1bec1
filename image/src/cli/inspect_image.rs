//! `firn-image inspect REFERENCE`: the layers of an image and their sizes, and what it says about
//! running it.

use super::size::bytes;
use super::transfer;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::source::image::ImageSource;
use crate::store::layout::sorted;
use crate::store::pull::Parts;
use anyhow::{Context, Result};
use oci_spec::image::{Descriptor, History};
use serde_json::{Value, json};

/// A description of the image, as JSON or as a table.
pub(super) fn describe(text: &str, reference: &Reference, platform: Option<&Platform>, json: bool) -> Result<String> {
    let what = || format!("image {text}");
    let image = transfer::open(reference, platform, Parts::Documents).with_context(what)?;
    let facts = facts(text, &image.source)?;
    Ok(if json { format!("{:#}\n", sorted(&facts)) } else { table(&facts) })
}

fn facts(text: &str, source: &ImageSource) -> Result<Value> {
    let image = &source.image;
    let history = image.config.history().iter().flatten().filter(|entry| !entry.empty_layer().unwrap_or(false));
    let mut history = history.map(Some).chain(std::iter::repeat(None));
    let layers: Vec<Value> = image
        .layers
        .iter()
        .map(|layer| {
            let entry: Option<&History> = history.next().flatten();
            json!({
                "digest": layer.digest(),
                "diffId": layer.diff_id,
                "size": layer.blob.as_ref().map(Descriptor::size),
                "mediaType": layer.blob.as_ref().map(|blob| blob.media_type().to_string()),
                "createdBy": entry.and_then(|entry| entry.created_by().clone()),
                "comment": entry.and_then(|entry| entry.comment().clone()),
            })
        })
        .collect();
    let size: u64 = image.layers.iter().filter_map(|layer| layer.blob.as_ref()).map(Descriptor::size).sum();
    let config = serde_json::to_value(&image.config).context("make JSON")?;
    Ok(json!({ "reference": text, "layers": layers, "size": size, "config": config }))
}

fn table(facts: &Value) -> String {
    let config = &facts["config"];
    let mut rows = vec![("image", plain(&facts["reference"]))];
    for (title, value) in [
        ("created", &config["created"]),
        ("author", &config["author"]),
        ("entrypoint", &config["config"]["Entrypoint"]),
        ("command", &config["config"]["Cmd"]),
        ("user", &config["config"]["User"]),
        ("directory", &config["config"]["WorkingDir"]),
        ("stop", &config["config"]["StopSignal"]),
    ] {
        if !value.is_null() {
            rows.push((title, plain(value)));
        }
    }
    rows.push(("platform", format!("{}/{}", plain(&config["os"]), plain(&config["architecture"]))));
    for (title, key) in [("env", "Env"), ("ports", "ExposedPorts"), ("volumes", "Volumes"), ("labels", "Labels")] {
        for (number, line) in members(&config["config"][key]).into_iter().enumerate() {
            rows.push((if number == 0 { title } else { "" }, line));
        }
    }
    let layers = facts["layers"].as_array().map_or(&[][..], Vec::as_slice);
    for (number, layer) in layers.iter().enumerate() {
        let title = if number == 0 { "layers" } else { "" };
        rows.push((title, layer_line(layer)));
    }
    rows.push(("size", bytes(facts["size"].as_u64().unwrap_or(0))));
    let row = |(title, value): &(&str, String)| {
        let value = value.replace('\n', "\\u000a");
        format!("{title:<10}  {}\n", firn::log::printable(&value))
    };
    rows.iter().map(row).collect()
}

/// Lowest first, as in the manifest.
fn layer_line(layer: &Value) -> String {
    let digest = plain(&layer["digest"]);
    let short = digest.get(..19).unwrap_or(&digest);
    let size = layer["size"].as_u64().map_or("-".into(), bytes);
    let origin = [&layer["comment"], &layer["createdBy"]].into_iter().find(|text| !text.is_null());
    format!("{short}  {size:>10}  {}", origin.map(plain).unwrap_or_default()).trim_end().to_owned()
}

/// A text, or words.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(words) => words.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// The members of a list, and of an object as KEY=VALUE, or KEY alone where the value is empty.
fn members(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().map(plain).collect(),
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| match value {
                Value::Object(_) => key.clone(),
                value => format!("{key}={}", plain(value)),
            };
            let mut lines: Vec<String> = fields.iter().map(field).collect();
            lines.sort();
            lines
        }
        _ => Vec::new(),
    }
}
