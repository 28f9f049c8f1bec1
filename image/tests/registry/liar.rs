//! A registry that cuts connections, sends other bytes, and more than it promised.

use crate::common::Temp;
use crate::{blobs, copied, image, refused};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What is wrong with the blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// None; but the second half of a large blob comes when there is a file `go` beside the layout.
    Slow,
    /// Each answer ends after half of what is asked for; ranges are understood.
    Cut,
    /// The same, and a range gets everything.
    CutWithoutRanges,
    /// A byte is another one.
    OtherBytes,
    /// There is more than the descriptor says.
    TooLong,
    /// The manifest is another one than its digest says.
    OtherManifest,
}

/// Serves the only image of `layout`, one connection after the other; the number of requests for its large blob.
pub fn serve(layout: PathBuf, lie: Lie) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (layout, counted) = (layout.clone(), counted.clone());
            std::thread::spawn(move || answer(&stream, &layout, lie, &counted));
        }
    });
    (address, count)
}

fn answer(stream: &TcpStream, layout: &Path, lie: Lie, counted: &AtomicUsize) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next()?.ok()?;
    let mut begin = 0;
    for line in lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            begin = range.trim_end_matches('-').parse().ok()?;
        }
    }
    let path = request.split(' ').nth(1)?.to_owned();
    let manifest = manifest_digest(layout);
    let head = |status: &str, length: usize| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
    };
    let mut stream = stream;
    let blob =
        |digest: &str| std::fs::read(layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))).ok();
    if path.contains("/manifests/") {
        let mut bytes = blob(&manifest)?;
        if lie == Lie::OtherManifest {
            bytes.push(b'\n');
        }
        stream.write_all(head("200 OK", bytes.len()).as_bytes()).ok()?;
        return stream.write_all(&bytes).ok();
    }
    let Some((_, digest)) = path.split_once("/blobs/") else {
        return stream.write_all(head("200 OK", 0).as_bytes()).ok();
    };
    let mut bytes = blob(digest)?;
    let is_large = bytes.len() > 10_000;
    counted.fetch_add(usize::from(is_large), Ordering::Relaxed);
    match lie {
        Lie::OtherBytes if is_large => bytes[5000] ^= 1,
        Lie::TooLong if is_large => bytes.extend([0; 100_000]),
        _ => {}
    }
    let status = match begin {
        0 => "200 OK",
        _ if lie == Lie::CutWithoutRanges => "200 OK",
        _ => "206 Partial Content",
    };
    let rest = &bytes[if status.starts_with("206") { begin } else { 0 }..];
    stream.write_all(head(status, rest.len()).as_bytes()).ok()?;
    let end = match lie {
        Lie::Cut if is_large && rest.len() > 500_000 => rest.len() / 2,
        // Beyond what came before.
        Lie::CutWithoutRanges if is_large && begin < 2_000_000 => (rest.len() + begin) / 2,
        _ => rest.len(),
    };
    if lie == Lie::Slow && is_large {
        stream.write_all(&rest[..end / 2]).ok()?;
        while !layout.with_file_name("go").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        return stream.write_all(&rest[end / 2..end]).ok();
    }
    stream.write_all(&rest[..end]).ok()
}

fn manifest_digest(layout: &Path) -> String {
    let index = crate::fixture::json(&layout.join("index.json"));
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

#[test]
fn a_connection_that_is_cut_is_taken_up_where_it_was() {
    for (lie, requests) in [(Lie::Cut, 4), (Lie::CutWithoutRanges, 3)] {
        let temp = Temp::new(&format!("cut-{}", lie as u8));
        image(&temp);
        let (address, count) = serve(temp.path("made"), lie);
        copied(&temp, &format!("docker://{address}/x/web:1"), "oci:got:web");
        assert_eq!(blobs(&temp.path("got")), blobs(&temp.path("made")), "{lie:?}");
        assert_eq!(count.load(Ordering::Relaxed), requests, "{lie:?}");
    }
}

#[test]
fn what_has_another_digest_or_size_is_refused() {
    for (lie, wanted) in
        [(Lie::OtherBytes, "digest"), (Lie::TooLong, "it is larger than"), (Lie::OtherManifest, "digest")]
    {
        let temp = Temp::new(&format!("lie-{}", lie as u8));
        image(&temp);
        let (address, _) = serve(temp.path("made"), lie);
        let digest = manifest_digest(&temp.path("made"));
        let error = refused(&temp, &format!("docker://{address}/x/web@{digest}"), "oci:got:web");
        assert!(error.to_lowercase().contains(wanted), "{lie:?}: {error}");
        let index = crate::fixture::json(&temp.path("got/index.json"));
        assert_eq!(index["manifests"], serde_json::json!([]), "{lie:?}");
        let whole = blobs(&temp.path("made"));
        for blob in blobs(&temp.path("got")) {
            assert!(whole.contains(&blob));
            let path = |layout: &str| temp.path(&format!("{layout}/blobs/sha256/{blob}"));
            assert_eq!(std::fs::read(path("got")).unwrap(), std::fs::read(path("made")).unwrap(), "{lie:?}");
        }
        // No unfinished blob is left either.
        let names: Vec<_> =
            std::fs::read_dir(temp.path("got")).unwrap().map(|name| name.unwrap().file_name()).collect();
        assert_eq!(names.len(), 3, "{lie:?}: {names:?}");
    }
}
