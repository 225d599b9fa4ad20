//! Long work shown to a person: bars on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;

/// Shows what the store fetches.
pub(crate) struct Show {
    terminal: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl Show {
    pub(crate) fn new() -> Show {
        Show { terminal: std::io::stderr().is_terminal(), bar: Mutex::new(None) }
    }

    fn with_bar(&self, act: impl FnOnce(&mut Option<ProgressBar>)) {
        // A poisoned lock only means that another thread stopped in the middle of a line.
        act(&mut self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}

impl store::progress::Progress for Show {
    fn start(&self, what: &str, _files: u64, bytes: u64) {
        if !self.terminal {
            eprintln!("xeno: fetching {what} ({:.1} MB)", bytes as f64 / 1e6);
            return;
        }
        self.with_bar(|bar| {
            let new = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:24}] {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
                new.set_style(style.progress_chars("=> "));
            }
            new.set_message(what.to_owned());
            *bar = Some(new);
        });
    }

    fn advance(&self, bytes: u64) {
        self.with_bar(|bar| {
            if let Some(bar) = bar {
                bar.inc(bytes);
            }
        });
    }

    fn finish(&self) {
        self.with_bar(|bar| {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
        });
    }

    fn note(&self, text: &str) {
        self.with_bar(|bar| match bar {
            Some(bar) => bar.println(format!("xeno: {text}")),
            None => eprintln!("xeno: {text}"),
        });
    }
}
