//! Relative paths of a definition count from its file's directory.

use super::schema::{Definition, Project};
use std::path::{Component, Path, PathBuf};

/// How a layer says that it is an image and not a directory.
const IMAGES: [&str; 5] = ["docker://", "oci:", "oci-archive:", "docker-archive:", "containers-storage:"];

/// Of these, what names a file: its path follows, and perhaps `:NAME`.
const FILES: [&str; 3] = ["oci:", "oci-archive:", "docker-archive:"];

/// The project with all paths absolute.
pub fn absolute(project: Project, directory: &Path) -> Project {
    let containers =
        project.containers.into_iter().map(|(name, definition)| (name, of_definition(definition, directory))).collect();
    Project { containers, ..project }
}

/// A definition with all paths of the host absolute.
pub fn of_definition(mut definition: Definition, directory: &Path) -> Definition {
    let at = |text: &mut String| *text = join(directory, text);
    definition.path.iter_mut().for_each(at);
    definition.store_paths.iter_mut().for_each(at);
    definition.network_namespace.iter_mut().for_each(at);
    definition.root_from.iter_mut().for_each(at);
    for layer in &mut definition.root_fs {
        *layer = match FILES.iter().find_map(|kind| Some((kind, layer.strip_prefix(kind)?))) {
            Some((kind, path)) => format!("{kind}{}", join(directory, path)),
            None if is_image(layer) => continue,
            None => join(directory, layer),
        };
    }
    definition.credentials.values_mut().for_each(at);
    for (place, bind) in &mut definition.bind_mounts {
        let place = bind.mount_point.as_ref().unwrap_or(place);
        bind.host_path = Some(join(directory, bind.host_path.as_ref().unwrap_or(place)));
    }
    for volume in definition.volumes.iter_mut().chain(&mut definition.volumes_ro) {
        *volume = match volume.rsplit_once(':') {
            Some((source, place)) => format!("{}:{place}", join(directory, source)),
            None => join(directory, volume),
        };
    }
    if let Some(flake) = &mut definition.flake
        && (flake.starts_with('.') || flake.starts_with('/'))
    {
        let (path, attribute) = flake.split_once('#').map_or((&**flake, None), |(path, name)| (path, Some(name)));
        let path = join(directory, path);
        *flake = attribute.map_or(path.clone(), |name| format!("{path}#{name}"));
    }
    definition
}

/// Whether a layer names an image.
pub fn is_image(layer: &str) -> bool {
    IMAGES.iter().any(|prefix| layer.starts_with(prefix))
}

/// Without `.`, and without `..` where nothing else changes; links stay as they are.
fn join(directory: &Path, path: &str) -> String {
    let mut joined = PathBuf::new();
    for component in directory.join(path).components() {
        match component {
            Component::CurDir => {}
            other => joined.push(other),
        }
    }
    joined.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn relative_paths_count_from_the_directory() {
        let definition: Definition = serde_json::from_value(json!({
            "rootFS": ["./debian", "/abs", "docker://debian:12", "oci:./images:web", "oci-archive:/x.tar"],
            "flake": ".#web",
            "bindMounts": {"/data": {"hostPath": "data"}, "/etc/x": {}},
            "volumes": ["./v:/v", "../w:/w"],
        }))
        .unwrap();
        let definition = of_definition(definition, Path::new("/p/q"));
        assert_eq!(
            definition.root_fs,
            ["/p/q/debian", "/abs", "docker://debian:12", "oci:/p/q/images:web", "oci-archive:/x.tar"]
        );
        assert_eq!(definition.flake.as_deref(), Some("/p/q#web"));
        assert_eq!(definition.bind_mounts["/data"].host_path.as_deref(), Some("/p/q/data"));
        assert_eq!(definition.bind_mounts["/etc/x"].host_path.as_deref(), Some("/etc/x"));
        assert_eq!(definition.volumes, ["/p/q/v:/v", "/p/q/../w:/w"]);
    }
}
