//! A display without a screen: an X server that draws into memory, what it shows as a picture, and which windows it
//! has. Judges a picture only by whether something is on it; people look at it.

use crate::process;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running server; ends with the value.
pub(super) struct Display {
    server: Child,
    number: u32,
}

impl Display {
    /// Starts one that everybody on this machine may use, at a number of its own choice.
    pub(super) fn start() -> Result<Display> {
        process::need(&[("Xvfb", "xvfb"), ("import", "imagemagick"), ("xwininfo", "x11-utils")])?;
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1024x768x24", "-nolisten", "tcp", "-ac", "+extension", "GLX"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start Xvfb")?;
        let mut line = String::new();
        BufReader::new(server.stdout.take().context("Xvfb says nothing")?).read_line(&mut line).context("hear from Xvfb")?;
        let number = line.trim().parse().with_context(|| format!("Xvfb took the display {line:?}"))?;
        Ok(Display { server, number })
    }

    /// The value of `DISPLAY`.
    pub(super) fn name(&self) -> String {
        format!(":{}", self.number)
    }

    /// The titles of all windows.
    pub(super) fn windows(&self) -> Result<String> {
        process::output(Command::new("xwininfo").args(["-root", "-tree", "-display", &self.name()]))
    }

    /// Writes what is shown into a PNG file; returns how many colours it has.
    pub(super) fn picture(&self, to: &Path) -> Result<u32> {
        process::output(Command::new("import").args(["-display", &self.name(), "-window", "root"]).arg(to))?;
        let colours = process::output(Command::new("identify").args(["-format", "%k"]).arg(to))?;
        colours.trim().parse().with_context(|| format!("identify said {colours:?}"))
    }

    /// Takes pictures until one has more than this many colours and a window has this title. The last one stays.
    pub(super) fn drawn(&self, title: &str, colours: u32, to: &Path) -> Result<u32> {
        let begun = std::time::Instant::now();
        loop {
            std::thread::sleep(std::time::Duration::from_millis(500));
            let (windows, seen) = (self.windows()?, self.picture(to)?);
            if windows.contains(title) && seen > colours {
                return Ok(seen);
            }
            if begun.elapsed().as_secs() > 60 {
                bail!("after a minute the display has {seen} colours and these windows:\n{windows}");
            }
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}
