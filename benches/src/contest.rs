//! Things that do the same job, timed in turns.

use std::time::{Duration, Instant};

/// One way to do the job, once.
pub(crate) struct Contestant<'a> {
    name: &'static str,
    /// Tells how long it took.
    job: Box<dyn FnMut() -> Duration + 'a>,
    /// Makes ready for the next round; not timed.
    then: Box<dyn FnMut() + 'a>,
    /// What is not its own, to be taken off.
    less: Duration,
}

/// What each contestant needed, in the order in which they came.
pub(crate) struct Times(Vec<Taken>);

/// What one contestant needed.
struct Taken {
    name: &'static str,
    /// Shortest first, once the race is over.
    times: Vec<Duration>,
}

impl<'a> Contestant<'a> {
    pub(crate) fn new(name: &'static str, mut job: impl FnMut() + 'a) -> Self {
        Self::told(name, move || {
            let start = Instant::now();
            job();
            start.elapsed()
        })
    }

    /// One that knows itself how long the job took.
    pub(crate) fn told(name: &'static str, job: impl FnMut() -> Duration + 'a) -> Self {
        Self { name, job: Box::new(job), then: Box::new(|| ()), less: Duration::ZERO }
    }

    /// What is done after each round without being timed.
    pub(crate) fn then(self, then: impl FnMut() + 'a) -> Self {
        Self { then: Box::new(then), ..self }
    }

    /// With `less` taken off each time: what the job has in it that is not the contestant's.
    pub(crate) fn less(self, less: Duration) -> Self {
        Self { less, ..self }
    }
}

/// Has everyone do the job once for warmth and then `rounds` times, in turns.
pub(crate) fn race(rounds: usize, mut contestants: Vec<Contestant<'_>>) -> Times {
    let begin = |one: &Contestant<'_>| Taken { name: one.name, times: Vec::new() };
    let mut taken: Vec<_> = contestants.iter().map(begin).collect();
    for round in 0..=rounds {
        for (one, taken) in contestants.iter_mut().zip(&mut taken) {
            let elapsed = (one.job)();
            if round > 0 {
                taken.times.push(elapsed.saturating_sub(one.less));
            }
            (one.then)();
        }
    }
    for one in &mut taken {
        one.times.sort();
    }
    Times(taken)
}

impl Times {
    /// The median of `name`.
    pub(crate) fn median(&self, name: &str) -> Duration {
        self.0.iter().find(|one| one.name == name).map_or(Duration::ZERO, Taken::median)
    }

    /// The same without `part`, whose median is taken off what those in `of` needed.
    pub(crate) fn without(mut self, part: &str, of: &[&str]) -> Self {
        let median = self.median(part);
        self.0.retain(|one| one.name != part);
        for one in self.0.iter_mut().filter(|one| of.contains(&one.name)) {
            for time in &mut one.times {
                *time = time.saturating_sub(median);
            }
        }
        self
    }

    /// Prints all, and how the first compares with each of the others.
    pub(crate) fn print(&self, title: &str) {
        println!("\n{title}");
        let first = self.0.first().map_or(Duration::ZERO, Taken::median);
        for (place, one) in self.0.iter().enumerate() {
            let (own, last) = (millis(one.median()), one.times.len() - 1);
            let at = |tenth: usize| millis(one.times[last * tenth / 10]);
            let spread = format!("({:.1} to {:.1})", at(1), at(9));
            let ratio = match place {
                0 => String::new(),
                _ => format!("ratio {:.2}", millis(first) / own),
            };
            println!("  {:<28} {own:>8.1} ms  {spread:<20} {ratio}", one.name);
        }
    }

    /// Prints what each median means in another unit.
    pub(crate) fn print_as(&self, unit: &str, of: impl Fn(Duration) -> f64) {
        for one in &self.0 {
            println!("  {:<28} {:>8.1} {unit}", one.name, of(one.median()));
        }
    }
}

impl Taken {
    fn median(&self) -> Duration {
        self.times[self.times.len() / 2]
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
