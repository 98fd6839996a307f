//! Plans, lint rules and outlines of a Dockerfile.
//!
//! Beside it may lie `args`, with an option of the command line on each line, `images.json`, with the base images that
//! can be found beside those of `testdata/dockerfile/images.json`, and `ignore`, an ignore file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use rbuild::context::Ignore;
use rbuild::dockerfile::{self, Dockerfile, Span};
use rbuild::graph::NetworkMode;
use rbuild::image::{Config, DiffId, Digest, HistoryEntry, Platform, RunConfig};
use rbuild::plan::{self, Anew, BaseImage, BaseImages, Hidden, NamedContext, Planned, Request, WantedImage};

use crate::dockerfile::{diagnostics_text, place};
use crate::{check, read, read_if_there};

#[test]
fn files_are_planned() {
    check("dockerfile/plan", "plan.txt", |case| {
        let (file, request) = given(case);
        let known = images(case, "dockerfile/images.json");
        let mut found = BaseImages::new();
        loop {
            match plan::plan(&file, &request, &found) {
                Ok(Planned::Ready(plan)) => return format!("graph\n{}{plan}", plan.graph),
                Err(errors) => return diagnostics_text(&file.source, &errors),
                Ok(Planned::Needs(names)) => {
                    for (wanted, _) in names {
                        let WantedImage { name, platform } = &wanted;
                        // One that has a platform is there for that alone.
                        let image = known.get(&format!("{name} {platform}")).or_else(|| known.get(name));
                        let Some(image) = image else { return format!("needs {name}\n") };
                        found.insert(wanted, image.clone());
                    }
                }
            }
        }
    });
}

#[test]
fn rules_are_checked() {
    check("dockerfile/lint", "lints.txt", |case| {
        let (file, request) = given(case);
        let ignore = read_if_there(case, "ignore").map(|text| Ignore::parse(text.as_bytes(), None).unwrap());
        let ignore = ignore.filter(|ignore| !ignore.has_negation());
        let hides = |path: &str| ignore.as_ref().is_some_and(|ignore| ignore.matches(Path::new(path)));
        let hidden: Option<&Hidden<'_>> = if ignore.is_some() { Some(&hides) } else { None };
        let images = images(case, "no-shared-images").into_iter();
        let platform = &request.platform;
        let images =
            images.map(|(name, it)| (WantedImage { name, platform: platform.clone() }, it)).collect();
        let findings = match plan::lint(&file, &request, &images, hidden) {
            Ok(findings) => findings,
            Err(error) => return format!("error: {error}\n"),
        };
        let mut out = String::new();
        for lint in &findings.lints {
            let place = place(&file.source, lint.span);
            writeln!(out, "{place} {}: {}", lint.rule.id(), lint.message).unwrap();
        }
        for (name, near) in &findings.unused_build_args {
            writeln!(out, "unused: {name}, near: {near:?}").unwrap();
        }
        for (name, near) in &findings.unused_contexts {
            writeln!(out, "unused context: {name}, near: {near:?}").unwrap();
        }
        if findings.fatal {
            out.push_str("fatal\n");
        }
        out
    });
}

#[test]
fn outlines_are_made() {
    check("dockerfile/outline", "outline.txt", |case| {
        let (file, request) = given(case);
        let mut out = String::new();
        match plan::outline(&file, &request) {
            Ok(outline) => {
                let line = |span: Span| file.source.line_of(span.start);
                writeln!(out, "outline of {:?}: {:?}", outline.target, outline.description).unwrap();
                for arg in &outline.args {
                    let (line, description) = (line(arg.span), &arg.description);
                    writeln!(out, "{line} arg {}={} {description:?}", arg.name, arg.value).unwrap();
                }
                for (kind, mounts) in [("secret", &outline.secrets), ("ssh", &outline.ssh)] {
                    for mount in mounts {
                        writeln!(
                            out,
                            "{} {kind} {} required: {}",
                            line(mount.span),
                            mount.id,
                            mount.required
                        )
                        .unwrap();
                    }
                }
            }
            Err(errors) => out.push_str(&diagnostics_text(&file.source, &errors)),
        }
        for target in plan::targets(&file) {
            let plan::Target { name, default, description, base, platform, span } = target;
            let line = file.source.line_of(span.start);
            writeln!(
                out,
                "{line} target {name:?} of {base} for {platform:?}: {description:?}, default: {default}"
            )
            .unwrap();
        }
        out
    });
}

fn given(case: &Path) -> (Dockerfile, Request) {
    let text = read(case, "Dockerfile");
    let file = dockerfile::parse("Dockerfile", &text)
        .unwrap_or_else(|errors| panic!("{}: {errors}", case.display()));
    let mut request = Request {
        build_args: BTreeMap::new(),
        target: None,
        platform: Platform::new("linux", "amd64", None),
        is_platform_given: false,
        build_platform: Platform::new("linux", "amd64", None),
        labels: Vec::new(),
        entitlements: BTreeSet::new(),
        contexts: BTreeMap::new(),
        anew: Anew::Nothing,
        ulimits: Vec::new(),
        network: NetworkMode::Default,
        extra_hosts: Vec::new(),
    };
    let pair = |text: &str| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    };
    for line in read_if_there(case, "args").unwrap_or_default().lines() {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("--target", target) => request.target = Some(target.to_owned()),
            ("--build-arg", arg) => request.build_args.extend([pair(arg)]),
            ("--label", label) => request.labels.push(pair(label)),
            ("--build-context", text) => {
                let (name, kind) = match text.split_once('=') {
                    None => (text, NamedContext::Image),
                    Some((name, "files")) => (name, NamedContext::Files),
                    Some((name, _)) => (name, NamedContext::Nothing),
                };
                request.contexts.insert(name.to_owned(), kind);
            }
            ("--allow", name) => {
                request.entitlements.insert(name.parse().unwrap());
            }
            ("--platform", platform) => {
                request.platform = platform.parse().unwrap();
                request.is_platform_given = true;
            }
            ("--build-platform", platform) => request.build_platform = platform.parse().unwrap(),
            _ => panic!("{}: {line}", case.display()),
        }
    }
    (file, request)
}

/// The images of a case, and those that all share. One says `config` as the image's document does, and `layers`,
/// `platform` and `history` where they are not 1, `linux/amd64` and none.
fn images(case: &Path, shared: &str) -> BTreeMap<String, BaseImage> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let texts = [read_if_there(&root, shared), read_if_there(case, "images.json")];
    let mut images = BTreeMap::new();
    for text in texts.iter().flatten() {
        let all: BTreeMap<String, serde_json::Value> = serde_json::from_str(text).unwrap();
        images.extend(all.into_iter().map(|(name, image)| (name.clone(), base(&name, &image))));
    }
    images
}

fn base(name: &str, image: &serde_json::Value) -> BaseImage {
    let platform = image["platform"].as_str().unwrap_or("linux/amd64").parse().unwrap();
    let mut config = Config::scratch(&platform);
    let layers = image["layers"].as_u64().unwrap_or(1);
    let diff_id = |layer: u64| DiffId(Digest::of(format!("{name} {layer}").as_bytes()));
    config.rootfs.diff_ids = (0..layers).map(diff_id).collect();
    config.config =
        serde_json::from_value::<Option<RunConfig>>(image["config"].clone()).unwrap().unwrap_or_default();
    let history: Option<Vec<HistoryEntry>> = serde_json::from_value(image["history"].clone()).unwrap();
    config.history = history.unwrap_or_default();
    BaseImage { name: name.to_owned(), digest: None, config }
}
