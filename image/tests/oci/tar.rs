//! Writes tar archives byte by byte, also such as no program writes.

/// An archive.
#[derive(Clone, Default)]
pub struct Tar(pub Vec<u8>);

/// The fields of a header.
#[derive(Clone)]
pub struct Header<'a> {
    pub kind: u8,
    pub path: &'a [u8],
    pub link: &'a [u8],
    pub mode: u32,
    pub size: u64,
    pub device: (u32, u32),
    pub magic: &'a [u8],
    /// What follows the numbers of the device.
    pub rest: &'a [u8],
}

impl Default for Header<'_> {
    fn default() -> Self {
        let magic = b"ustar\x0000";
        Self { kind: b'0', path: b"", link: b"", mode: 0o644, size: 0, device: (0, 0), magic, rest: b"" }
    }
}

impl Tar {
    /// A header, and its data with padding.
    pub fn member(mut self, header: &Header<'_>, data: &[u8]) -> Self {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, header.path);
        put(100, format!("{:07o}\0", header.mode).as_bytes());
        put(108, b"0000000\x000000000\0");
        put(124, format!("{:011o}\0{:011o}\0", header.size, 1_000_000_000).as_bytes());
        put(148, b"        ");
        put(156, &[header.kind]);
        put(157, header.link);
        put(257, header.magic);
        put(329, format!("{:07o}\0{:07o}\0", header.device.0, header.device.1).as_bytes());
        put(345, header.rest);
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, path: &str, text: &str) -> Self {
        let header = Header { path: path.as_bytes(), size: text.len() as u64, ..Header::default() };
        self.member(&header, text.as_bytes())
    }

    pub fn directory(self, path: &str) -> Self {
        self.member(&Header { kind: b'5', path: path.as_bytes(), mode: 0o755, ..Header::default() }, b"")
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.link(b'2', path, target)
    }

    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.link(b'1', path, target)
    }

    fn link(self, kind: u8, path: &str, target: &str) -> Self {
        self.member(&Header { kind, path: path.as_bytes(), link: target.as_bytes(), ..Header::default() }, b"")
    }

    /// An extended header of PAX: of the next member, or a global one.
    pub fn pax(self, kind: u8, records: &[(&str, &[u8])]) -> Self {
        let mut text = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (1..).map(|digits| rest + digits).find(|length| rest + length.to_string().len() == *length);
            text.extend_from_slice(format!("{} {key}=", length.expect("a length")).as_bytes());
            text.extend_from_slice(value);
            text.push(b'\n');
        }
        self.member(&Header { kind, path: b"pax", size: text.len() as u64, ..Header::default() }, &text)
    }

    /// A long name (L) or target (K) of GNU.
    pub fn long(self, kind: u8, name: &[u8]) -> Self {
        let magic = b"ustar  \0";
        let header = Header { kind, path: b"././@LongLink", size: name.len() as u64 + 1, magic, ..Header::default() };
        self.member(&header, &[name, b"\0"].concat())
    }

    /// With the end marker.
    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}
