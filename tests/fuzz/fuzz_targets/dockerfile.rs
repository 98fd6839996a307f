//! No text panics, neither when it is read nor when it is planned; what is read and printed is read again as the same tree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rbuild::dockerfile::{parse, parse_trigger};
use rbuild::graph::NetworkMode;
use rbuild::image::Platform;
use rbuild::plan::{self, BaseImages, NamedContext, Request};

fuzz_target!(|text: &str| {
    let _ = parse_trigger("trigger", text, '\\');
    let Ok(file) = parse("Dockerfile", text) else { return };
    let request = Request {
        build_args: [("A".to_owned(), "b".to_owned())].into(),
        target: None,
        platform: Platform::new("linux", "amd64", None),
        is_platform_given: false,
        build_platform: Platform::new("linux", "arm64", None),
        labels: Vec::new(),
        entitlements: Default::default(),
        contexts: [("ctx".to_owned(), NamedContext::Image), ("src".to_owned(), NamedContext::Files)].into(),
        network: NetworkMode::Default,
        extra_hosts: Vec::new(),
        ulimits: Vec::new(),
    };
    let images = BaseImages::new();
    let _ = plan::plan(&file, &request, &images);
    let _ = plan::outline(&file, &request);
    let _ = plan::lint(&file, &request, &images, Some(&|path: &str| path.len() > 3));
    let printed = file.print();
    let again = parse("Dockerfile", &printed).expect("what is printed can be read");
    assert_eq!(again.print(), printed);
});
