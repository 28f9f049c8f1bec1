//! A registry that takes tokens: a blob is mounted from another repository by a token for both.

use crate::common::Temp;
use crate::fixture::{firn_image, success};
use crate::{copied, image};
use serde_json::Value;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the registry has: the repositories of each blob, and what was asked for tokens.
#[derive(Default)]
struct Held {
    blobs: HashSet<(String, String)>,
    tokens: Vec<String>,
    mounts: usize,
    refused: usize,
}

fn serve() -> (String, Arc<Mutex<Held>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let held = Arc::new(Mutex::new(Held::default()));
    let (shared, own) = (held.clone(), address.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (shared, own) = (shared.clone(), own.clone());
            std::thread::spawn(move || answer(&stream, &shared, &own));
        }
    });
    (address, held)
}

/// The token is the list of scopes itself, in hexadecimal.
fn answer(mut stream: &TcpStream, held: &Mutex<Held>, own: &str) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let (method, path) = (line.split(' ').next()?.to_owned(), line.split(' ').nth(1)?.to_owned());
    let (mut length, mut scopes) = (0_usize, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim();
        match header.split_once(": ") {
            None => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().ok()?,
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                scopes = from_hex(value.strip_prefix("Bearer ")?)
            }
            Some(_) => {}
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    let mut body = String::new();
    let mut held = held.lock().unwrap();
    let repository =
        path.strip_prefix("/v2/").and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default().to_owned();
    let may = |repository: &str, access: &str| {
        scopes.lines().any(|scope| {
            let mut parts = scope.split(':').skip(1);
            parts.next() == Some(repository)
                && parts.next().is_some_and(|list| list.split(',').any(|one| one == access))
        })
    };
    let parameter = |name: &str| {
        let query = path.split_once('?').map_or("", |(_, query)| query);
        let value = query.split('&').find_map(|one| one.strip_prefix(&format!("{name}=")));
        value.map(|value| value.replace("%3A", ":").replace("%2F", "/").replace("%2C", ","))
    };
    let status = if path.starts_with("/token") {
        let query = path.split_once('?')?.1.replace("%3A", ":").replace("%2C", ",");
        let asked: Vec<_> = query.split('&').filter_map(|one| one.strip_prefix("scope=")).collect();
        held.tokens.push(asked.join(" "));
        let token: String = asked.join("\n").bytes().map(|byte| format!("{byte:02x}")).collect();
        body = format!("{{\"token\":\"{token}\"}}");
        "200 OK".to_owned()
    } else if scopes.is_empty() || !may(&repository, "pull") && !repository.is_empty() {
        format!("401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://{own}/token\",service=\"test\"")
    } else {
        match (method.as_str(), parameter("mount"), parameter("digest")) {
            ("HEAD", ..) => {
                let blob = (repository, path.rsplit('/').next()?.to_owned());
                if held.blobs.contains(&blob) { "200 OK" } else { "404 Not Found" }.to_owned()
            }
            ("POST", Some(digest), _) => {
                let from = parameter("from")?;
                match may(&from, "pull") && held.blobs.contains(&(from, digest.clone())) {
                    true => {
                        held.mounts += 1;
                        held.blobs.insert((repository.clone(), digest.clone()));
                        format!("201 Created\r\nLocation: /v2/{repository}/blobs/{digest}")
                    }
                    false => {
                        held.refused += 1;
                        format!("202 Accepted\r\nLocation: /v2/{repository}/blobs/uploads/1?state=a")
                    }
                }
            }
            ("POST", ..) => format!("202 Accepted\r\nLocation: /v2/{repository}/blobs/uploads/1?state=a"),
            ("PUT", _, Some(digest)) => {
                held.blobs.insert((repository.clone(), digest));
                format!("201 Created\r\nLocation: /v2/{repository}/blobs/1")
            }
            ("PUT", ..) => format!("201 Created\r\nLocation: /v2/{repository}/manifests/1"),
            _ => "200 OK".to_owned(),
        }
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).ok()
}

fn from_hex(text: &str) -> String {
    let byte = |at| u8::from_str_radix(text.get(at..at + 2).unwrap_or("20"), 16).unwrap_or(b' ');
    (0..text.len()).step_by(2).map(|at| char::from(byte(at))).collect()
}

#[test]
fn blobs_are_mounted_by_a_token_for_both_repositories() {
    let temp = Temp::new("push-tokens");
    image(&temp);
    let (address, held) = serve();
    copied(&temp, "oci:made:web", &format!("docker://{address}/one:1"));
    let copy = ["copy", "--json", "oci:made:web", &format!("docker://{address}/two:1")];
    let printed = success(&mut firn_image(&temp, &copy));
    let facts: Value = serde_json::from_str(&printed).expect("parse JSON");
    let ways: Vec<_> = facts["blobs"].as_array().expect("blobs").iter().map(|blob| blob["way"].clone()).collect();
    assert_eq!(ways, ["mounted", "mounted", "mounted"]);
    let held = held.lock().unwrap();
    assert_eq!((held.mounts, held.refused), (3, 0));
    // One token for all three, which reads the one repository and writes the other.
    let of_both = held.tokens.iter().filter(|scopes| scopes.contains("one:pull") && scopes.contains("two:pull,push"));
    assert_eq!(of_both.count(), 1, "{:?}", held.tokens);
}
