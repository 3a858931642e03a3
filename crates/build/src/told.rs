//! What a build says while it goes on.

use std::sync::{Mutex, PoisonError};

use spec::Digest;

use crate::run;

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A step begins.
    Step {
        /// Counted from 1, over all that are needed.
        number: usize,
        /// How many there are.
        total: usize,
        /// The instruction.
        text: String,
    },
    /// Instructions that a base image has left are carried out.
    Triggers(usize),
    /// The step was known.
    Cached,
    /// A step's image; `None` for an empty one.
    Image(Option<Digest>),
    /// A container of a command.
    Run(run::Told),
    /// An image is fetched.
    Pull(image::Progress),
    /// It goes on, but not as its writer may think.
    Warning(String),
}

/// Puts the words of stages that are built side by side one after the other: the first that is not at its
/// end is heard at once, what others say comes when it is their turn.
pub(crate) struct Order<'a> {
    listener: &'a (dyn Fn(Event) + Send + Sync),
    turns: Mutex<Turns>,
}

#[derive(Default)]
struct Turns {
    now: usize,
    waiting: Vec<Vec<Event>>,
    over: Vec<bool>,
}

impl<'a> Order<'a> {
    pub(crate) fn new(places: usize, listener: &'a (dyn Fn(Event) + Send + Sync)) -> Self {
        let turns = Turns { now: 0, waiting: vec![Vec::new(); places], over: vec![false; places] };
        Self { listener, turns: Mutex::new(turns) }
    }

    /// Says something for the stage at `place`.
    pub(crate) fn tell(&self, place: usize, event: Event) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.now == place {
            (self.listener)(event);
        } else {
            turns.waiting[place].push(event);
        }
    }

    /// The stage at `place` has nothing more to say.
    pub(crate) fn end(&self, place: usize) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.over[place] = true;
        while turns.over.get(turns.now) == Some(&true) {
            turns.now += 1;
            let now = turns.now;
            let waiting = turns.waiting.get_mut(now).map(std::mem::take).unwrap_or_default();
            waiting.into_iter().for_each(self.listener);
        }
    }

    /// Lets the stage at `place` speak at once, as it is the last to be heard.
    pub(crate) fn fail(&self, place: usize) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.now != place {
            turns.now = place;
            let waiting = std::mem::take(&mut turns.waiting[place]);
            waiting.into_iter().for_each(self.listener);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_heard_one_after_the_other() {
        let heard = Mutex::new(Vec::new());
        let listener = |event| {
            if let Event::Triggers(number) = event {
                heard.lock().expect("one thread").push(number);
            }
        };
        let order = Order::new(3, &listener);
        order.tell(1, Event::Triggers(10));
        order.tell(0, Event::Triggers(1));
        order.end(1);
        order.tell(2, Event::Triggers(20));
        assert_eq!(*heard.lock().expect("one thread"), [1]);
        order.end(0);
        assert_eq!(*heard.lock().expect("one thread"), [1, 10, 20]);
        order.tell(2, Event::Triggers(21));
        assert_eq!(heard.lock().expect("one thread").last(), Some(&21));
    }
}
