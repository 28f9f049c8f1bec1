//! `firn-image inspect`.

use crate::common::{IMAGE, Temp, text};
use serde_json::{Value, json};
use std::process::{Command, Output};

fn inspect(temp: &Temp, args: &[&str]) -> Output {
    Command::new(IMAGE).arg("inspect").args(args).current_dir(&temp.0).output().expect("run")
}

#[test]
fn says_what_a_bundle_is_made_of() {
    let temp = Temp::new("inspect");
    temp.layer("low");
    temp.layer("high");
    temp.made(&["--layer", "low", "--layer", "high", "-o", "web", "--", "serve", "-p", "80"]);
    let output = inspect(&temp, &["web"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let dir = temp.0.display();
    assert_eq!(
        text(&output.stdout),
        format!(
            "bundle    {dir}/web\nhostname  web\ninit      firn-init\ncommand   serve -p 80\n\
             ready     when process 1 says so\nlayers    {dir}/low\n          {dir}/high\n\
             upper     tmpfs\n"
        )
    );
}

#[test]
fn names_do_not_steer_the_terminal() {
    let temp = Temp::new("inspect-escapes");
    let name = "low\x1b[31m\u{9b}31m\u{7f}\nhostname  forged";
    temp.layer(name);
    temp.made(&["--layer", name, "-o", "web", "--", "\x1b]0;title\x07"]);
    for remove in [false, true] {
        if remove {
            std::fs::remove_dir_all(temp.path(name)).expect("remove the layer");
        }
        for args in [&["web"][..], &["web", "--json"]] {
            let output = inspect(&temp, args);
            for said in [text(&output.stdout), text(&output.stderr)] {
                let control = said.chars().find(|c| c.is_control() && *c != '\n');
                assert_eq!(control, None, "{said:?}");
                assert!(!said.lines().any(|line| line == "hostname  forged"), "{said}");
            }
        }
    }
    let facts: Value = serde_json::from_slice(&inspect(&temp, &["web", "--json"]).stdout).expect("parse JSON");
    assert_eq!(facts["layers"], json!([temp.path(name)]));
}

#[test]
fn names_what_is_missing() {
    let temp = Temp::new("inspect-missing");
    temp.layer("low");
    temp.made(&["--layer", "low", "-o", "web"]);
    std::fs::rename(temp.path("low"), temp.path("moved")).expect("move layer");
    let output = inspect(&temp, &["web", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("low is missing: make the bundle anew"));
    let facts: Value = serde_json::from_slice(&output.stdout).expect("parse JSON");
    assert_eq!(facts["missing"], json!([temp.path("low")]));
    assert_eq!(facts["command"], json!(["/init"]));
    assert_eq!(facts["init"], "own");

    let output = inspect(&temp, &["moved"]);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.contains("bundle moved: read config.json"), "{message}");
}
