//! Where nothing can be isolated, images that take no process are built all the same, and are the same.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::{
    Image, Layer, Output, Registry, TestEnv, binary, is_root, push_by_hand, require_busybox, require_tool,
    skip,
};

/// Version 2, permitted and effective: what setcap writes for `cap_net_raw=ep`.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn add(
        &mut self,
        path: &str,
        kind: tar::EntryType,
        mode: u32,
        ids: (u64, u64),
        content: &[u8],
    ) -> &mut Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(ids.0);
        header.set_gid(ids.1);
        header.set_mtime(1_000_000_000);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        if kind == tar::EntryType::Symlink {
            header.set_size(0);
            self.0.append_link(&mut header, path, std::str::from_utf8(content).unwrap()).unwrap();
        } else {
            header.set_size(content.len() as u64);
            self.0.append_data(&mut header, path, content).unwrap();
        }
        self
    }

    fn capability(&mut self) -> &mut Self {
        self.0.append_pax_extensions([("SCHILY.xattr.security.capability", &CAPABILITY[..])]).unwrap();
        self
    }

    fn done(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// An image of two layers with everything that only root could have on a disk.
fn base(env: &TestEnv, registry: &Registry) -> String {
    use tar::EntryType::{Char, Directory, Fifo, Regular, Symlink};
    let mut lower = Tar::new();
    lower
        .add("etc/", Directory, 0o755, (0, 0), b"")
        .add("etc/passwd", Regular, 0o644, (0, 0), b"app:x:1000:1001::/:/\n")
        .add("etc/shadow", Regular, 0, (0, 42), b"secret")
        .add("closed/", Directory, 0o111, (7, 8), b"")
        .add("closed/in", Regular, 0o400, (7, 7), b"in")
        .add("bin/", Directory, 0o755, (0, 0), b"")
        .add("bin/su", Regular, 0o4755, (0, 0), b"su")
        .capability()
        .add("bin/ping", Regular, 0o755, (0, 0), b"ping")
        .add("null", Char, 0o666, (0, 6), b"")
        .add("pipe", Fifo, 0o640, (9, 9), b"")
        .add("link", Symlink, 0o777, (1000, 1000), b"/etc/passwd")
        .add("gone", Regular, 0o644, (0, 0), b"")
        .add("replaced/", Directory, 0o755, (0, 0), b"")
        .add("replaced/old", Regular, 0o644, (0, 0), b"");
    let mut upper = Tar::new();
    upper
        .add(".wh.gone", Regular, 0, (0, 0), b"")
        .add("replaced/", Directory, 0o2775, (3, 4), b"")
        .add("replaced/.wh..wh..opq", Regular, 0, (0, 0), b"")
        .add("replaced/new", Regular, 0o644, (3, 4), b"new");
    push_by_hand(env, registry, "everything", &[Layer::gzip(&lower.done()), Layer::gzip(&upper.done())])
}

#[test]
fn without_isolation_the_same_image_is_built() {
    require_tool!("docker-registry");
    require_tool!("skopeo");
    let (env, registry) = (TestEnv::new(), Registry::start());
    let base = base(&env, &registry);
    env.write("file", "content").write("tree/inner/deep", "deep");
    let lock = |path: &str, mode| {
        std::fs::set_permissions(env.context().join(path), PermissionsExt::from_mode(mode)).unwrap();
    };
    lock("tree/inner", 0o555);
    env.dockerfile(&format!(
        "FROM {base} AS made\n\
         COPY --chown=app file /closed/named\n\
         COPY --chown=4711 --chmod=0400 tree /etc/tree/\n\
         COPY tree /closed/\n\
         USER app\n\
         WORKDIR /work/here\n\
         FROM scratch\n\
         COPY --from=made / /all/\n\
         COPY --from=made --chown=1:2 /etc/shadow /null /pipe /link /some/\n"
    ));
    let build = |isolation: &str, limits: &str| {
        let name = format!("{isolation}:1");
        let output = format!("type=registry,name={}/{name},rewrite-timestamp=true", registry.address());
        let store = env.path(isolation.to_owned() + &limits.len().to_string());
        let rbuild = binary();
        let arguments =
            [rbuild.to_str().unwrap(), "--root", store.to_str().unwrap(), "--isolation", isolation];
        let script = format!("exec {limits} \"$@\"");
        let words = [&["-c", &script, "sh"], &arguments[..], &["--output", &output, "."]].concat();
        env.program("sh", &words).env("SOURCE_DATE_EPOCH", "1100000000").run().success();
        Image::fetch(&registry, &name).sound()
    };
    let isolated = build("auto", "");
    // Whoever builds; then root without any right; and the host's with all but that to mount, as in a container.
    let powerless = match is_root() {
        true => "setpriv --inh-caps=-all --bounding-set=-all",
        false => "unshare -Ur setpriv --inh-caps=-all --bounding-set=-all",
    };
    let mut ways = vec!["", powerless];
    if is_root() {
        ways.push("setpriv --inh-caps=-sys_admin --bounding-set=-sys_admin");
    }
    for way in ways {
        let bare = build("none", way);
        assert_eq!(isolated.listing(), bare.listing(), "{way}");
        // Attributes and times are compared, too.
        assert_eq!(isolated.manifest_digest, bare.manifest_digest, "{way}");
    }
    lock("tree/inner", 0o755);
    let bare = build("none", "");
    let files = bare.files();
    let owner = |path: &str| (files[path].uid, files[path].gid, files[path].mode & 0o7777);
    assert_eq!(owner("all/etc/shadow"), (0, 42, 0));
    assert_eq!(owner("all/closed"), (7, 8, 0o111));
    assert_eq!(owner("all/link"), (1000, 1000, 0o777));
    assert_eq!(owner("all/bin/su"), (0, 0, 0o4755));
    assert_eq!(owner("all/replaced"), (3, 4, 0o2775));
    assert!(!files.contains_key("all/gone") && !files.contains_key("all/replaced/old"));
    assert!(bare.mentions("SCHILY.xattr.security.capability="));
    assert!(!bare.mentions("user.rbuild"), "a record of the store got into a layer");
}

#[test]
fn deletions_are_kept_where_the_store_lies_on_an_overlay() {
    require_tool!("docker-registry");
    require_tool!("skopeo");
    let (env, registry) = (TestEnv::new(), Registry::start());
    let base = base(&env, &registry);
    // What containers have instead of a disk: no device can be made there that stands for a deletion.
    let mounted = env.path("mounted");
    for directory in ["lower", "upper", "work", "mounted"] {
        std::fs::create_dir(env.path(directory)).unwrap();
    }
    env.dockerfile(&format!("FROM {base} AS made\nFROM scratch\nCOPY --from=made / /\n"));
    let output =
        |name: &str| format!("type=registry,name={}/{name},rewrite-timestamp=true", registry.address());
    let ordinary = env.rbuild(&["--isolation", "none", "--output", &output("disk:1"), "."]);
    ordinary.env("SOURCE_DATE_EPOCH", "1100000000").run().success();
    let script = "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,userxattr mounted || exit 99; \
                  ! mknod mounted/probe c 0 0 2> /dev/null || exit 98; exec \"$@\"";
    let own = binary();
    let mut words = vec!["--mount"];
    if !is_root() {
        words.extend(["--user", "--map-root-user"]);
    }
    let (store, context, output) = (mounted.join("store"), env.context(), output("overlay:1"));
    words.extend(["sh", "-c", script, "sh", own.to_str().unwrap(), "--root", store.to_str().unwrap()]);
    words.extend(["--isolation", "none", "--output", &output, context.to_str().unwrap()]);
    let build = env.program("unshare", &words).directory(env.path("."));
    build.env("SOURCE_DATE_EPOCH", "1100000000").run().success();
    let (disk, overlay) = (Image::fetch(&registry, "disk:1"), Image::fetch(&registry, "overlay:1"));
    assert_eq!(disk.listing(), overlay.listing());
    assert_eq!(disk.manifest_digest, overlay.manifest_digest);
    assert!(!overlay.files().contains_key("gone"));
}

#[test]
fn where_every_way_is_closed_only_what_runs_is_refused() {
    require_busybox!();
    let env = TestEnv::new();
    env.write("file", "content").dockerfile("FROM scratch\nWORKDIR /a\nCOPY --chown=5 file .\n");
    let Some(closed) = Closed::new(&env) else { skip!("user namespaces cannot be forbidden to a test here") };
    let _ = closed.rbuild(&["-t", "app", "."]).success();
    env.write("Dockerfile.run", "FROM scratch\nCOPY file /\nRUN true\n");
    let run = closed.rbuild(&["-f", "Dockerfile.run", "."]).code(4);
    let _ = run.says(&["Dockerfile.run:3", "max_user_namespaces is 0", "sysctl user.max_user_namespaces="]);
    let _ = closed.rbuild(&["run", "--rm", "app", "true"]).code(125).says(&["max_user_namespaces is 0"]);
    let _ = closed.rbuild(&["unshare", "true"]).code(4).says(&["max_user_namespaces is 0"]);
    let doctor = closed.rbuild(&["doctor"]).code(4);
    let said = doctor.stdout();
    assert!(said.contains("isolation: none") && said.contains("without RUN"), "{said}");
}

/// A place where nobody may make a user namespace, for an ordinary user in it.
struct Closed<'a> {
    env: &'a TestEnv,
    program: std::path::PathBuf,
}

const FORBID: &str =
    "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --ambient-caps=-all --inh-caps=-all \"$@\"";

impl<'a> Closed<'a> {
    fn new(env: &'a TestEnv) -> Option<Self> {
        // Where that user may go.
        let program = env.path("rbuild");
        std::fs::copy(binary(), &program).unwrap();
        if is_root() {
            let changed = Command::new("chown").args(["-R", "65534:65534"]).arg(env.path(".")).status();
            assert!(changed.unwrap().success());
        }
        let closed = Self { env, program };
        let forbidden = closed.program(Path::new("sh"), &["-c", "! unshare --user true"]);
        forbidden.succeeded().then_some(closed)
    }

    fn rbuild(&self, arguments: &[&str]) -> Output {
        self.program(&self.program, arguments)
    }

    fn program(&self, program: &Path, arguments: &[&str]) -> Output {
        let mut words = Vec::new();
        if is_root() {
            words.extend(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]);
        }
        words.extend(["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c", FORBID, "sh"]);
        words.push(program.to_str().unwrap());
        words.extend(arguments);
        self.env.program(words[0], &words[1..]).run()
    }
}
