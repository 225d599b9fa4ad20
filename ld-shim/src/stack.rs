//! What the kernel leaves on a new program's stack (System V ABI, "Process Initialization"): the count of
//! arguments, the arguments, the environment, the auxiliary vector. Read and, where the loader must see
//! something else, changed in place. Nobody else runs yet, so nobody else looks.

use crate::memory;
use core::slice;

/// The auxiliary vector's names that matter here (getauxval(3)), as wide as its words.
pub(crate) mod aux {
    use linux_raw_sys::auxvec;

    pub(crate) const NULL: usize = auxvec::AT_NULL as usize;
    pub(crate) const IGNORE: usize = auxvec::AT_IGNORE as usize;
    pub(crate) const PHDR: usize = auxvec::AT_PHDR as usize;
    pub(crate) const PHNUM: usize = auxvec::AT_PHNUM as usize;
    pub(crate) const PAGESZ: usize = auxvec::AT_PAGESZ as usize;
    pub(crate) const BASE: usize = auxvec::AT_BASE as usize;
    pub(crate) const ENTRY: usize = auxvec::AT_ENTRY as usize;
    pub(crate) const EUID: usize = auxvec::AT_EUID as usize;
    pub(crate) const SECURE: usize = auxvec::AT_SECURE as usize;
    pub(crate) const EXECFN: usize = auxvec::AT_EXECFN as usize;
}

/// The words from the stack pointer upwards.
pub(crate) struct Stack {
    top: *mut usize,
    arguments: usize,
    variables: usize,
    auxiliary: *mut [usize; 2],
}

/// A NUL-ended string of the kernel's.
///
/// # Safety
/// It is one, and stays.
#[inline(never)]
unsafe fn text(start: usize) -> &'static [u8] {
    let start = start as *const u8;
    let mut length = 0;
    // SAFETY: the string ends in a NUL.
    unsafe {
        while *start.add(length) != 0 {
            length += 1;
        }
        slice::from_raw_parts(start, length)
    }
}

impl Stack {
    /// Reads a stack.
    ///
    /// # Safety
    /// `top` is the stack pointer as the kernel set it for this process, and nobody has changed what is there.
    pub(crate) unsafe fn at(top: *mut usize) -> Stack {
        // SAFETY: the kernel wrote argc, argc pointers, a null, pointers up to a null, pairs up to AT_NULL.
        unsafe {
            let arguments = *top;
            let environment = top.add(arguments + 2);
            let mut variables = 0;
            while *environment.add(variables) != 0 {
                variables += 1;
            }
            Stack { top, arguments, variables, auxiliary: environment.add(variables + 1).cast() }
        }
    }

    /// The stack pointer that the loader is entered with.
    pub(crate) fn top(&self) -> *mut usize {
        self.top
    }

    /// An argument; the first one is the program's own name.
    pub(crate) fn argument(&self, index: usize) -> Option<&'static [u8]> {
        // SAFETY: argc pointers to strings follow argc.
        (index < self.arguments).then(|| unsafe { text(*self.top.add(1 + index)) })
    }

    /// The entries of the environment that begin with one of two bytes: to measure every entry would cost more
    /// than all the rest.
    pub(crate) fn environment(&self, one: u8, other: u8) -> impl Iterator<Item = &'static [u8]> + '_ {
        (0..self.variables).filter_map(move |index| {
            // SAFETY: that many pointers to strings follow the arguments' null.
            unsafe {
                let start = *self.top.add(self.arguments + 2 + index);
                let first = *(start as *const u8);
                (first == one || first == other).then(|| text(start))
            }
        })
    }

    /// The pair of that name, or the last one of the vector.
    #[inline(never)]
    fn pair(&self, name: usize) -> *mut [usize; 2] {
        let mut pair = self.auxiliary;
        // SAFETY: the vector ends in AT_NULL.
        unsafe {
            while (*pair)[0] != aux::NULL && (*pair)[0] != name {
                pair = pair.add(1);
            }
        }
        pair
    }

    /// A value of the auxiliary vector; 0 if it is not there.
    pub(crate) fn auxiliary(&self, name: usize) -> usize {
        // SAFETY: a pair of the vector; that of AT_NULL is 0.
        unsafe { (*self.pair(name))[1] }
    }

    /// Changes a value of the auxiliary vector that is there.
    pub(crate) fn set_auxiliary(&mut self, name: usize, value: usize) {
        let pair = self.pair(name);
        // SAFETY: a pair of the vector, which lies on the writable stack.
        unsafe {
            if (*pair)[0] == name {
                (*pair)[1] = value;
            }
        }
    }

    /// The program's path as it was given to execve(2).
    pub(crate) fn path(&self) -> &'static [u8] {
        match self.auxiliary(aux::EXECFN) {
            0 => b"?",
            // SAFETY: AT_EXECFN is a string above the vector.
            start => unsafe { text(start) },
        }
    }

    /// Whether somebody gains rights by this exec; as long as the kernel does not deny it.
    pub(crate) fn is_secure(&self) -> bool {
        let pair = self.pair(aux::SECURE);
        // SAFETY: a pair of the vector.
        unsafe { *pair != [aux::SECURE, 0] }
    }

    /// Puts `pair` behind the first `words` words. The stack stays aligned to 16 bytes (psABI, "Process
    /// Initialization"), which are two words, or four: then two more become an entry of the auxiliary vector that says
    /// "ignore me".
    fn insert(&mut self, words: usize, pair: [usize; 2]) {
        if cfg!(target_pointer_width = "32") {
            self.shift(self.arguments + self.variables + 3, [aux::IGNORE, 0]);
        }
        self.shift(words, pair);
    }

    /// Moves the first `words` words down by two and puts `pair` behind them.
    fn shift(&mut self, words: usize, pair: [usize; 2]) {
        let top = self.top.wrapping_sub(2);
        // SAFETY: `_start` left room below the stack, and the words are those that it consists of.
        unsafe {
            memory::copy(top.cast(), self.top.cast(), words * size_of::<usize>());
            *top.add(words) = pair[0];
            *top.add(words + 1) = pair[1];
        }
        self.top = top;
    }

    /// Adds two entries behind the environment, both of them `entry`, so that they are known again.
    /// [`remove_variable`] takes them away.
    pub(crate) fn add_variable(&mut self, entry: *const u8) {
        self.insert(self.arguments + 2 + self.variables, [entry as usize; 2]);
        self.variables += 2;
    }

    /// Adds an option with its value behind the first argument.
    pub(crate) fn add_option(&mut self, option: *const u8, value: *const u8) {
        self.insert(2, [option as usize, value as usize]);
        self.arguments += 2;
        // SAFETY: the first word is argc.
        unsafe { *self.top = self.arguments }
    }
}

/// Takes away what [`Stack::add_variable`] added, and returns it: the environment ends where it ended, and what
/// is left becomes an entry of the auxiliary vector that says "ignore me", for those who look for that vector
/// behind the environment. `None`, and nothing changed, if somebody else has taken it away.
///
/// # Safety
/// `environment` is one to which entries were added.
pub(crate) unsafe fn remove_variable(environment: *mut usize) -> Option<*const u8> {
    // SAFETY: pointers up to a null; the added ones are the last two, and the only ones that are the same.
    unsafe {
        let mut end = environment;
        while *end != 0 {
            end = end.add(1);
        }
        let entry = *end.sub(1);
        if end.offset_from(environment) < 2 || *end.sub(2) != entry {
            return None;
        }
        *end.sub(2) = 0;
        *end.sub(1) = aux::IGNORE;
        Some(entry as *const u8)
    }
}
