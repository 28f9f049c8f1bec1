//! Progress of long work, on a terminal; elsewhere nothing is printed.

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes after which the count is shown anew.
const STEP: u64 = 1 << 20;

/// A bar on stderr, which is removed with this.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    bytes: AtomicU64,
}

impl Progress {
    /// Of so many layers.
    pub(crate) fn of_layers(count: usize) -> Self {
        // Hidden where stderr is no terminal.
        let bar = ProgressBar::new(count as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} layers {msg}") {
            bar.set_style(style);
        }
        Self { bar, bytes: AtomicU64::new(0) }
    }

    /// A layer is done.
    pub(crate) fn layer_done(&self) {
        self.bar.inc(1);
    }

    /// Counts what is written.
    pub(crate) fn count<W: Write>(&self, inner: W) -> Counted<'_, W> {
        Counted { inner, progress: self }
    }

    fn add(&self, count: u64) {
        let before = self.bytes.fetch_add(count, Ordering::Relaxed);
        if before / STEP != (before + count) / STEP && !self.bar.is_hidden() {
            self.bar.set_message(HumanBytes(before + count).to_string());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Passes bytes on, and counts them.
#[derive(Debug)]
pub(crate) struct Counted<'a, W> {
    pub(crate) inner: W,
    progress: &'a Progress,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.progress.add(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
