//! What takes minutes to make and is kept between runs: /var/cache/firn, or the
//! directory that FIRN_CACHE names.

use crate::Result;
use std::path::{Path, PathBuf};

/// The directory `NAME-RECIPE`, made by `make` if it isn't there. It appears under
/// its name when it is whole; those of other recipes go.
pub fn entry(name: &str, recipe: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = std::env::var_os("FIRN_CACHE").map_or_else(|| PathBuf::from("/var/cache/firn"), PathBuf::from);
    std::fs::create_dir_all(&cache)?;
    // One at a time makes; a process that waited finds it made. Closing lets go.
    let lock = std::fs::File::create(cache.join(format!(".{name}.lock")))?;
    lock.lock()?;
    let directory = cache.join(format!("{name}-{recipe}"));
    if directory.exists() {
        return Ok(directory);
    }
    remove_others(&cache, &format!("{name}-"))?;
    let unfinished = cache.join(format!("{name}-new"));
    std::fs::create_dir(&unfinished)?;
    if let Err(error) = make(&unfinished) {
        std::fs::remove_dir_all(&unfinished)?;
        return Err(error);
    }
    std::fs::rename(&unfinished, &directory)?;
    Ok(directory)
}

/// Folders of older recipes, and what a run that was cut off left.
fn remove_others(cache: &Path, prefix: &str) -> Result<()> {
    for entry in std::fs::read_dir(cache)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // The rest of the name is a recipe, not a longer name.
        if name.strip_prefix(prefix).is_some_and(|rest| !rest.contains('-')) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// FNV-1a: names a recipe, protects nothing.
pub fn fingerprint(parts: &[&str]) -> String {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}
