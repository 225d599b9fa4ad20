//! From a request and a file: what is printed, and the edits to plan, in `patchelf`'s order whatever the
//! order of the words. Everything printed is what the file says before its edits, as each print comes
//! before the edit of the same thing.

use super::args::Request;
use super::objections::{ET_DYN, Present, Sections};
use super::{Complaint, tell, texts};
use patcher::resolution_cache::{self, Nothing, ThisMachine};
use patcher::shrink::{self, NotElf, ShrinkError};
use patcher::{Edit, RpathTag, View};

/// What a file will say, as far as later steps ask.
struct State {
    needed: Vec<Vec<u8>>,
    run_path: Option<Vec<u8>>,
    /// A resolution cache is there and still true.
    cached: bool,
}

/// The steps for one file.
pub(super) struct Steps<'a> {
    request: &'a Request,
    sections: &'a Sections<'a>,
    view: &'a Result<View<'a>, patcher::Error>,
    file: &'a [u8],
    present: Present,
    edits: Vec<Edit>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(
        request: &'a Request,
        sections: &'a Sections<'a>,
        view: &'a Result<View<'a>, patcher::Error>,
        file: &'a [u8],
    ) -> Steps<'a> {
        let present = match view {
            Ok(view) => Present { interpreter: view.interpreter().is_some(), dynamic: view.is_dynamic() },
            Err(_) => Present { interpreter: false, dynamic: false },
        };
        Steps { request, sections, view, file, present, edits: Vec::new() }
    }

    fn view(&self) -> Result<&'a View<'a>, Complaint> {
        self.view.as_ref().map_err(|error| error.clone().into())
    }

    /// Prints what is asked for, up to the first step that cannot be done; says what is to be edited.
    pub(super) fn edits(mut self, debug: &dyn Fn(&str)) -> Result<Vec<Edit>, Complaint> {
        self.identity()?;
        let mut state = self.run_path(debug)?;
        self.needed(&mut state)?;
        self.symbols_and_flags()?;
        self.resolution_cache(&state, debug)?;
        if !self.request.renames.is_empty() {
            self.sections.to_symbols(self.present)?;
            self.edits.push(Edit::RenameSymbols(self.request.renames.clone().into_iter().collect()));
        }
        if !self.edits.is_empty() && !self.view()?.is_dynamic() {
            let before = self.edits.len();
            self.edits.retain(|edit| matches!(edit, Edit::Interpreter(_) | Edit::OsAbi(_) | Edit::ExecStack(_)));
            if self.edits.len() < before {
                super::complain(b"warning: no PT_DYNAMIC shows the .dynamic section to a loader; it is left as it is\n");
            }
        }
        Ok(self.edits)
    }

    /// Interpreter, ABI, soname.
    fn identity(&mut self) -> Result<(), Complaint> {
        let request = self.request;
        if request.print.interpreter {
            self.sections.to_interpreter(self.present)?;
            tell_line(self.view()?.interpreter().unwrap_or_default());
        }
        if request.print.os_abi {
            tell_line(texts::abi_name(self.file.get(7).copied().unwrap_or_default()).as_bytes());
        }
        if let Some(abi) = &request.os_abi {
            self.edits.push(Edit::OsAbi(texts::abi_number(abi).ok_or("unrecognized OS ABI")?));
        }
        let library = self.sections.e_type() == ET_DYN;
        if request.print.soname && library {
            self.sections.to_soname(self.present)?;
            if let Some(soname) = self.view()?.soname()?.filter(|soname| !soname.is_empty()) {
                tell_line(soname);
            }
        }
        if let Some(soname) = request.soname.as_ref().filter(|_| library) {
            self.sections.to_soname(self.present)?;
            self.edits.push(Edit::Soname(soname.clone()));
        }
        if !request.interpreter.is_empty() {
            self.sections.to_interpreter(self.present)?;
            self.edits.push(Edit::Interpreter(request.interpreter.clone()));
        }
        Ok(())
    }

    /// Run path and, between its print and its edit, the stack.
    fn run_path(&mut self, debug: &dyn Fn(&str)) -> Result<State, Complaint> {
        let request = self.request;
        if request.print.rpath && self.sections.to_run_path(self.present)? {
            let view = self.view()?;
            tell_line(view.runpath()?.or(view.rpath()?).unwrap_or_default());
        }
        if request.print.execstack {
            let stack = match self.view()?.exec_stack() {
                Some(true) => "execstack: X",
                Some(false) => "execstack: -",
                None => "execstack: ?",
            };
            tell_line(stack.as_bytes());
        } else if request.clear_execstack || request.set_execstack {
            self.edits.push(Edit::ExecStack(!request.clear_execstack));
        }

        let asked = request.shrink_rpath || request.remove_rpath || request.set_rpath || request.add_rpath;
        let edits = asked && self.sections.to_run_path(self.present)?;
        // A file whose dynamic section makes no sense may have its interpreter printed all the same.
        let (needed, run_path) = match self.view {
            Ok(view) => {
                let needed = view.needed().unwrap_or_default().into_iter().map(<[u8]>::to_vec).collect();
                (needed, view.runpath().unwrap_or_default().or(view.rpath().unwrap_or_default()).map(<[u8]>::to_vec))
            }
            Err(_) => (Vec::new(), None),
        };
        let mut state = State { needed, run_path, cached: self.sections.has(resolution_cache::SECTION) };
        if !edits {
            return Ok(state);
        }
        let view = self.view()?;
        let new = if request.shrink_rpath {
            let Some(run_path) = &state.run_path else { return Ok(state) };
            self.shrunk(run_path, &state.needed, view.header().machine, debug)?
        } else if request.remove_rpath {
            self.edits.push(Edit::RemoveRpath);
            state.run_path = None;
            state.cached = false;
            return Ok(state);
        } else if request.set_rpath {
            request.run_path.clone()
        } else {
            shrink::appended(state.run_path.as_deref().unwrap_or_default(), &request.run_path)
        };
        state.cached &= state.run_path.as_ref() == Some(&new);
        let tag = if request.force_rpath { RpathTag::Rpath } else { RpathTag::Runpath };
        self.edits.push(Edit::Rpath { value: new.clone(), tag });
        // An empty run path is not added where there is none.
        if state.run_path.is_some() || !new.is_empty() {
            state.run_path = Some(new);
        }
        Ok(state)
    }

    fn shrunk(&self, run_path: &[u8], needed: &[Vec<u8>], machine: u16, debug: &dyn Fn(&str)) -> Result<Vec<u8>, Complaint> {
        let needed: Vec<&[u8]> = needed.iter().map(Vec::as_slice).collect();
        let prefixes: Vec<&[u8]> = self.request.prefixes.iter().map(Vec::as_slice).collect();
        let verdicts = shrink::judge(run_path, &needed, machine, &prefixes).map_err(complaint)?;
        let mut kept = Vec::new();
        for (entry, verdict) in verdicts {
            if verdict.keeps() {
                kept = shrink::appended(&kept, entry);
            } else {
                debug(&format!("removing directory '{}' from the run path\n", entry.escape_ascii()));
            }
        }
        Ok(kept)
    }

    fn needed(&mut self, state: &mut State) -> Result<(), Complaint> {
        let request = self.request;
        if request.print.needed {
            self.sections.to_needed(self.present)?;
            for library in self.view()?.needed()? {
                tell_line(library);
            }
        }
        if !request.remove_needed.is_empty() {
            self.sections.to_needed(self.present)?;
            let before = state.needed.len();
            state.needed.retain(|library| !request.remove_needed.contains(library));
            state.cached &= state.needed.len() == before;
            self.edits.push(Edit::RemoveNeeded(request.remove_needed.iter().cloned().collect()));
        }
        if !request.replace_needed.is_empty() {
            self.sections.to_replace_needed(self.present)?;
            for library in &mut state.needed {
                if let Some(new) = request.replace_needed.get(library).filter(|new| *new != library) {
                    library.clone_from(new);
                    state.cached = false;
                }
            }
            self.edits.push(Edit::ReplaceNeeded(request.replace_needed.clone().into_iter().collect()));
        }
        if !request.add_needed.is_empty() {
            self.sections.to_add_entries(self.present)?;
            state.needed.splice(0..0, request.add_needed.iter().cloned());
            state.cached = false;
            self.edits.push(Edit::AddNeeded(request.add_needed.iter().cloned().collect()));
        }
        Ok(())
    }

    fn symbols_and_flags(&mut self) -> Result<(), Complaint> {
        let request = self.request;
        if !request.clear_versions.is_empty() {
            let versioned = self.present.dynamic && patcher::symbols::has_versions(self.file)?;
            self.sections.to_versions(self.present, versioned)?;
            self.edits.push(Edit::ClearSymbolVersion(request.clear_versions.iter().cloned().collect()));
        }
        if request.no_default_lib {
            self.sections.to_flags(self.present)?;
            self.edits.push(Edit::NoDefaultLib);
        }
        if request.debug_tag {
            self.sections.to_add_entries(self.present)?;
            self.edits.push(Edit::DebugTag);
        }
        Ok(())
    }

    fn resolution_cache(&mut self, state: &State, debug: &dyn Fn(&str)) -> Result<(), Complaint> {
        if !self.request.resolution_cache {
            return Ok(());
        }
        let stale = || match state.cached {
            true => Err(Complaint::from(
                "--build-resolution-cache: a resolution cache note is already present; rebuild from an unpatched binary",
            )),
            false => Ok(()),
        };
        let warn = |reason: &str| {
            stale()?;
            super::complain(format!("warning: --build-resolution-cache: {reason}; no cache written\n").as_bytes());
            Ok(())
        };
        if !self.present.dynamic {
            return warn("no dynamic section (statically linked?)");
        }
        let needed: Vec<&[u8]> = state.needed.iter().map(Vec::as_slice).collect();
        let run_path = state.run_path.as_deref().unwrap_or_default();
        match resolution_cache::descriptor(&needed, run_path, &ThisMachine) {
            Err(Nothing::NothingFound) => warn("no libraries resolved against the run path"),
            Err(_) => warn("no DT_NEEDED entries or run path to resolve"),
            Ok(descriptor) => {
                if state.cached {
                    if self.sections.note(resolution_cache::SECTION).as_deref() != Some(&descriptor) {
                        return stale();
                    }
                    debug("the resolution cache is up to date\n");
                    return Ok(());
                }
                self.edits.push(Edit::ResolutionCache(descriptor));
                Ok(())
            }
        }
    }
}

fn tell_line(text: &[u8]) {
    tell(&[text, b"\n"].concat());
}

/// `patchelf`'s words for what it would stop at too.
fn complaint(error: ShrinkError) -> Complaint {
    use std::os::unix::ffi::OsStrExt;
    match error {
        ShrinkError::Unreadable { doing, path, source } => Complaint::system(doing.as_bytes(), path.as_os_str().as_bytes(), &source),
        ShrinkError::NotElf { path, reason } => {
            let reason = match reason {
                NotElf::Short => "missing ELF header",
                NotElf::Magic => "not an ELF executable",
                NotElf::Version => "unsupported ELF version",
                NotElf::Class => "ELF executable is not 32 or 64 bit",
                _ => "unknown kind of ELF file",
            };
            Complaint::of(&[reason.as_bytes(), b": '", path.as_os_str().as_bytes(), b"'"])
        }
        error => Complaint(error.to_string().into_bytes()),
    }
}
