//! Clients that create, start, stop, execute, remove and pull while their engine is killed again and
//! again. After each of its starts what was acknowledged is still so, and nothing else is there.
//!
//! ```text
//!   workers ask  --kill at a random instant-->  start  -->  check models, images, events, leftovers
//!      ^                                                                  |
//!      +------------------------------------------------------------------+
//! ```
//!
//! Each worker has containers of its own; one more pulls and removes an image.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use spec::Isolation;
use tests::host::IMAGE;
use tests::random::Random;
use tests::{Host, random};

use super::super::client::Client;
use super::model::{LEFT, Model, Program, State, Verb};

/// The image that is pulled and removed.
pub(super) const PULLED: &str = "127.0.0.1:5000/storm";
/// What one container of it prints: the digest of its large file.
const CHECKSUM: &str = "sha256sum /big";

/// How a mode is stormed.
pub(super) struct Load {
    pub(super) isolation: Isolation,
    pub(super) workers: usize,
    pub(super) slots: usize,
    /// The longest time between a start of the engine and its end.
    pub(super) longest: Duration,
}

/// One storm.
pub(super) struct Storm {
    load: Load,
    client: Client,
    seed: u64,
    containers: Vec<Vec<Model>>,
    /// Whether the image may be there, and whether it may not.
    image: (bool, bool),
    checksum: String,
    /// All ids that there ever were.
    ids: BTreeSet<String>,
}

impl Storm {
    pub(super) fn new(host: &Host, load: Load, checksum: String) -> Self {
        let client = Client::of(&host.engine);
        let slot = |worker: usize, slot: usize| {
            let program = if slot.is_multiple_of(2) { Program::Stays } else { Program::Leaves };
            Model::absent(format!("w{worker}-{slot}"), program)
        };
        let containers = (0..load.workers)
            .map(|worker| (0..load.slots).map(|number| slot(worker, number)).collect())
            .collect();
        let (image, ids, seed) = ((false, true), BTreeSet::new(), random::seed());
        Self { load, client, seed, containers, image, checksum, ids }
    }

    /// Kills and checks so many times.
    pub(super) fn rage(&mut self, host: &mut Host, kills: u64) {
        println!("    {kills} kills, HULL_SOAK_SEED={}", self.seed);
        for round in 0..kills {
            let mut random = Random::new(self.seed.wrapping_add(round << 8));
            let instant =
                random.below(u64::try_from(self.load.longest.as_micros()).expect("short"));
            let seed = random.below(u64::MAX);
            self.work_until_killed(host, Duration::from_micros(instant), seed);
            let killed = date(host, "+%Y-%m-%dT%H:%M:%S.%NZ");
            // What a killed engine began goes on for a while; sometimes the next one meets it.
            thread::sleep(Duration::from_millis(random.below(3) * 30));
            host.engine.start();
            self.check(host, &killed, &format!("round {round} of seed {}", self.seed));
        }
    }

    fn work_until_killed(&mut self, host: &mut Host, instant: Duration, seed: u64) {
        let pid = i32::try_from(host.engine.pid()).ok().and_then(Pid::from_raw).expect("it runs");
        let (client, isolation) = (&self.client, self.load.isolation);
        let image = &mut self.image;
        let containers = &mut self.containers;
        thread::scope(|scope| {
            for (number, models) in (1..).zip(containers) {
                let random = Random::new(seed.wrapping_add(number));
                scope.spawn(move || work(client, isolation, models, random));
            }
            scope.spawn(move || pull(client, image, Random::new(seed)));
            thread::sleep(instant);
            kill_process(pid, Signal::KILL).expect("it was not waited for");
        });
        host.engine.kill();
    }

    /// Compares what there is with what may be.
    fn check(&mut self, host: &Host, killed: &str, round: &str) {
        let mut known = Vec::new();
        for model in self.containers.iter_mut().flatten() {
            check_container(&self.client, model, round);
            if model.state() != State::Absent {
                known.push((model.name.clone(), model.id.clone()));
                self.ids.insert(model.id.clone());
            }
        }
        known.sort();
        let mut listed = listed(&self.client);
        listed.sort();
        assert_eq!(listed, known, "{round}: containers that nobody made or that are lost");
        self.check_events(host, killed, round);
        self.check_image(round);
        self.check_leftovers(host, round);
    }

    /// What ended while nobody watched was told by the engine that found out, once.
    fn check_events(&self, host: &Host, killed: &str, round: &str) {
        let page = format!("/events?since=1&until={}", date(host, "+%s.%N"));
        let answer = self.client.ask("GET", &page, &Value::Null).expect("the engine lives").text();
        let events = answer.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let deaths: Vec<Value> = events.filter(|event: &Value| event["Action"] == "die").collect();
        for model in self.containers.iter().flatten() {
            let State::Exited(code) = model.state() else { continue };
            let page = self.client.page(&format!("/containers/{}/json", model.name));
            let finished = page["State"]["FinishedAt"].as_str().expect("a time");
            let told: Vec<_> = deaths
                .iter()
                .filter(|event| event["Actor"]["ID"] == page["Id"])
                .map(|event| event["Actor"]["Attributes"]["exitCode"].as_str())
                .collect();
            let want = if finished > killed { 1..=1 } else { 0..=1 };
            assert!(want.contains(&told.len()), "{round}: {model:?} died {finished}: {told:?}");
            let code = code.to_string();
            assert!(told.iter().all(|told| *told == Some(&code)), "{round}: {model:?}: {told:?}");
        }
    }

    /// The image is whole or it is not there.
    fn check_image(&mut self, round: &str) {
        let path = format!("/images/{PULLED}/json");
        let found = self.client.ask("GET", &path, &Value::Null).expect("the engine lives").done();
        let (may_be, may_lack) = self.image;
        assert!(if found { may_be } else { may_lack }, "{round}: image there: {found}");
        self.image = (found, !found);
        if !found {
            return;
        }
        let body = json!({ "Image": PULLED, "Cmd": ["sh", "-c", CHECKSUM] });
        let ask = |method: &str, path: &str, body: &Value| {
            let answer = self.client.ask(method, path, body).expect("the engine lives");
            assert!(answer.done(), "{round}: {path}: {}", answer.text());
            answer
        };
        ask("POST", "/containers/create?name=checksum", &body);
        ask("POST", "/containers/checksum/start", &Value::Null);
        ask("POST", "/containers/checksum/wait", &Value::Null);
        let logs = ask("GET", "/containers/checksum/logs?stdout=1", &Value::Null).text();
        assert!(logs.contains(&self.checksum), "{round}: {logs:?}");
        ask("DELETE", "/containers/checksum", &Value::Null);
    }

    /// Every process, file, cgroup and link is that of a container that runs.
    fn check_leftovers(&self, host: &Host, round: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let wrong = self.leftovers(host);
            if wrong.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{round}: left over or lost:\n{}", wrong.join("\n"));
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn leftovers(&self, host: &Host) -> Vec<String> {
        let there = self.containers.iter().flatten().filter(|model| model.state() != State::Absent);
        let all: BTreeSet<_> = there.map(|model| model.id.clone()).collect();
        let live = listed_live(&self.client);
        // Behind a VM's wall the host has no state of a container; its cgroups are the worker's.
        let of_the_host = match self.load.isolation {
            Isolation::Process => live.clone(),
            Isolation::Vm => BTreeSet::new(),
        };
        let run = host.engine.exec_root();
        let sets = [
            ("bundles", names(&host.engine.data_root().join("containers")), &all),
            ("namespaces", names(&run.join("netns")), &live),
            ("states", names(&run.join("runtime")), &of_the_host),
            ("cgroups", self.cgroups(), &live),
            ("shims", shims(host), &live),
        ];
        let wrong = sets.iter().filter(|(_, found, want)| found != *want);
        let wrong = wrong.map(|(what, found, want)| format!("{what}: {found:?}, not {want:?}"));
        let crowded = self.containers.iter().flatten().filter_map(|model| self.crowd(model));
        wrong.chain(miscounted(host, live.len(), of_the_host.len())).chain(crowded).collect()
    }

    /// The processes of a container that runs one program, if they are more.
    fn crowd(&self, model: &Model) -> Option<String> {
        if model.state() != State::Running || model.program != Program::Stays {
            return None;
        }
        let page = self.client.page(&format!("/containers/{}/top", model.name));
        let processes = page["Processes"].as_array().expect("a list");
        (processes.len() != 1).then(|| format!("processes of {}: {processes:?}", model.name))
    }

    /// Those of our containers that have a cgroup in any hierarchy.
    fn cgroups(&self) -> BTreeSet<String> {
        let hierarchies = names(&PathBuf::from("/sys/fs/cgroup"));
        let parents: Vec<_> = hierarchies
            .iter()
            .map(|name| PathBuf::from("/sys/fs/cgroup").join(name).join("hull"))
            .chain([PathBuf::from("/sys/fs/cgroup/hull")])
            .collect();
        let there = |id: &&String| parents.iter().any(|parent| parent.join(id).exists());
        self.ids.iter().filter(there).cloned().collect()
    }
}

/// Asks for one thing after another, until the engine dies.
fn work(client: &Client, isolation: Isolation, models: &mut [Model], mut random: Random) {
    let mut next = |limit: usize| usize::try_from(random.below(limit as u64)).expect("small");
    loop {
        let index = next(models.len());
        let model = &mut models[index];
        let state = model.state();
        let choices = Verb::choices(state, model.program);
        let verb = choices[next(choices.len())];
        if verb == Verb::Rename {
            let turned = model.name.strip_suffix("-again").map(str::to_owned);
            model.renamed = Some(turned.unwrap_or_else(|| format!("{}-again", model.name)));
        }
        let before = model.clone();
        model.asked(verb);
        let Some(id) = ask(client, isolation, &before, verb) else { return };
        if verb == Verb::Create {
            model.id = id;
        }
        model.done(verb, state);
        if model.state() == State::Absent {
            *model = Model::absent(model.name.clone(), model.program);
        }
    }
}

/// Has one thing done; gives the id of a new container. `None` when the engine died meanwhile.
fn ask(client: &Client, isolation: Isolation, model: &Model, verb: Verb) -> Option<String> {
    let name = &model.name;
    let post = |what: &str| client.ask("POST", &format!("/containers/{name}/{what}"), &Value::Null);
    let answer = match verb {
        Verb::Create => {
            let body = describe(isolation, model.program);
            client.ask("POST", &format!("/containers/create?name={name}"), &body)
        }
        Verb::Start => post("start"),
        Verb::Stop => post("stop?t=0"),
        // Its end is acknowledged by the wait.
        Verb::Kill => {
            post("kill").and_then(|killed| if killed.done() { post("wait") } else { Some(killed) })
        }
        Verb::Pause => post("pause"),
        Verb::Unpause => post("unpause"),
        Verb::Rename => {
            let new = model.renamed.as_deref().expect("chosen with the verb");
            post(&format!("rename?name={new}"))
        }
        Verb::Remove => client.ask("DELETE", &format!("/containers/{name}"), &Value::Null),
        Verb::RemoveByForce => {
            client.ask("DELETE", &format!("/containers/{name}?force=1"), &Value::Null)
        }
        Verb::Exec => return exec(client, name),
    }?;
    assert!(answer.done(), "{verb:?} of {model:?}: {} {}", answer.status, answer.text());
    let id = serde_json::from_slice::<Value>(&answer.body).ok();
    Some(id.and_then(|value| value["Id"].as_str().map(str::to_owned)).unwrap_or_default())
}

fn exec(client: &Client, name: &str) -> Option<String> {
    let body = json!({ "Cmd": ["echo", "exec-ok"], "AttachStdout": true });
    let made = client.ask("POST", &format!("/containers/{name}/exec"), &body)?;
    assert_eq!(made.status, 201, "{name}: {}", made.text());
    let made: Value = serde_json::from_slice(&made.body).expect("JSON");
    let id = made["Id"].as_str().expect("an id");
    let body = json!({ "Detach": false, "Tty": false });
    let said = client.ask("POST", &format!("/exec/{id}/start"), &body)?;
    // Its output has no length: only who still answers has sent all of it.
    client.ask("GET", &format!("/exec/{id}/json"), &Value::Null)?;
    assert!(said.text().contains("exec-ok"), "{name}: {}", said.text());
    Some(String::new())
}

fn describe(isolation: Isolation, program: Program) -> Value {
    let (script, policy) = match program {
        Program::Stays => ("echo run; exec sleep 1000", "unless-stopped"),
        Program::Leaves => ("echo run; sleep 0.05; echo end; exit 7", "no"),
    };
    json!({
        "Image": IMAGE,
        "Cmd": ["sh", "-c", script],
        "HostConfig": {
            "Isolation": isolation.to_string(),
            "RestartPolicy": { "Name": policy },
        },
    })
}

/// Pulls and removes the image, until the engine dies.
fn pull(client: &Client, image: &mut (bool, bool), mut random: Random) {
    loop {
        thread::sleep(Duration::from_millis(random.below(50)));
        let there = image.0;
        *image = (true, true);
        let answer = if there {
            client.ask("DELETE", &format!("/images/{PULLED}"), &Value::Null)
        } else {
            client.ask(
                "POST",
                &format!("/images/create?fromImage={PULLED}&tag=latest"),
                &Value::Null,
            )
        };
        let Some(answer) = answer else { return };
        assert!(answer.done() && !answer.text().contains("\"error\""), "{}", answer.text());
        *image = (!there, there);
    }
}

/// Finds out which of the states that may be it has, and how often it ran.
fn check_container(client: &Client, model: &mut Model, round: &str) {
    let new = model.renamed.take();
    let names = [Some(model.name.clone()), new].into_iter().flatten();
    let found = names.filter_map(|name| {
        let path = format!("/containers/{name}/json");
        let answer = client.ask("GET", &path, &Value::Null).expect("the engine lives");
        (answer.status == 200).then_some((name, answer))
    });
    let mut found: Vec<_> = found.collect();
    assert!(found.len() < 2, "{round}: {model:?} has two names");
    let Some((name, answer)) = found.pop() else {
        assert!(model.may.contains(&State::Absent), "{round}: {model:?} is lost");
        *model = Model::absent(model.name.clone(), model.program);
        return;
    };
    let page: Value = serde_json::from_slice(&answer.body).expect("JSON");
    model.name = name;
    page["Id"].as_str().expect("an id").clone_into(&mut model.id);
    let code = page["State"]["ExitCode"].as_i64().expect("a number");
    let state = match page["State"]["Status"].as_str() {
        Some("created") => State::Created,
        Some("running") => State::Running,
        Some("paused") => State::Paused,
        Some("exited") => State::Exited(code),
        other => panic!("{round}: {model:?} is {other:?}"),
    };
    assert!(model.may.contains(&state), "{round}: {model:?} is {state:?}");
    let deadline = Instant::now() + Duration::from_secs(10);
    let runs = loop {
        let path = format!("/containers/{}/logs?stdout=1", model.name);
        let logs = client.ask("GET", &path, &Value::Null).expect("the engine lives").text();
        let runs = logs.matches("run\n").count();
        let ends_are_there =
            state != State::Exited(LEFT) || model.cut || logs.matches("end\n").count() == runs;
        if ends_are_there && model.runs_in(state).contains(&runs) {
            break runs;
        }
        assert!(Instant::now() < deadline, "{round}: {model:?} is {state:?}, its log {logs:?}");
        thread::sleep(Duration::from_millis(20));
    };
    model.seen(state, runs);
}

/// Names and ids of all containers.
fn listed(client: &Client) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").trim_start_matches('/').to_owned();
    let page = client.page("/containers/json?all=1");
    let all = page.as_array().expect("a list").iter();
    all.map(|one| (text(&one["Names"][0]), text(&one["Id"]))).collect()
}

/// The ids of those that run or are paused.
fn listed_live(client: &Client) -> BTreeSet<String> {
    let page = client.page("/containers/json");
    let all = page.as_array().expect("a list").iter();
    all.map(|one| one["Id"].as_str().expect("text").to_owned()).collect()
}

/// What is not as many as the containers that run, `mounted` of them on the host.
fn miscounted(host: &Host, live: usize, mounted: usize) -> Vec<String> {
    let run = host.engine.exec_root();
    let links = host.engine.on_host("ip", &["-o", "link"]).ok();
    let counts = [
        ("sockets", names(&run.join("shim")).len(), live),
        ("streams", names(&run.join("io")).len(), live),
        ("links", links.lines().filter(|link| link.contains(": veth-")).count(), live),
        ("mounts", mounts_beneath(host.engine.data_root()), mounted),
    ];
    let wrong = counts.iter().filter(|(_, found, want)| found != want);
    wrong.map(|(what, found, want)| format!("{what}: {found}, not {want}")).collect()
}

/// The containers whose shims run.
fn shims(host: &Host) -> BTreeSet<String> {
    let line = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let id =
        |line: String| line.split('\0').skip_while(|word| *word != "-id").nth(1).map(str::to_owned);
    host.engine.processes("containerd-shim").iter().map(line).filter_map(id).collect()
}

fn mounts_beneath(directory: &Path) -> usize {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("proc is mounted");
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| Path::new(point).starts_with(directory)).count()
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The time in one of date(1)'s formats.
fn date(host: &Host, format: &str) -> String {
    host.engine.on_host("date", &["-u", format]).ok()
}
