//! Things that do the same job, timed in turns.

use std::time::{Duration, Instant};

/// One way to do the job, once.
pub(crate) struct Contestant<'a> {
    name: &'static str,
    job: Box<dyn FnMut() + 'a>,
    /// Makes ready for the next round; not timed.
    then: Box<dyn FnMut() + 'a>,
}

/// What each contestant needed, in the order in which they came.
pub(crate) struct Times(Vec<(&'static str, Vec<Duration>)>);

impl<'a> Contestant<'a> {
    pub(crate) fn new(name: &'static str, job: impl FnMut() + 'a) -> Self {
        Self { name, job: Box::new(job), then: Box::new(|| ()) }
    }

    /// What is done after each round without being timed.
    pub(crate) fn then(self, then: impl FnMut() + 'a) -> Self {
        Self { then: Box::new(then), ..self }
    }
}

/// Has everyone do the job once for warmth and then `rounds` times, in turns.
pub(crate) fn race(rounds: usize, mut contestants: Vec<Contestant<'_>>) -> Times {
    let mut times: Vec<_> = contestants.iter().map(|one| (one.name, Vec::new())).collect();
    for round in 0..=rounds {
        for (one, (_, times)) in contestants.iter_mut().zip(&mut times) {
            let start = Instant::now();
            (one.job)();
            let elapsed = start.elapsed();
            if round > 0 {
                times.push(elapsed);
            }
            (one.then)();
        }
    }
    for (_, times) in &mut times {
        times.sort();
    }
    Times(times)
}

impl Times {
    /// The median of `name`.
    pub(crate) fn median(&self, name: &str) -> Duration {
        let times = self.0.iter().find(|(known, _)| *known == name);
        times.map_or(Duration::ZERO, |(_, times)| times[times.len() / 2])
    }

    /// Prints all, with `less` taken off each (what is not the contestant's), and how the first
    /// compares with each of the others.
    pub(crate) fn print(&self, title: &str, less: Duration) {
        println!("\n{title}");
        let first = self.0.first().map_or(Duration::ZERO, |(name, _)| self.median(name));
        for (place, (name, times)) in self.0.iter().enumerate() {
            let at = |index: usize| millis(times[index].saturating_sub(less));
            let own = at(times.len() / 2);
            let spread =
                format!("({:.1} to {:.1})", at(times.len() / 10), at(times.len() * 9 / 10));
            let ratio = match place {
                0 => String::new(),
                _ => format!("ratio {:.2}", millis(first.saturating_sub(less)) / own),
            };
            println!("  {name:<28} {own:>8.1} ms  {spread:<20} {ratio}");
        }
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
