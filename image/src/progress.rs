//! Progress of long work, on a terminal; elsewhere nothing is printed.

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes after which the count is shown anew.
const STEP: u64 = 1 << 20;

/// A bar on stderr, which is removed with this.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Bytes so far, where the bar is one of layers.
    bytes: Option<AtomicU64>,
}

impl Progress {
    /// Of so many layers, and bytes of unknown number.
    pub(crate) fn of_layers(count: usize) -> Self {
        let bar = bar(count as u64, "{bar:30} {pos}/{len} layers {msg}");
        Self { bar, bytes: Some(AtomicU64::new(0)) }
    }

    /// Of so many bytes. `verb` is what is done with them.
    pub(crate) fn of_bytes(verb: &'static str, total: u64) -> Self {
        let bar = bar(total, "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}");
        bar.set_message(verb);
        Self { bar, bytes: None }
    }

    /// Of a wait for others.
    pub(crate) fn waiting(message: &'static str) -> Self {
        let bar = bar(0, "{msg}");
        bar.set_message(message);
        bar.tick();
        Self { bar, bytes: None }
    }

    /// A layer is done.
    pub(crate) fn layer_done(&self) {
        self.bar.inc(1);
    }

    /// Counts what is read or written.
    pub(crate) fn count<T>(&self, inner: T) -> Counted<'_, T> {
        Counted { inner, progress: self }
    }

    pub(crate) fn add(&self, count: u64) {
        let Some(bytes) = &self.bytes else { return self.bar.inc(count) };
        let before = bytes.fetch_add(count, Ordering::Relaxed);
        if before / STEP != (before + count) / STEP && !self.bar.is_hidden() {
            self.bar.set_message(HumanBytes(before + count).to_string());
        }
    }

    /// Bytes that are to be done again.
    pub(crate) fn take_back(&self, count: u64) {
        self.bar.dec(count);
    }
}

/// Hidden where stderr is no terminal.
fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Passes bytes on, and counts them.
#[derive(Debug)]
pub(crate) struct Counted<'a, T> {
    pub(crate) inner: T,
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

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.progress.add(count as u64);
        Ok(count)
    }
}
