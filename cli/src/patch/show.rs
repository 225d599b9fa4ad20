//! Plans and results as data with stable names. Prints nothing.

use patcher::commit::{Done, How, Use, Users};
use patcher::{Phase, Plan, Rung, Segment};
use serde::Serialize;

/// The most bytes of a write that are shown.
const BYTES_MOST: usize = 4096;

/// What `--json` prints of one file.
#[derive(Serialize)]
pub(super) struct FileReport {
    pub(super) path: String,
    pub(super) plan: PlanReport,
    pub(super) done: Option<DoneReport>,
    pub(super) users: Vec<UserReport>,
    pub(super) notes: Vec<String>,
}

/// A plan.
#[derive(Serialize)]
pub(super) struct PlanReport {
    changes: bool,
    rung: &'static str,
    old_len: u64,
    new_len: u64,
    in_place: bool,
    segments_before: Vec<SegmentReport>,
    segments_after: Vec<SegmentReport>,
    copies: Vec<CopyReport>,
    writes: Vec<WriteReport>,
    remarks: Vec<String>,
}

#[derive(Serialize)]
struct SegmentReport {
    r#type: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    file_size: u64,
    memory_size: u64,
    align: u64,
}

#[derive(Serialize)]
struct CopyReport {
    from_start: u64,
    from_end: u64,
    to: u64,
    why: String,
}

#[derive(Serialize)]
struct WriteReport {
    offset: u64,
    len: usize,
    phase: &'static str,
    why: String,
    old: Option<String>,
    new: Option<String>,
}

/// What was done.
#[derive(Serialize)]
pub(super) struct DoneReport {
    path: String,
    how: &'static str,
    len: u64,
    links_broken: u64,
    lost: Vec<String>,
}

/// A process.
#[derive(Clone, Serialize)]
pub(super) struct UserReport {
    pid: u32,
    name: String,
    how: &'static str,
}

impl PlanReport {
    pub(super) fn of(plan: &Plan) -> PlanReport {
        let segments = |list: &[Segment]| list.iter().map(SegmentReport::of).collect();
        PlanReport {
            changes: !plan.is_empty(),
            rung: rung(plan.rung()),
            old_len: plan.old_len(),
            new_len: plan.new_len(),
            in_place: plan.in_place(),
            segments_before: segments(plan.before()),
            segments_after: segments(plan.after()),
            copies: plan
                .copies()
                .iter()
                .map(|c| CopyReport { from_start: c.from.start, from_end: c.from.end, to: c.to.0, why: c.why.clone() })
                .collect(),
            writes: plan
                .writes()
                .iter()
                .map(|w| WriteReport {
                    offset: w.offset.0,
                    len: w.new.len(),
                    phase: match w.phase {
                        Phase::Fresh => "fresh",
                        Phase::Commit => "commit",
                        Phase::After => "after",
                    },
                    why: w.why.clone(),
                    old: hex(&w.old),
                    new: hex(&w.new),
                })
                .collect(),
            remarks: plan.remarks().to_vec(),
        }
    }
}

fn hex(bytes: &[u8]) -> Option<String> {
    (bytes.len() <= BYTES_MOST).then(|| bytes.iter().map(|b| format!("{b:02x}")).collect())
}

fn rung(rung: Rung) -> &'static str {
    match rung {
        Rung::InPlace => "in-place",
        Rung::Slack => "slack",
        Rung::Recycled => "recycled",
        Rung::Appended => "appended",
        Rung::Inserted => "inserted",
        Rung::Doubled => "doubled",
    }
}

impl SegmentReport {
    fn of(s: &Segment) -> SegmentReport {
        SegmentReport {
            r#type: s.p_type,
            flags: s.flags,
            offset: s.offset.0,
            vaddr: s.vaddr,
            file_size: s.file_size,
            memory_size: s.memory_size,
            align: s.align,
        }
    }
}

impl DoneReport {
    pub(super) fn of(done: &Done) -> DoneReport {
        let how = match done.how {
            How::Unchanged => "unchanged",
            How::Replaced(_) => "replaced",
            How::InPlace => "in-place",
            How::Written(_) => "written",
        };
        DoneReport {
            path: done.path.display().to_string(),
            how,
            len: done.len,
            links_broken: done.links_broken,
            lost: done.lost.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The processes that use a file.
pub(super) fn users(users: &Users) -> Vec<UserReport> {
    let how = |how: Use| if how == Use::Runs { "runs" } else { "maps" };
    users.list.iter().map(|user| UserReport { pid: user.pid, name: user.name.clone(), how: how(user.how) }).collect()
}

impl UserReport {
    /// What its keeping of the old file means.
    pub(super) fn sentence(&self) -> String {
        let how = if self.how == "runs" { "runs it" } else { "has it mapped" };
        format!("process {} ({}) {how} and keeps the old file until it is started again", self.pid, self.name)
    }
}
