fn main() {
    use firn_conformance::{engine::Stand, score, view::View};
    let f = std::path::Path::new("/tmp/pb/stand");
    let bin = std::env::current_exe().unwrap();
    let bin = bin.parent().unwrap();
    let stand = Stand::make(f, &bin.join("firn"), &bin.join("firn-floor")).unwrap();
    for view in View::ALL {
        for (name, c) in [("podman", &stand.podman), ("spec", &stand.spec)] {
            let id = format!("fb-{name}");
            let c = Stand::config(c, view, &id, &["/bin/true"]);
            stand.bundle(&format!("{name}-{}", view.name()), &c).unwrap();
            let plan = score::plan(&c, &id, &view.layout()).unwrap();
            std::fs::write(f.join(format!("{name}-{}.score", view.name())), score::container(&plan, &view.layout()))
                .unwrap();
        }
    }
}
