//! Which process a container runs: what the image says, and the user over it.

use super::{ContainerError, Request};
use crate::image::{DEFAULT_PATH, RunConfig};
use crate::sandbox::Process;

pub(super) fn process(
    image: &RunConfig,
    request: &Request,
    hostname: &str,
) -> Result<Process, ContainerError> {
    let arguments = arguments(image, request);
    if arguments.is_empty() {
        return Err(ContainerError::NoCommand);
    }
    let mut config = image.clone();
    if config.variable("PATH").is_none() {
        config.env.insert(0, format!("PATH={DEFAULT_PATH}"));
    }
    config.set_variable("HOSTNAME", hostname);
    for (name, value) in &request.environment {
        config.set_variable(name, value);
    }
    let directory = request.directory.clone().unwrap_or(config.working_dir);
    Ok(Process {
        arguments,
        environment: config.env,
        directory: if directory.is_empty() { "/".to_owned() } else { directory },
        user: request.user.clone().unwrap_or(config.user),
    })
}

fn arguments(image: &RunConfig, request: &Request) -> Vec<String> {
    let (entrypoint, command) = match &request.entrypoint {
        // The image's command was meant for the image's entrypoint.
        Some(entrypoint) if entrypoint.is_empty() => (Vec::new(), request.command.clone()),
        Some(entrypoint) => (vec![entrypoint.clone()], request.command.clone()),
        None => {
            let own = image.entrypoint.clone().unwrap_or_default();
            let given = &request.command;
            let command =
                if given.is_empty() { image.cmd.clone().unwrap_or_default() } else { given.clone() };
            (own, command)
        }
    };
    [entrypoint, command].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> RunConfig {
        RunConfig {
            entrypoint: Some(vec!["/entry".into()]),
            cmd: Some(vec!["default".into()]),
            env: vec!["A=image".into(), "B=image".into()],
            user: "app".into(),
            ..RunConfig::default()
        }
    }

    #[track_caller]
    fn check(request: &Request, expected: &[&str]) {
        assert_eq!(process(&image(), request, "h").unwrap().arguments, expected);
    }

    #[test]
    fn commands_and_entrypoints_replace_each_other_as_in_docker() {
        let command = vec!["given".to_owned()];
        check(&Request::default(), &["/entry", "default"]);
        check(&Request { command: command.clone(), ..Request::default() }, &["/entry", "given"]);
        check(&Request { entrypoint: Some("/other".into()), ..Request::default() }, &["/other"]);
        let cleared = Request { entrypoint: Some(String::new()), command, ..Request::default() };
        check(&cleared, &["given"]);
        let nothing = Request { entrypoint: Some(String::new()), ..Request::default() };
        assert!(matches!(process(&image(), &nothing, "h"), Err(ContainerError::NoCommand)));
    }

    #[test]
    fn the_users_variables_win_over_the_images() {
        let environment = [("B".to_owned(), "user".to_owned())].into();
        let process = process(&image(), &Request { environment, ..Request::default() }, "box").unwrap();
        let path = format!("PATH={DEFAULT_PATH}");
        assert_eq!(process.environment, [path.as_str(), "A=image", "B=user", "HOSTNAME=box"]);
        assert_eq!((process.directory.as_str(), process.user.as_str()), ("/", "app"));
    }
}
