//! A container's options in Nix are those of firnctl: names, defaults, texts and types.

use crate::evaluate::{directory, firnctl, json_of_firnctl, nix};
use serde_json::{Map, Value, json};

/// Of an option or what lies in it, by path.
fn told(schema: &Value, path: &str, all: &mut Map<String, Value>) {
    for (name, option) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}{name}");
        let mut text = json!({"description": option["description"].as_str().expect("a text").replace('\n', " ")});
        if let Some(default) = option.get("default") {
            text["default"] = default.clone();
        }
        told(option, &format!("{path}."), all);
        for part in ["items", "additionalProperties"] {
            told(&option[part], &format!("{path}."), all);
        }
        all.insert(path, text);
    }
}

#[test]
fn names_defaults_and_texts_are_the_schemas() {
    let schema = json_of_firnctl(&["config", "schema"], "");
    let file = std::fs::read(directory().join("schema.json")).expect("read nix/schema.json");
    let file: Value = serde_json::from_slice(&file).expect("JSON");
    assert!(file == schema, "nix/schema.json is of another firnctl: `firnctl config schema > nix/schema.json`");

    // As the module system has them, with those of submodules.
    let found = nix("let
           tell = prefix: tree: builtins.foldl' (all: name: all // one \"${prefix}${name}\" tree.${name}) { }
             (builtins.filter (name: name != \"_module\") (builtins.attrNames tree));
           one = path: option: tell \"${path}.\" (option.type.getSubOptions [ ]) // {
             ${path} = { inherit (option) description; }
               // (if option ? default then { inherit (option) default; } else { });
           };
         in tell \"\" (import (nix + \"/options.nix\") { inherit lib; }).options");
    let mut expected = Map::new();
    told(&schema["properties"]["containers"]["additionalProperties"], "", &mut expected);
    assert_eq!(found, Value::Object(expected));
}

/// Values of options: each is right or wrong for both.
#[test]
fn types_are_the_schemas() {
    let values = [
        ("path", json!("/x"), json!(1)),
        ("rootFS", json!(["./a", "docker://b"]), json!("./a")),
        ("ephemeral", json!(true), json!("yes")),
        ("hostname", json!(null), json!([])),
        ("localAddress", json!("10.0.0.1/8"), json!({})),
        ("forwardPorts", json!([{"hostPort": 80, "protocol": "sctp"}]), json!([{"hostPort": 80, "protocol": "icmp"}])),
        ("forwardPorts", json!([{"hostPort": 65535, "containerPort": null}]), json!([{"hostPort": 65536}])),
        ("forwardPorts", json!([]), json!([{"hostPort": 0}])),
        ("forwardPorts", json!([]), json!([{"protocol": "tcp"}])),
        ("extraVeths", json!({"a": {"hostInterface": "b", "localAddress6": "fd00::1"}}), json!({"a": {"path": "/"}})),
        ("extra", json!({"addressPrefix": "10.1.1", "enableWAN": true}), json!({"enableWan": true})),
        ("bindMounts", json!({"/a": {"hostPath": "/b", "isReadOnly": false}}), json!({"/a": {"readOnly": true}})),
        ("bindMounts", json!({"/a": {"idmap": "rootidmap"}}), json!({"/a": {"idmap": "yes"}})),
        ("allowedDevices", json!([{"node": "/dev/a", "modifier": "r"}]), json!([{"node": "/dev/a"}])),
        ("privateUsers", json!("pick"), json!("some")),
        ("privateUsers", json!(65536), json!(-1)),
        ("privateUsers", json!(4_294_967_295_u32), json!(4_294_967_296_u64)),
        ("restart", json!("always"), json!("never")),
        ("timeoutStartSec", json!("1min"), json!(true)),
        ("timeoutStopSec", json!(5), json!(-5)),
        ("notify", json!(false), json!("no")),
        ("instances", json!(1000), json!(0)),
        ("memory", json!("1G"), json!(1.5)),
        ("cpus", json!(1.5), json!("1.5")),
        ("cpus", json!(2), json!([])),
        ("pids", json!(1), json!(4_194_305)),
        ("environment", json!({"A": "b"}), json!({"A": 1})),
        ("ociConfig", json!({"a": {"b": [null, 1]}}), json!([])),
        ("hostAdress", json!(null), json!("10.0.0.1")),
    ];
    let all: Vec<Value> =
        values.iter().flat_map(|(name, good, bad)| [json!({*name: good}), json!({*name: bad})]).collect();
    let text = Value::Array(all.clone());
    let in_nix = nix(&format!(
        "let
           options = (import (nix + \"/options.nix\") {{ inherit lib; }}).options;
           accepts = config: (builtins.tryEval (builtins.deepSeq
             (lib.evalModules {{ modules = [ {{ inherit options config; }} ]; }}).config true)).success;
         in map accepts (builtins.fromJSON ''{text}'')"
    ));
    for (value, in_nix) in all.iter().zip(in_nix.as_array().expect("a list")) {
        let project = json!({"containers": {"a": value}}).to_string();
        let output = firnctl(&["config", "check", "--json", "-"], &project);
        let mistakes: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        // What a text means, and which options go together, only firnctl knows.
        let is_of_type =
            |text: &str| text.starts_with("must be ") || text.starts_with("no such") || text.ends_with(" is missing");
        let is_bad = mistakes
            .as_array()
            .expect("a list")
            .iter()
            .any(|mistake| is_of_type(mistake["message"].as_str().unwrap_or_default()));
        assert_eq!(in_nix, &json!(!is_bad), "{value}: {mistakes}");
    }
}
