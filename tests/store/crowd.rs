//! Many processes in one store, of which some take away what others might want.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::support::{TestEnv, require_busybox};
use crate::{is_sound, is_swept};

const BUILDERS: usize = 8;
const ROUNDS: usize = 6;

#[test]
fn builds_succeed_while_another_process_prunes_all_the_time() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("a.txt", "a");
    // Some steps are the same for all, some for two of them, some for one.
    let files: Vec<_> = (0..BUILDERS)
        .map(|builder| {
            let name = format!("Dockerfile.{builder}");
            let half = builder / 2;
            env.write(
                &name,
                &format!(
                    "FROM base:1 AS first\nWORKDIR /w\nCOPY a.txt .\nRUN echo all > all\nRUN echo {half} > half\n\
                     FROM base:1\nCOPY --from=first /w /w\nRUN echo {builder} > one && cat /w/all /w/half\n"
                ),
            );
            name
        })
        .collect();
    let (over, prunes, cached) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        let builders: Vec<_> = (0..BUILDERS)
            .map(|builder| {
                let (env, file, cached) = (&env, &files[builder], &cached);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let tag = format!("app:{builder}");
                        let mut arguments = vec!["-f", file, "."];
                        // With and without a name, and now and then without looking anything up.
                        if round % 2 == 1 {
                            arguments.extend(["-t", &tag]);
                        }
                        if (round + builder) % 5 == 0 {
                            arguments.push("--no-cache");
                        }
                        let built = env.rbuild(&arguments).run().success();
                        cached.fetch_add(
                            built.steps().iter().filter(|(_, how)| *how == "CACHED").count(),
                            Ordering::Relaxed,
                        );
                        if round % 2 == 1 {
                            env.rbuild(&["run", "--rm", &tag, "cat", "/one", "/w/all"])
                                .run()
                                .success()
                                .prints(&format!("{builder}\nall\n"));
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                env.rbuild(&["prune", "--force", "--all"]).run().success();
                prunes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let ends: Vec<_> = builders.into_iter().map(|builder| builder.join()).collect();
        // Also after a failure: otherwise the pruner would never end.
        over.store(true, Ordering::Relaxed);
        ends.into_iter().for_each(|end| end.unwrap());
    });
    assert!(prunes.into_inner() > 3 && cached.into_inner() > 0);
    env.rbuild(&["store", "check", "--deep"]).run().success();
    // What the last prune left because a build still used it, although another one had dropped its record.
    env.rbuild(&["prune", "--force", "--all"]).run().success();
    is_swept(&env);
    let checked = env.rbuild(&["store", "check", "--deep"]).run().success();
    assert!(checked.stdout().ends_with("the store is sound\n"), "{checked}");
    is_sound(&env);
}
