//! `firn-image verify`: what is broken in images and unpacked layers.

use super::store::{Place, StoreArgs};
use crate::oci::reference::Reference;
use crate::source::image::ImageSource;
use crate::store::layers::LayerStore;
use crate::store::list::list;
use crate::store::scratch;
use crate::store::verify::Findings;
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

/// Verify all blobs of images by their digests and sizes, and the store's unpacked layers by unpacking
/// them anew and comparing all files.
///
/// Prints what is broken, and exits with status 1 if something is. An unpacked layer whose archive is not in
/// the store is not compared.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// [docker://][REGISTRY/]NAME[:TAG|@DIGEST] of the store, with its unpacked layers; or oci:DIR[:TAG],
    /// oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME]. All of the store, if not given.
    #[arg(value_name = "REFERENCE")]
    image: Option<Place>,

    #[command(flatten)]
    store: StoreArgs,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Verifies, and prints what is broken.
pub(super) fn run(args: &VerifyArgs) -> Result<()> {
    let mut findings = Findings::default();
    match &args.image {
        None => {
            let store = args.store.open()?;
            if store.images().join("index.json").exists() {
                check_layout(&store.images(), Some(&store), &mut findings)?;
            }
            findings.add_unknown(&store)?;
        }
        Some(Place::Store(name)) => {
            let store = args.store.open()?;
            check_image(&name.in_store(&store), Some(&store), &mut findings)?;
        }
        Some(Place::Elsewhere(Reference::Layout { directory, name }))
            if name.tag.is_none() && name.digest.is_none() =>
        {
            check_layout(directory, None, &mut findings)?;
        }
        Some(Place::Elsewhere(reference)) => check_image(reference, None, &mut findings)?,
    }
    let text = if args.json { format!("{:#}\n", to_json(&findings)) } else { table(&findings) };
    std::io::stdout().write_all(firn::log::printable(&text).as_bytes()).context("print")?;
    match findings.broken.len() {
        0 => Ok(()),
        1 => bail!("one thing is broken: pull the image again, or remove it and make its bundles anew"),
        count => bail!("{count} things are broken: pull the images again, or remove them and make their bundles anew"),
    }
}

/// All images of a layout.
fn check_layout(directory: &Path, store: Option<&LayerStore>, findings: &mut Findings) -> Result<()> {
    for image in list(directory)? {
        check_image(&image.reference(directory), store, findings)?;
    }
    Ok(())
}

fn check_image(reference: &Reference, store: Option<&LayerStore>, findings: &mut Findings) -> Result<()> {
    let source = match ImageSource::open(reference, None, &scratch::place()) {
        Ok(source) => source,
        Err(error) => {
            findings.add(format!("image {reference}"), &error);
            return Ok(());
        }
    };
    findings.check_image(&reference.to_string(), &source);
    for layer in store.iter().flat_map(|_| &source.image.layers) {
        if let Some(store) = store {
            findings.check_unpacked(store, source.blobs(), layer)?;
        }
    }
    Ok(())
}

fn to_json(findings: &Findings) -> Value {
    let broken = findings.broken.iter().map(|(what, how)| json!({ "what": what, "how": how }));
    json!({
        "blobs": findings.blobs, "layers": findings.layers, "notCompared": findings.unknown,
        "broken": broken.collect::<Vec<_>>(),
    })
}

fn table(findings: &Findings) -> String {
    let row = |(what, how): &(String, String)| format!("{what}: {how}").replace('\n', "\\u000a") + "\n";
    let broken: String = findings.broken.iter().map(row).collect();
    let unknown = match findings.unknown.len() {
        0 => String::new(),
        count => format!(", {count} layers without an archive not compared"),
    };
    broken + &format!("{} blobs, {} unpacked layers verified{unknown}\n", findings.blobs, findings.layers)
}
