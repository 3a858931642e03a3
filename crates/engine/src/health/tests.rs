use super::*;

fn plan(check: Healthcheck) -> Option<Plan> {
    Plan::of(&Config { healthcheck: Some(check), ..Config::default() })
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn probe(second: u64, exit_code: i32) -> Probe {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    Probe { start: at, end: at, exit_code, output: String::new() }
}

#[test]
fn a_check_is_words_or_a_line_for_the_shell() {
    let cases: [(&[&str], Option<&[&str]>); 5] = [
        (&["CMD", "test", "-e", "/up"], Some(&["test", "-e", "/up"])),
        (&["CMD-SHELL", "test -e /up"], Some(&["/bin/sh", "-c", "test -e /up"])),
        (&["NONE"], None),
        (&[], None),
        (&["WHAT"], None),
    ];
    for (test, want) in cases {
        let got = plan(Healthcheck { test: words(test), ..Default::default() });
        assert_eq!(got.map(|plan| plan.command), want.map(words), "{test:?}");
    }
}

#[test]
fn failures_count_after_the_start_period_and_make_it_unhealthy_in_a_row() {
    use HealthStatus::{Healthy, Starting, Unhealthy};
    let check = Healthcheck {
        test: words(&["CMD", "true"]),
        start_period: 10_000_000_000,
        retries: 2,
        ..Default::default()
    };
    let plan = plan(check).expect("a check");
    let mut health = Health::new();
    let steps = [
        (1, 1, Starting, 0, false),
        (9, 1, Starting, 0, false),
        (11, 1, Starting, 1, false),
        (12, -1, Unhealthy, 2, true),
        (13, 0, Healthy, 0, true),
        (14, 1, Healthy, 1, false),
        (15, 0, Healthy, 0, false),
    ];
    for (second, code, status, streak, changed) in steps {
        let told = health.note(&plan, SystemTime::UNIX_EPOCH, probe(second, code));
        assert_eq!((health.status, health.failing_streak, told), (status, streak, changed));
    }
    assert_eq!(health.log.len(), KEPT);
    assert_eq!(health.log.front(), Some(&probe(11, 1)));
}

#[test]
fn checks_are_closer_together_in_the_start_period() {
    let check = Healthcheck {
        test: words(&["CMD", "true"]),
        start_period: 10_000_000_000,
        ..Default::default()
    };
    let plan = plan(check).expect("a check");
    let seconds = Duration::from_secs;
    assert_eq!(plan.wait(HealthStatus::Starting, seconds(1)), seconds(5));
    assert_eq!(plan.wait(HealthStatus::Healthy, seconds(1)), seconds(30));
    assert_eq!(plan.wait(HealthStatus::Starting, seconds(11)), seconds(30));
}

#[test]
fn the_clients_part_of_a_check_replaces_the_images() {
    let image =
        Healthcheck { test: words(&["CMD", "x"]), interval: 5, retries: 9, ..Default::default() };
    let mut own = Some(Healthcheck { interval: 7, ..Default::default() });
    inherit(&mut own, Some(&image));
    assert_eq!(own, Some(Healthcheck { interval: 7, ..image.clone() }));
    let mut none = Some(Healthcheck { test: words(&["NONE"]), ..Default::default() });
    inherit(&mut none, Some(&image));
    assert_eq!(none.map(|check| check.test), Some(words(&["NONE"])));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let with = |test: &[&str], interval, retries| Healthcheck {
        test: words(test),
        interval,
        retries,
        ..Default::default()
    };
    assert!(check(&with(&["CMD", "x"], SHORTEST, 1)).is_ok());
    assert!(check(&with(&["CMD", "x"], 1, 1)).is_err());
    assert!(check(&with(&["CMD", "x"], 0, -1)).is_err());
    assert!(check(&with(&["x"], 0, 0)).is_err());
}
