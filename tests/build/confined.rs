//! With a single id the child answers calls from outside of the sandbox: what a step names leads it nowhere else.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::support::{BaseImage, TestEnv, require_busybox};

/// Links of the image that lead to the host's files when somebody outside follows them.
#[test]
fn links_of_an_image_do_not_reach_the_host() {
    require_busybox!();
    let env = TestEnv::new();
    single_base(&env);
    let outside = env.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("program"), "host's").unwrap();
    let program = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    fs::set_permissions(outside.join("program"), program).unwrap();
    let shown = outside.display();
    env.dockerfile(&format!(
        "FROM base:1\n\
         RUN ln -s {shown}/program /absolute && ln -s {shown} /directory && ln -s {shown}/made /dangling\n\
         RUN ln -s ../../../../../../../../../..{shown}/program /dots\n\
         RUN for path in /absolute /dots /directory/program; do ! chown 1000 $path && ! stat -L $path || exit 1; done 2> /dev/null\n\
         RUN mkdir -p {shown} && echo inside > {shown}/program && chown 1000:50 /absolute /dots\n\
         RUN test $(stat -Lc %u:%g /absolute) = 1000:50 && test $(stat -Lc %u:%g /dots) = 1000:50 && chmod 777 {shown}\n\
         RUN ! mknod /directory/absent/node c 1 3 2> /dev/null\n\
         USER app\n\
         RUN echo inside > /dangling && echo inside > /directory/new && mkdir /directory/dir\n\
         RUN cd /directory && echo inside > ../outside/relative && mkdir ./../../../../../../../../..{shown}/up\n\
         RUN test -f {shown}/made && test -f {shown}/new && test -d {shown}/dir && test -d {shown}/up\n"
    ));
    env.rbuild(&["--isolation", "single", "-t", "app", "."]).run().success();
    let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["program"], "a step has made files outside of its root");
    let mode = fs::metadata(outside.join("program")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o4755, "a step has changed a file outside of its root");
    let mut record = [0_u8; 64];
    let found = rustix::fs::getxattr(outside.join("program"), "user.rbuild.owner", &mut record);
    assert!(found.is_err(), "a step has written a record outside of its root");
}

/// A step that changes its own root sees the calls answered below that one.
#[test]
fn a_changed_root_holds_for_what_is_answered() {
    require_busybox!();
    let env = TestEnv::new();
    single_base(&env);
    env.dockerfile(
        "FROM base:1\n\
         RUN mkdir /inner && cp -a /bin /etc /inner && ln -s /etc/passwd /inner/link && ln -s ../../../etc/group /inner/dots\n\
         RUN chroot /inner chown 1000:50 /link /dots && chroot /inner stat -c %u /etc/passwd | grep -qx 1000\n\
         RUN test \"$(stat -c %u:%g /inner/etc/passwd /inner/etc/group /etc/passwd /etc/group | tr '\\n' ' ')\" = '1000:50 1000:50 0:0 0:0 '\n\
         RUN chroot /inner sh -c 'cd / && chown 7 ../../etc/shadow; test -e /etc/shadow || chown 7 ../../etc/passwd' && test $(stat -c %u /etc/passwd) = 0\n",
    );
    env.rbuild(&["--isolation", "single", "-t", "app", "."]).run().success();
}

/// The names that a process has for itself and for its descriptors mean the caller, not whoever answers.
#[test]
fn names_in_proc_are_the_callers() {
    require_busybox!();
    let env = TestEnv::new();
    single_base(&env);
    env.dockerfile(
        "FROM base:1\n\
         RUN echo x > /file && chown 1000 /proc/self/fd/3 3< /file && test $(stat -c %u /file) = 1000\n\
         RUN chown 7 /dev/fd/3 3< /file && test $(stat -c %u /file) = 7 && test $(stat -Lc %u /dev/fd/3 3< /file) = 7\n\
         RUN cd /tmp && echo y > here && chown 8 /proc/self/cwd/here && test $(stat -c %u /tmp/here) = 8\n",
    );
    env.rbuild(&["--isolation", "single", "-t", "app", "."]).run().success();
}

/// The base image in a store of the rung that this is about, whoever runs the test.
fn single_base(env: &TestEnv) {
    let context = BaseImage::busybox().context(env);
    let arguments = ["--isolation", "single", "-q", "-t", "base:1", context.to_str().unwrap()];
    env.rbuild(&arguments).run().success();
}
