//! Ways out, each of which has to fail: from hostile images, and from hostile steps.

mod image;
mod owners;
mod step;

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{BaseImage, TestEnv};

/// A directory of the host that nothing inside may touch.
struct Victim(PathBuf);

impl Victim {
    fn new(env: &TestEnv) -> Self {
        let directory = env.path("victim");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("file"), "whole").unwrap();
        Self(directory)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    #[track_caller]
    fn is_whole(&self) {
        let names: Vec<_> = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"], "something was made outside");
        assert_eq!(fs::read_to_string(self.0.join("file")).unwrap(), "whole");
        for path in [self.0.clone(), self.0.join("file")] {
            let mut names = [0; 256];
            let length = rustix::fs::listxattr(&path, &mut names).unwrap_or(0);
            let names = String::from_utf8_lossy(&names[..length]).into_owned();
            assert!(!names.contains("rbuild"), "{} got a record: {names}", path.display());
            let metadata = fs::metadata(&path).unwrap();
            use std::os::unix::fs::MetadataExt as _;
            assert_eq!(metadata.uid(), rustix::process::getuid().as_raw(), "{}", path.display());
        }
    }
}

/// Builds an image of the probe's files after a change to them, without running anything in it.
fn image_with(env: &TestEnv, tag: &str, change: impl FnOnce(&Path)) {
    let context = BaseImage::probe().context(env);
    change(&context.join("rootfs"));
    env.rbuild(&["-q", "-t", tag, context.to_str().unwrap()]).run().success();
    fs::remove_dir_all(context).unwrap();
}
