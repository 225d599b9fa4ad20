//! How a sandbox is kept from the terminal it was started in: who has it as controlling terminal may put input
//! into it, which the caller's shell then reads as commands (`TIOCSTI`, CVE-2017-5226). Chooses only.

/// How the caller's terminal is kept from the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Terminal {
    /// There is none to be kept.
    #[default]
    Absent,
    /// It is the program's, and nothing is refused.
    Shared,
    /// A filter refuses input into terminals ([`super::terminal_guard`], or a profile).
    Filter,
    /// The program is in a session of its own (`setsid(2)`) and has no controlling terminal: no job control.
    NewSession,
    /// The program has another terminal, which a proxy joins to the caller's ([`super::pty`]).
    Proxy,
}

/// What the choice rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TerminalFacts {
    /// The program would read its input from a terminal.
    pub interactive: bool,
    /// There is a controlling terminal, or a descriptor of one among the first three.
    pub any: bool,
    /// The kernel takes our filters.
    pub filters: bool,
}

impl TerminalFacts {
    /// Of the calling process.
    pub fn gather(filters: bool) -> TerminalFacts {
        let standard = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
        let [interactive, out, err] = standard.map(|fd| nix::unistd::isatty(fd).unwrap_or(false));
        // `/dev/tty` can be opened by those who have a controlling terminal (`tty(4)`).
        let any = interactive || out || err || std::fs::File::open("/dev/tty").is_ok();
        TerminalFacts { interactive, any, filters }
    }
}

impl Terminal {
    /// The best there is: a proxy for whoever types, which leaves job control and every program's terminal calls
    /// as they are; else the filter, which costs nothing; else a session.
    pub fn choose(facts: TerminalFacts) -> Terminal {
        match facts {
            TerminalFacts { any: false, interactive: false, .. } => Terminal::Absent,
            TerminalFacts { interactive: true, .. } => Terminal::Proxy,
            TerminalFacts { filters: true, .. } => Terminal::Filter,
            TerminalFacts { filters: false, .. } => Terminal::NewSession,
        }
    }
}
