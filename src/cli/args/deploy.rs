//! Options of `deploy`: those of `serve`, and what the original's command of this name knows beside them.

use clap::Args;

use super::super::error::{CliError, CliResult};
use super::{RuntimeArgs, ServeArgs};

/// Options of `deploy`.
#[derive(Debug, Args)]
#[command(mut_arg("host", |host| host.default_value("0.0.0.0")))]
pub struct DeployArgs {
    /// The server.
    #[command(flatten)]
    serve: ServeArgs,
    /// The runtime.
    #[command(flatten)]
    _runtime: RuntimeArgs,
    /// Refused: the original takes settings here and never looks at them
    #[arg(long, num_args = 0.., value_name = "SETTING", hide = true)]
    settings: Option<Vec<String>>,
}

impl DeployArgs {
    /// What is to be served: a model in any case, whatever a server on the platform would wait for.
    ///
    /// # Errors
    /// Settings were given, which a server has from each request.
    pub fn resolve(mut self) -> CliResult<ServeArgs> {
        self.serve.model.name_default();
        match self.settings {
            None => Ok(self.serve),
            Some(_) => Err(CliError::Usage(
                "deploy takes no --settings: each request brings its own; predict takes them".to_owned(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Command};
    use super::*;
    use clap::Parser;

    fn deploy(line: &str) -> DeployArgs {
        let Command::Deploy(args) = Cli::try_parse_from(line.split(' ')).unwrap().command else { unreachable!() };
        args
    }

    #[test]
    fn it_is_open_to_the_network_and_serve_is_not() {
        let args = deploy("x deploy --model demo --runtime pytorch --queue 7");
        let serve = args.resolve().unwrap();
        assert_eq!((serve.host.to_string(), serve.port), ("0.0.0.0".to_owned(), 8000));
        let args = deploy("x deploy --host 127.0.0.1 --port 9000");
        let serve = args.resolve().unwrap();
        assert_eq!((serve.host.to_string(), serve.port), ("127.0.0.1".to_owned(), 9000));
        assert!(serve.model.is_named() && serve.model.plan().unwrap().source.name() == "Florence-2-large");
        let Command::Serve(serve) = Cli::try_parse_from(["x", "serve"]).unwrap().command else { unreachable!() };
        assert_eq!(serve.host.to_string(), "127.0.0.1");
    }

    #[test]
    fn settings_are_refused_and_not_ignored() {
        assert!(deploy("x deploy --settings conf=0.3").resolve().is_err());
        assert!(Cli::try_parse_from(["x", "deploy", "--runtime", "TensorRT"]).is_err());
    }
}
