//! The NixOS module, on a host of the tests (nix/tests/host.nix).

use crate::evaluate::{Scratch, firnctl, json_of_firnctl, nix};
use serde_json::{Value, json};

/// What comes of a host's configuration; `what` selects from it.
#[track_caller]
fn host(module: &str, what: &str) -> Value {
    nix(&format!("let host = import (nix + \"/tests/host.nix\") ({module}); in {what}"))
}

/// The definitions of a host, as files that firnctl reads.
fn written(name: &str, definitions: &Value) -> Scratch {
    let scratch = Scratch::new(name);
    for (path, definition) in definitions.as_object().expect("files") {
        let file = path.strip_prefix("firn/containers/").expect("a file of ours");
        scratch.write(file, &definition.to_string());
    }
    scratch
}

#[test]
fn a_native_and_a_foreign_container_become_definitions() {
    let found = host(
        r#"{
          firn.containers.web = {
            config = { lib, ... }: { environment.variables.PORT = "80"; };
            privateNetwork = true;
            hostAddress = "10.1.1.1";
            localAddress = "10.1.1.2/24";
            autoStart = true;
          };
          firn.containers.db = {
            rootFS = [ "/srv/debian" "/srv/db" ];
            instances = 2;
            volumes = [ "/srv/data%i:/data" ];
            extra.addressPrefix = "10.2.%i";
          };
        }"#,
        "{ inherit (host) definitions mistakes; inherit (host.config.networking) hosts;
           inherit (host.config.firn.containers.web.config.environment) variables; }",
    );
    assert_eq!(found["mistakes"], json!([]));
    let hosts = json!({
        "10.1.1.2": ["web.containers"], "10.2.1.2": ["db-1.containers"], "10.2.2.2": ["db-2.containers"],
    });
    assert_eq!(found["hosts"], hosts);
    // Of NixOS's `config.containers.x.config.…`, others read what they need; no daemon is in it.
    assert_eq!(found["variables"], json!({"PORT": "80", "NIX_REMOTE": ""}));

    let files = written("module", &found["definitions"]);
    let directory = files.path().to_str().expect("UTF-8");
    let output = firnctl(&["config", "check", directory], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = json_of_firnctl(&["config", "show", "--json", directory], "");
    let system = shown["containers"]["web"]["path"].as_str().expect("a path").to_owned();
    assert!(system.starts_with("/nix/store/") && system.ends_with("-nixos-system-web"), "{system}");
    let db = |number: u32| {
        json!({
            "rootFS": ["/srv/debian", "/srv/db"], "volumes": [format!("/srv/data{number}:/data")],
            "extra": {"addressPrefix": format!("10.2.{number}")},
        })
    };
    let list = &shown["containers"]["web"]["storePaths"];
    assert!(list.as_str().is_some_and(|list| list.ends_with("-nixos-system-web/store-paths")), "{list}");
    let web = json!({
        "path": system, "storePaths": list, "privateNetwork": true, "hostAddress": "10.1.1.1",
        "localAddress": "10.1.1.2/24", "autoStart": true,
    });
    assert_eq!(shown, json!({"containers": {"web": web, "db-1": db(1), "db-2": db(2)}}));
}
