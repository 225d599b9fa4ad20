//! The edits a user can ask for, as values.

/// Which tag carries the run path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpathTag {
    /// `DT_RUNPATH`: searched after `LD_LIBRARY_PATH`, for this file's own needs only.
    Runpath,
    /// `DT_RPATH`: searched first, for everything this file loads too.
    Rpath,
}

/// One thing to change. Edits are applied in the order given, each to what the earlier ones left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Edit {
    /// Another `PT_INTERP`; an empty path changes nothing.
    Interpreter(Vec<u8>),
    /// Another `DT_SONAME`; changes nothing in what is not `ET_DYN`.
    Soname(Vec<u8>),
    /// Another run path. The other tag, if the file has it, becomes this one.
    Rpath {
        /// Directories, separated by colons.
        value: Vec<u8>,
        /// Under which tag.
        tag: RpathTag,
    },
    /// No run path, under neither tag.
    RemoveRpath,
    /// Libraries that are needed before all others, in this order.
    AddNeeded(Vec<Vec<u8>>),
    /// Libraries that are no longer needed.
    RemoveNeeded(Vec<Vec<u8>>),
    /// Libraries that are needed under another name, also for the versions of their symbols.
    ReplaceNeeded(Vec<(Vec<u8>, Vec<u8>)>),
    /// Another `EI_OSABI`.
    OsAbi(u8),
    /// Whether the stack is executable (`PT_GNU_STACK`).
    ExecStack(bool),
    /// `DF_1_NODEFLIB`: the loader's default directories are not searched.
    NoDefaultLib,
    /// A `DT_DEBUG` entry, where a debugger finds the list of loaded libraries.
    DebugTag,
    /// Symbols that are looked up by name alone.
    ClearSymbolVersion(Vec<Vec<u8>>),
    /// Dynamic symbols under other names.
    RenameSymbols(Vec<(Vec<u8>, Vec<u8>)>),
    /// The descriptor of the note in which a patched glibc finds where libraries are.
    ResolutionCache(Vec<u8>),
}
