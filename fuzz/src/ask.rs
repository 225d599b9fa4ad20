//! Edits and options from the bytes that a fuzzer mutates. Every sequence of bytes is some request.

use arbitrary::{Result, Unstructured};
use patcher::{Edit, Options, RpathTag, Way};

/// What is planned at once.
#[derive(Debug)]
pub struct Ask {
    /// The edits, in order.
    pub edits: Vec<Edit>,
    /// How.
    pub options: Options,
}

/// Strings that the programs hold already, that meet them half-way, and that stress what takes them.
const WORDS: &[&[u8]] = &[
    b"libc.so.6",
    b"libother.so.2",
    b"libtiny.so.1",
    b"other.so.2",
    b"/opt/tiny/lib",
    b"/lib/ld-linux-tiny.so.1",
    b"/lib64/ld-linux-x86-64.so.2",
    b"$ORIGIN/../lib:/opt/some/where/else",
    b"GLIBC_2.34",
    b"printf",
    b"puts",
    b"environ",
    b"x",
    b"",
];

fn word(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    Ok(match u.int_in_range(0..=7)? {
        0..=4 => u.choose(WORDS)?.to_vec(),
        5 => vec![b'x'; u.int_in_range(0..=300)?],
        6 => [b"/".as_slice(), &vec![b'y'; u.int_in_range(0..=4200)?]].concat(),
        _ => {
            let size = u.int_in_range(0..=16)?;
            u.bytes(size.min(u.len()))?.to_vec()
        }
    })
}

fn some<T>(u: &mut Unstructured<'_>, one: impl Fn(&mut Unstructured<'_>) -> Result<T>) -> Result<Vec<T>> {
    let count = u.int_in_range(1..=3)?;
    (0..count).map(|_| one(u)).collect()
}

fn pair(u: &mut Unstructured<'_>) -> Result<(Vec<u8>, Vec<u8>)> {
    Ok((word(u)?, word(u)?))
}

/// One edit.
pub fn edit(u: &mut Unstructured<'_>) -> Result<Edit> {
    Ok(match u.int_in_range(0..=15)? {
        0 | 1 => Edit::Interpreter(word(u)?),
        2 | 3 => Edit::Rpath { value: word(u)?, tag: *u.choose(&[RpathTag::Runpath, RpathTag::Rpath])? },
        4 => Edit::RemoveRpath,
        5 => Edit::Soname(word(u)?),
        6 => Edit::AddNeeded(some(u, word)?),
        7 => Edit::RemoveNeeded(some(u, word)?),
        8 => Edit::ReplaceNeeded(some(u, pair)?),
        9 => Edit::OsAbi(u.arbitrary()?),
        10 => Edit::ExecStack(u.arbitrary()?),
        11 => Edit::NoDefaultLib,
        12 => Edit::DebugTag,
        13 => Edit::ClearSymbolVersion(some(u, word)?),
        14 => Edit::RenameSymbols(some(u, pair)?),
        _ => Edit::ResolutionCache(word(u)?),
    })
}

fn options(u: &mut Unstructured<'_>) -> Result<Options> {
    Ok(Options {
        way: *u.choose(&[Way::Replace, Way::InPlace])?,
        page_size: *u.choose(&[None, None, Some(0x1000), Some(0x4000), Some(0x10000), Some(1)])?,
        clobber: u.arbitrary()?,
        recycle_debug: u.arbitrary()?,
        undo: !u.ratio(1, 4)?,
    })
}

/// One to four edits with their options.
pub fn ask(u: &mut Unstructured<'_>) -> Result<Ask> {
    let options = options(u)?;
    let count = u.int_in_range(1..=4)?;
    Ok(Ask { edits: (0..count).map(|_| edit(u)).collect::<Result<_>>()?, options })
}

/// A file and what is asked of it, from one input: the last two bytes say how many before them are the request.
pub fn split(input: &[u8]) -> (&[u8], Unstructured<'_>) {
    let Some((rest, [low, high])) = input.split_last_chunk() else { return (input, Unstructured::new(&[])) };
    let size = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
    let (file, request) = rest.split_at(rest.len() - size);
    (file, Unstructured::new(request))
}

/// How many bytes the edits bring: what a file may grow by, before anything is aligned.
pub fn weight(edits: &[Edit]) -> usize {
    let pairs = |all: &[(Vec<u8>, Vec<u8>)]| all.iter().map(|(a, b)| a.len() + b.len() + 64).sum::<usize>();
    let each = |edit: &Edit| match edit {
        Edit::Interpreter(v) | Edit::Soname(v) | Edit::ResolutionCache(v) | Edit::Rpath { value: v, .. } => v.len(),
        Edit::AddNeeded(all) | Edit::RemoveNeeded(all) | Edit::ClearSymbolVersion(all) => all.iter().map(|v| v.len() + 64).sum(),
        Edit::ReplaceNeeded(all) | Edit::RenameSymbols(all) => pairs(all),
        _ => 0,
    };
    edits.iter().map(|edit| each(edit) + 64).sum()
}
