//! The examples of docs/nixos.md are configurations without a mistake.

use crate::evaluate::{Scratch, firnctl, nix};

#[test]
fn examples_are_configurations() {
    let text = include_str!("../../../docs/nixos.md");
    let examples: Vec<&str> = text.split("```nix\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect();
    assert_eq!(examples.len(), 4);
    for example in examples {
        let found = nix(&format!(
            "let host = import (nix + \"/tests/host.nix\") ({example}); in
             {{ inherit (host) mistakes definitions; units = builtins.attrNames host.units; }}"
        ));
        assert_eq!(found["mistakes"], serde_json::json!([]), "{example}");
        let definitions = found["definitions"].as_object().expect("files");
        if definitions.is_empty() {
            continue;
        }
        let scratch = Scratch::new("documents");
        for (path, definition) in definitions {
            scratch.write(path.rsplit('/').next().expect("a name"), &definition.to_string());
        }
        let output = firnctl(&["config", "check", scratch.path().to_str().expect("UTF-8")], "");
        assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_flake_of_a_host_has_the_module() {
    let text = include_str!("../../../docs/nixos.md");
    let flake =
        text.split_once("```nix flake.nix\n").and_then(|(_, rest)| rest.split_once("\n```")).expect("a flake").0;
    let found = nix(&format!(
        "let
           firn = (import (nix + \"/../flake.nix\")).outputs {{ self = firn; }};
           flake = {};
           host = (flake.outputs {{ inherit firn; nixpkgs.lib.nixosSystem = system: system; }}).nixosConfigurations.host;
         in {{ inherit (host) system; inputs = builtins.attrNames flake.inputs;
              module = builtins.head host.modules == nix + \"/nixos\"; }}",
        // A file of the host's.
        flake.replace("./configuration.nix", "{ }")
    ));
    assert_eq!(found, serde_json::json!({"system": "x86_64-linux", "inputs": ["firn"], "module": true}));
}
