//! Holds a plan against what it promises. Panics where it does not keep it; that is what a fuzzer looks for.

use crate::ask::{Ask, weight};
use crate::says::Says;
use patcher::{Edit, Phase, Plan, View};

/// The largest hole that a plan may make so that a table of headers lies where old kernels look for it.
const HOLE: u64 = 64 << 20;

/// Larger files are not written: they are holes, and there are others to try.
const LARGE: u64 = 8 << 20;

/// What a file may grow to: the payload again, what the edits bring, what alignment takes, and one hole.
pub fn most(file: &[u8], edits: &[Edit]) -> u64 {
    (3 * file.len() + 8 * weight(edits)) as u64 + 4 * 0x10000 + HOLE
}

/// The new file, after all that a plan promises was seen to hold; `None` if it is too large to be written.
/// 1. It grows no more than it may; see [`most`].
/// 2. It can be applied, and the result is proven byte by byte.
/// 3. The new file says what was asked for, and nothing else that differs.
/// 4. In place, killed at any step: before the commit it is the old file, after it the new one, and the
///    commit lies in one page.
pub fn prove(plan: &Plan, file: &[u8], ask: &Ask) -> Option<Vec<u8>> {
    assert!(plan.new_len() <= most(file, &ask.edits), "{} bytes of {} for {ask:?}", plan.new_len(), file.len());
    if plan.new_len() > LARGE {
        return None;
    }
    let after = plan.apply(file).expect("a plan fits the file it was made for");
    assert_eq!(plan.verify(file, &after), Ok(()), "{ask:?}\n{plan}");
    let _ = plan.to_string();
    let before = Says::of(file);
    let wanted = before.clone().ok().filter(Says::is_plain).map(|says| says.after(&ask.edits));
    if let Some(wanted) = &wanted {
        assert_eq!(Says::of(&after).as_ref(), Ok(wanted), "{ask:?}\n{plan}");
    }
    if plan.in_place() {
        let span = plan.commit_span();
        assert!(span.is_empty() || span.start / patcher::ATOMIC == (span.end - 1) / patcher::ATOMIC, "{span:?}");
        let fresh = partly(plan, file, &[Phase::Fresh]);
        assert_eq!(Says::of(&fresh), before, "killed before the commit: {ask:?}\n{plan}");
        for segment in View::parse(file).iter().flat_map(View::segments).filter(|s| s.is_load()) {
            let (Ok((_, old)), Ok((_, new))) = (segment.bytes(file), segment.bytes(&fresh)) else { continue };
            assert!(old == new, "killed before the commit, {segment:?} has other bytes: {ask:?}\n{plan}");
        }
        let committed = partly(plan, file, &[Phase::Fresh, Phase::Commit]);
        assert_eq!(Says::of(&committed), Says::of(&after), "killed behind the commit: {ask:?}\n{plan}");
    }
    Some(after)
}

/// The file when only some of a plan was done; what the new one is shorter by goes last.
fn partly(plan: &Plan, file: &[u8], phases: &[Phase]) -> Vec<u8> {
    let mut now = file.to_vec();
    now.resize(file.len().max(plan.new_len() as usize), 0);
    for copy in plan.copies() {
        let (from, to) = (copy.from.start as usize..copy.from.end as usize, copy.to.0 as usize);
        now[to..to + from.len()].copy_from_slice(&file[from]);
    }
    for write in plan.writes().iter().filter(|w| phases.contains(&w.phase)) {
        let at = write.offset.0 as usize;
        now[at..at + write.new.len()].copy_from_slice(&write.new);
    }
    now
}
