//! Commits a plan made by hand, to be killed and failed at every step from outside:
//! `commit_with replace|in-place|output|batch durable|fast FILE…` (an output: FROM TO). Says what became
//! of it on standard output; ends with 0, with 1 if nothing was changed, with 2 if it failed after the change.

use patcher::commit::{Batch, CommitError, CommitKind, Done, Settings, Source, in_place, output, replace};
use patcher::{FileOffset, Phase, Plan, Write};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// All that a plan for in place can have: dead space, growth, two places that make it true, an old string.
fn plan(original: &[u8]) -> Plan {
    let end = original.len();
    let write = |offset: usize, new: &[u8], phase| {
        let old = original.get(offset..end.min(offset + new.len())).unwrap_or_default().to_vec();
        Write { offset: FileOffset(offset as u64), old, new: new.to_vec(), phase, why: "to be tried".to_owned() }
    };
    let writes = vec![
        write(64, b"table", Phase::Commit),
        write(100, b"dead space", Phase::Fresh),
        write(120, b"entry", Phase::Commit),
        write(5000, b"XXXX", Phase::After),
        write(end + 10, &[b'n'; 6000], Phase::Fresh),
    ];
    Plan::from_parts(end as u64, end as u64 + 7000, Vec::new(), writes)
}

fn main() {
    let mut words = std::env::args_os().skip(1);
    let (way, speed) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let paths: Vec<PathBuf> = words.map(PathBuf::from).collect();
    let settings = Settings { durable: speed != "fast", keep_times: true, ..Settings::default() };
    let (said, code) = match run(&way.to_string_lossy(), &paths, &settings) {
        Ok(done) => (done.iter().flat_map(|one| &one.lost).map(|lost| format!("lost: {lost}\n")).collect(), 0),
        Err(e) => {
            let changed = matches!(e.kind(), CommitKind::Unflushed | CommitKind::Partly);
            (format!("{:?}: {e}\n", e.kind()), if changed { 2 } else { 1 })
        }
    };
    // This write, too, may be made to fail; it changes no file.
    let _ = std::io::stdout().write_all(said.as_bytes());
    std::process::exit(code);
}

fn run(way: &str, paths: &[PathBuf], settings: &Settings) -> Result<Vec<Done>, CommitError> {
    let first = paths.first().map_or(Path::new(""), PathBuf::as_path);
    if way == "batch" {
        let batch = Batch::new(settings.clone());
        for path in paths {
            let source = Source::open(path)?;
            batch.add(&source, &plan(source.bytes()))?;
        }
        return batch.finish();
    }
    let source = Source::open(first)?;
    let plan = plan(source.bytes());
    let done = match way {
        "in-place" => in_place(&source, &plan, settings)?,
        "output" => output(&source, &plan, paths.get(1).map_or(Path::new(""), PathBuf::as_path), settings)?,
        _ => replace(&source, &plan, settings)?,
    };
    Ok(vec![done])
}
