//! What may be true of a container, by what was acknowledged and what was on its way.
//!
//! ```text
//!   absent --create--> created --start--> running <--> paused
//!      ^                  |                  | stop, kill, its own end
//!      +-------rm---------+------------------+--> exited --start--> running
//! ```
//!
//! An acknowledged request leaves one state, or two for a program that ends by itself. One that the
//! engine did not live to answer leaves the state before and the state after.

use std::ops::RangeInclusive;

/// The exit code of what is killed.
pub(super) const KILLED: i64 = 137;
/// The exit code of a program that ends by itself.
pub(super) const LEFT: i64 = 7;

/// Where a container is, as `inspect` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Absent,
    Created,
    Running,
    Paused,
    Exited(i64),
}

/// What its program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// Says `run` and stays.
    Stays,
    /// Says `run`, and soon `end`.
    Leaves,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    Start,
    Stop,
    Kill,
    Pause,
    Unpause,
    Exec,
    Rename,
    Remove,
    RemoveByForce,
}

impl Verb {
    /// What can be asked of a container in this state, each as often as it is to be.
    pub(super) fn choices(state: State, program: Program) -> &'static [Self] {
        use Verb::{
            Create, Exec, Kill, Pause, Remove, RemoveByForce, Rename, Start, Stop, Unpause,
        };
        match (state, program) {
            (State::Absent, _) => &[Create],
            (State::Created, _) => &[Start, Start, Start, Start, Rename, Remove],
            (State::Exited(_), _) => &[Start, Start, Rename, Remove],
            (State::Paused, _) => &[Unpause, Unpause, RemoveByForce],
            (State::Running, Program::Stays) => {
                &[Stop, Stop, Kill, Exec, Exec, Pause, RemoveByForce]
            }
            (State::Running, Program::Leaves) => &[RemoveByForce],
        }
    }

    /// What a container that was in `before` is in when this is done.
    pub(super) fn after(self, before: State, program: Program) -> Vec<State> {
        match self {
            Self::Create => vec![State::Created],
            Self::Start if program == Program::Leaves => vec![State::Running, State::Exited(LEFT)],
            Self::Start | Self::Unpause => vec![State::Running],
            Self::Stop | Self::Kill => vec![State::Exited(KILLED)],
            Self::Pause => vec![State::Paused],
            Self::Exec | Self::Rename => vec![before],
            Self::Remove | Self::RemoveByForce => vec![State::Absent],
        }
    }
}

/// One container.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) name: String,
    /// The name that it is about to have.
    pub(super) renamed: Option<String>,
    pub(super) id: String,
    pub(super) program: Program,
    /// Where it may be.
    pub(super) may: Vec<State>,
    /// How many runs said that they began, at least and at most.
    pub(super) runs: (usize, usize),
    /// How many had when it was last looked at.
    said: usize,
    /// Whether one may have been ended before it could say `end`.
    pub(super) cut: bool,
}

impl Model {
    pub(super) fn absent(name: String, program: Program) -> Self {
        let (id, may) = (String::new(), vec![State::Absent]);
        Self { name, renamed: None, id, program, may, runs: (0, 0), said: 0, cut: false }
    }

    /// Where it is; a program that may have left by itself is taken to be still there.
    pub(super) fn state(&self) -> State {
        self.may[0]
    }

    /// `verb` is on its way: it may be done or not.
    pub(super) fn asked(&mut self, verb: Verb) {
        for before in self.may.clone() {
            self.add(&verb.after(before, self.program));
        }
        if verb == Verb::RemoveByForce {
            // It ends before it goes.
            self.add(&[State::Exited(KILLED)]);
        }
        if matches!(verb, Verb::Stop | Verb::Kill | Verb::RemoveByForce) {
            // It may end before it has said a word.
            self.runs.0 = self.said.max(self.runs.0.saturating_sub(1));
            self.cut = true;
        }
        if verb == Verb::Start {
            self.runs.1 += 1;
        }
    }

    /// `verb` was acknowledged.
    pub(super) fn done(&mut self, verb: Verb, before: State) {
        self.may = verb.after(before, self.program);
        if verb == Verb::Start {
            self.runs.0 += 1;
        }
        if let Some(new) = self.renamed.take() {
            self.name = new;
        }
    }

    /// It was seen in `state` while nothing was on its way.
    pub(super) fn seen(&mut self, state: State, runs: usize) {
        self.may = vec![state];
        if state == State::Running && self.program == Program::Leaves {
            self.add(&[State::Exited(LEFT)]);
        }
        // One that runs may have begun without having said so yet.
        let live = matches!(state, State::Running | State::Paused);
        let most = if live { self.runs.1 } else { runs };
        (self.runs, self.said) = ((runs, most), runs);
    }

    /// How many runs can have said that they began, if it is in `state`: who is paused at once has not
    /// come to a word.
    pub(super) fn runs_in(&self, state: State) -> RangeInclusive<usize> {
        let (least, most) = self.runs;
        match state {
            State::Paused => self.said.max(least.saturating_sub(1))..=most,
            _ => least..=most,
        }
    }

    fn add(&mut self, states: &[State]) {
        for state in states {
            if !self.may.contains(state) {
                self.may.push(*state);
            }
        }
    }
}
