//! Where the cases are built: one store with one base image for all topics of a process, a directory for each case.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime};

use super::case::Case;
use super::outcome::Outcome;
use super::support::{Image, Output, TestEnv, lay, tar};

/// When everything in a context was modified: in September 2001.
pub(crate) const THEN: u64 = 1_000_000_000;

pub(crate) struct World {
    pub(crate) env: TestEnv,
    /// The busybox image that cases build on, tagged `base`.
    pub(crate) base: Outcome,
}

/// What came of a case: how the program ended, and what it made if it did.
pub(crate) struct Built {
    pub(crate) output: Output,
    pub(crate) outcome: Option<Outcome>,
}

impl Built {
    pub(crate) fn into_outcome(self) -> Option<Outcome> {
        self.outcome
    }
}

impl World {
    /// The world of all topics that run now. It is removed when nobody uses it any more, which a static could not be.
    pub(crate) fn share() -> Arc<Self> {
        static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let world = Arc::new(Self::new());
            *shared = Arc::downgrade(&world);
            world
        })
    }

    fn new() -> Self {
        let env = TestEnv::new();
        env.busybox_image("base");
        let base = read(&env.image("base"));
        Self { env, base }
    }

    pub(crate) fn build(&self, case: &Case) -> Built {
        let place = Place::new(&self.env, case);
        for (number, (name, dockerfile)) in case.images.iter().enumerate() {
            let file = place.directory.join(format!("Dockerfile.{number}"));
            fs::write(&file, dockerfile).unwrap();
            let words = ["-q", "-t", name, "-f", file.to_str().unwrap(), "."];
            self.env.rbuild(&words).directory(place.context()).run().success();
        }
        let layout = place.directory.join("image");
        let target = format!("type=oci,tar=false,compression=uncompressed,dest={}", layout.display());
        let mut command = self.env.rbuild(&["--output", &target]);
        if !case.names_its_file() {
            command = command.arguments(&["-f", "../Dockerfile"]);
        }
        for (name, value) in &case.environment {
            command = command.env(name, value);
        }
        let flags: Vec<_> = case.flags.iter().map(String::as_str).collect();
        let output = command.arguments(&flags).arguments(&["."]).directory(place.context()).run();
        let outcome = output.succeeded().then(|| read(&Image::open(&layout).sound()));
        Built { output, outcome }
    }
}

fn read(image: &Image) -> Outcome {
    Outcome::new(&image.files(), &image.config_json())
}

/// The context and the Dockerfile of a case on the disk, which only stay if they are asked to.
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
}

impl Place {
    pub(crate) fn new(env: &TestEnv, case: &Case) -> Self {
        let directory = tempfile::Builder::new().prefix("case-").tempdir_in(env.path(".")).unwrap().keep();
        let place = Self { directory };
        let context = place.context();
        fs::create_dir(&context).unwrap();
        for (name, entries) in &case.archives {
            let entries: Vec<_> = entries.iter().map(String::as_str).collect();
            let archive = if name.ends_with(".gz") { packed(&tar(&entries)) } else { tar(&entries) };
            fs::write(context.join(name), archive).unwrap();
        }
        let lines: Vec<_> = case.context.iter().map(String::as_str).collect();
        lay(&context, &lines);
        set_times(&context);
        fs::write(place.directory.join("Dockerfile"), &case.dockerfile).unwrap();
        place
    }

    pub(crate) fn context(&self) -> PathBuf {
        self.directory.join("context")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::env::var_os("RBUILD_TEST_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// Sets when all below a directory was modified, links excepted.
fn set_times(path: &Path) {
    let kind = fs::symlink_metadata(path).unwrap().file_type();
    if kind.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| set_times(&entry.unwrap().path()));
    }
    if kind.is_dir() || kind.is_file() {
        let then = fs::FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(THEN));
        // What its owner may not read has no time of its own here.
        let _ = fs::File::open(path).and_then(|file| file.set_times(then));
    }
}
