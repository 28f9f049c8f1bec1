//! A registry that takes blobs, and breaks off or has too much to do at first.

use crate::common::Temp;
use crate::{copied, image, refused};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What has happened: bodies by path, and the numbers of tries.
#[derive(Default)]
struct Taken {
    blobs: HashMap<String, usize>,
    manifests: usize,
    cut: usize,
    busy: usize,
}

/// Takes what is sent. The first `cut` uploads of a large blob are broken off in their middle; the first
/// `busy` manifests get the status 503.
fn serve(cut: usize, busy: usize) -> (String, Arc<Mutex<Taken>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let taken = Arc::new(Mutex::new(Taken { cut, busy, ..Taken::default() }));
    let shared = taken.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = shared.clone();
            std::thread::spawn(move || answer(&stream, &shared));
        }
    });
    (address, taken)
}

fn answer(stream: &TcpStream, taken: &Mutex<Taken>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    let mut length = 0_usize;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(number) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = number.trim().parse().ok()?;
        }
    }
    let (method, path) = (request.split(' ').next()?, request.split(' ').nth(1)?.to_owned());
    let status = match method {
        "GET" => "200 OK",
        "HEAD" => "404 Not Found",
        "POST" => "202 Accepted\r\nLocation: /v2/x/web/blobs/uploads/1?state=a",
        "PUT" if path.contains("/manifests/") => {
            let mut taken = taken.lock().unwrap();
            if taken.busy > 0 {
                taken.busy -= 1;
                "503 Service Unavailable"
            } else {
                taken.manifests += 1;
                "201 Created\r\nLocation: /v2/x/web/manifests/1"
            }
        }
        _ => {
            if length > 1_000_000 && taken.lock().unwrap().cut > 0 {
                taken.lock().unwrap().cut -= 1;
                reader.read_exact(&mut vec![0; length / 2]).ok()?;
                return stream.shutdown(std::net::Shutdown::Both).ok();
            }
            let mut bytes = vec![0; length];
            reader.read_exact(&mut bytes).ok()?;
            let digest = path.split("digest=sha256%3A").nth(1)?.to_owned();
            taken.lock().unwrap().blobs.insert(digest, length);
            length = 0;
            "201 Created\r\nLocation: /v2/x/web/blobs/1"
        }
    };
    reader.read_exact(&mut vec![0; length]).ok()?;
    let mut stream = stream;
    stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes()).ok()
}

#[test]
fn what_breaks_off_is_sent_again() {
    let temp = Temp::new("push-again");
    image(&temp);
    let (address, taken) = serve(2, 2);
    copied(&temp, "oci:made:web", &format!("docker://{address}/x/web:1"));
    let taken = taken.lock().unwrap();
    assert_eq!((taken.cut, taken.busy, taken.manifests), (0, 0, 1));
    let sent: HashMap<_, _> = crate::blobs(&temp.path("made"))
        .into_iter()
        .map(|blob| (blob.clone(), std::fs::metadata(temp.path(&format!("made/blobs/sha256/{blob}"))).unwrap().len()))
        .filter(|(blob, _)| taken.blobs.contains_key(blob))
        .collect();
    assert_eq!(sent.len(), 3, "two layers and the config");
    assert!(sent.iter().all(|(blob, size)| taken.blobs[blob] as u64 == *size));
}

#[test]
fn a_registry_that_never_goes_on_is_given_up() {
    let temp = Temp::new("push-never");
    image(&temp);
    let (address, taken) = serve(100, 0);
    let error = refused(&temp, "oci:made:web", &format!("docker://{address}/x/web:1"));
    assert!(error.contains("blob sha256:"), "{error}");
    assert_eq!(taken.lock().unwrap().manifests, 0);
}
