//! COPY against what it cannot do without: reading, writing and hashing the files.
//!
//! `cargo bench --bench copy [DIRECTORY...]`; everything is made in the directories, `/var/tmp` and `/dev/shm` by default. Figures are
//! the best of several interleaved runs of the release program, wall time and time of the processors; `RBUILD_TEST_BIN` names another
//! program, for measuring as other users. One over its limit is said, not failed.
//!
//! Nothing is removed before all is measured: ext4 looks for inodes that were freed not long ago before it takes one, so
//! that who has just removed ten thousand files needs ten times as long to make as many, in `cp`, too.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench may fail, and prints"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 7;
const LARGE: usize = 1 << 30;

fn main() {
    let given: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let places = if given.is_empty() { vec!["/var/tmp".to_owned(), "/dev/shm".to_owned()] } else { given };
    for place in places {
        let world = tempfile::Builder::new().prefix("rbuild-bench-").tempdir_in(&place).unwrap();
        println!("{:<64} {:>9} {:>9}", place, "wall", "user+sys");
        let mut bench = Bench { world: world.path().to_owned(), made: 0 };
        bench.many_files();
        bench.ignored_files();
        bench.large_file();
    }
}

struct Bench {
    world: PathBuf,
    made: usize,
}

/// What a command has taken.
#[derive(Clone, Copy)]
struct Took {
    wall: Duration,
    cpu: Duration,
}

impl Bench {
    /// A path that nothing has.
    fn fresh(&mut self) -> PathBuf {
        self.made += 1;
        self.world.join(format!("made-{}", self.made))
    }

    /// A whole build in an empty store against copying and hashing the same tree.
    fn many_files(&mut self) {
        let context = self.world.join("many");
        for number in 0..10_000_usize {
            let module = number / 100;
            let place = context.join(format!("src/package{}/module{module}", module % 10));
            fs::create_dir_all(&place).unwrap();
            // Something that no two files have in common.
            let text = format!("{number} ").repeat(5500);
            fs::write(place.join(format!("file{number}.rs")), &text.as_bytes()[..11_000]).unwrap();
        }
        fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY . /\n").unwrap();
        settle();
        let files = files_of(&context);
        let [mut copies, mut sums, mut fast_sums, mut builds] = [const { Vec::new() }; 4];
        for _ in 0..RUNS {
            copies.push(run(Command::new("cp").arg("-a").arg(&context).arg(self.fresh())));
            sums.push(run(Command::new("sha256sum").args(&files)));
            // Where the processor has instructions for it, `sha256sum` may not know them.
            fast_sums.extend(try_run(Command::new("openssl").args(["dgst", "-sha256"]).args(&files)));
            builds.push(self.build(&context));
        }
        let (copy, sum, build) = (best(&copies), best(&sums), best(&builds));
        tell("cp -a of 10,000 files, 110 MB", copy);
        tell("sha256sum of them", sum);
        tell("build that copies them, in an empty store", build);
        ratio("to both", build, copy.and(sum), 1.5);
        if !fast_sums.is_empty() {
            tell("openssl dgst -sha256 of them", best(&fast_sums));
            ratio("to cp and openssl", build, copy.and(best(&fast_sums)), 1.5);
        }
    }

    /// What 200,000 files cost that are ignored.
    fn ignored_files(&mut self) {
        let context = self.world.join("ignored");
        for directory in 0..2000 {
            let place = context.join(format!("modules/p{}/m{directory}", directory % 50));
            fs::create_dir_all(&place).unwrap();
            (0..100).for_each(|file| fs::write(place.join(format!("f{file}.o")), "").unwrap());
        }
        fs::write(context.join("kept"), "kept").unwrap();
        fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY . /\n").unwrap();
        let rules = ["modules\n", "**/*.o\n", "**/*.o\n!**/kept.o\n", "modules\n!modules/p1/m1/kept\n"];
        for rules in rules {
            fs::write(context.join(".dockerignore"), rules).unwrap();
            let builds: Vec<_> = (0..RUNS).map(|_| self.build(&context)).collect();
            let shown = rules.trim().replace('\n', " ");
            tell(&format!("build with 200,000 files ignored: {shown}"), best(&builds));
            ratio("to 0.2 s", best(&builds), seconds(0.2), 1.0);
        }
    }

    /// A COPY of a large file from another stage that was made before. The step is over when the file is there; both of its digests,
    /// for the key and for the layer, are taken after that, and before the build ends.
    fn large_file(&mut self) {
        let context = self.world.join("large");
        fs::create_dir_all(&context).unwrap();
        let mut file = fs::File::create(context.join("file")).unwrap();
        let block: Vec<u8> =
            (0..1_u32 << 18).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        (0..LARGE / block.len()).for_each(|_| file.write_all(&block).unwrap());
        let text = "FROM scratch AS a\nCOPY file /\nFROM scratch\nARG NAME\nCOPY --from=a /file /$NAME\n";
        fs::write(context.join("Dockerfile"), text).unwrap();
        // Blocks can be shared only once they have reached the disk.
        file.sync_all().unwrap();
        settle();
        let store = self.fresh();
        self.build_in(&store, &context, &["--target", "a"]);
        let reflink = ["--reflink=always", context.join("file").to_str().unwrap()].map(str::to_owned);
        let shares =
            Command::new("cp").args(reflink).arg(self.fresh()).stderr(Stdio::null()).status().unwrap();
        let [mut copies, mut steps, mut builds] = [const { Vec::new() }; 3];
        for number in 0..3 {
            let copy = self.fresh();
            copies.push(run(Command::new("cp").arg(context.join("file")).arg(&copy)));
            fs::remove_file(&copy).unwrap();
            // Another place each time, which nobody has made before.
            let name = format!("NAME=copy-{number}");
            let mut command = self.command(&store, &["--progress", "plain", "--build-arg", &name], &context);
            let (step, build) = step_of(&mut command, "COPY --from");
            steps.push(step);
            builds.push(build);
        }
        tell("cp of a file of 1 GiB", best(&copies));
        tell("COPY --from of it", best(&steps));
        if shares.success() {
            ratio("to 0.1 s, as files share their blocks here", best(&steps), seconds(0.1), 1.0);
        } else {
            ratio("to cp", best(&steps), best(&copies), 1.2);
        }
        tell("build with that, both digests and all", best(&builds));
    }

    fn build(&mut self, context: &Path) -> Took {
        let store = self.fresh();
        self.build_in(&store, context, &[])
    }

    fn build_in(&self, store: &Path, context: &Path, flags: &[&str]) -> Took {
        run(&mut self.command(store, &[&["-q"], flags].concat(), context))
    }

    fn command(&self, store: &Path, flags: &[&str], context: &Path) -> Command {
        let program = std::env::var_os("RBUILD_TEST_BIN");
        let mut command = Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_rbuild").into()));
        command.arg("--root").arg(store).arg("build").args(flags).arg(context);
        command
    }
}

/// How long a step has taken, by when a build tells of it, and the whole build.
fn step_of(command: &mut Command, name: &str) -> (Took, Took) {
    let began = Instant::now();
    let mut build =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut step, mut took) = (None, None);
    for line in BufReader::new(build.stderr.take().unwrap()).lines().map(Result::unwrap) {
        match &step {
            None if line.contains(name) => {
                let number = line.split(' ').next().unwrap_or_default().to_owned();
                step = Some((format!("{number} DONE"), Instant::now()));
            }
            Some((done, began)) if line.starts_with(done) => took = Some(began.elapsed()),
            _ => {}
        }
    }
    assert!(build.wait().unwrap().success());
    let took_it = |wall| Took { wall, cpu: Duration::ZERO };
    (took_it(took.expect("the step is executed")), took_it(began.elapsed()))
}

fn seconds(limit: f64) -> Took {
    Took { wall: Duration::from_secs_f64(limit), cpu: Duration::MAX }
}

/// What was written just now is not yet remembered.
fn settle() {
    std::thread::sleep(Duration::from_millis(2100));
}

fn files_of(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_of(&path) } else { vec![path] }).collect()
}

fn run(command: &mut Command) -> Took {
    try_run(command).unwrap_or_else(|| panic!("{command:?} does not run"))
}

fn try_run(command: &mut Command) -> Option<Took> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let (began, before) = (Instant::now(), cpu_of_children());
    let status = command.status().ok()?;
    let took = Took { wall: began.elapsed(), cpu: cpu_of_children() - before };
    assert!(status.success(), "{:?}: {status}", command.get_program());
    Some(took)
}

/// What ended children have used, in the hundredths of a second that the kernel tells.
fn cpu_of_children() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(13).take(2);
    Duration::from_millis(fields.map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum())
}

fn best(runs: &[Took]) -> Took {
    let least = |of: fn(&Took) -> Duration| runs.iter().map(of).min().unwrap();
    Took { wall: least(|took| took.wall), cpu: least(|took| took.cpu) }
}

impl Took {
    fn and(self, other: Self) -> Self {
        Self { wall: self.wall + other.wall, cpu: self.cpu + other.cpu }
    }
}

fn tell(name: &str, Took { wall, cpu }: Took) {
    println!("{name:<64} {:>6.0} ms {:>6.0} ms", wall.as_secs_f64() * 1e3, cpu.as_secs_f64() * 1e3);
}

fn ratio(name: &str, one: Took, other: Took, limit: f64) {
    let ratio = one.wall.as_secs_f64() / other.wall.as_secs_f64();
    let verdict = if ratio <= limit { "ok" } else { "over" };
    println!("    {name:<60} {ratio:>9.2} {limit:>9.2}  {verdict}");
}
