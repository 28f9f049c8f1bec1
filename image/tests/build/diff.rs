//! `firn-image diff`.

use crate::common::{Temp, text};
use crate::fixture::{FakeStore, firn_image, success};
use serde_json::{Value, json};

#[test]
fn closures_are_compared_by_package() {
    let temp = Temp::new("diff");
    let mut store = FakeStore::new(&temp);
    let base = store.add("a", "base-1", "base", &[]);
    let old = store.add("b", "app-1.0", "old", &[&base]);
    let new = store.add("c", "app-1.1", "longer", &[&base]);
    let fresh = store.add("d", "fresh", "fresh", &[]);
    let [at, _] = &store.options();
    temp.file("old", &format!("{base}\n{old}\n"), 0o644);
    temp.file("new", &format!("{base}\n{new}\n{fresh}\n"), 0o644);
    let args = ["diff", at, &old, &new, "--old-store-paths", "old", "--new-store-paths", "new"];
    assert_eq!(
        success(&mut firn_image(&temp, &args)),
        "app    version  1.0 -> 1.1   +3 B\nfresh  added                +21 B\n\
         2 paths, 39 B -> 3 paths, 63 B (+24 B)\n"
    );
    let printed = success(&mut firn_image(&temp, &[&args[..], &["--json"]].concat()));
    let facts: Value = serde_json::from_str(&printed).expect("parse JSON");
    assert_eq!(facts["new"], json!({ "paths": 3, "size": 63 }));
    assert_eq!(
        facts["changes"][0],
        json!({
            "name": "app", "change": "version",
            "old": { "versions": ["1.0"], "paths": [old], "size": 19 },
            "new": { "versions": ["1.1"], "paths": [new], "size": 22 },
        })
    );
    let same = ["diff", at, &old, &old, "--old-store-paths", "old", "--new-store-paths", "old"];
    assert_eq!(success(&mut firn_image(&temp, &same)), "2 paths, 39 B -> 2 paths, 39 B (+0 B)\n");
    let image = firn_image(&temp, &["diff", "oci:a:b", "oci:a:c"]).output().expect("run");
    assert!(text(&image.stderr).contains("images are not compared"));
}
