//! Why a command did not do what it was asked to do.

use std::process::ExitCode;

use crate::{
    backup::BackupError, config::ConfigError, data_dir::DataDirError,
    registration::RegistrationError, registry::RegistryError, server::StartError,
};

/// A command did not do what it was asked to do. Its text is one sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is at fault.
    #[error("{0}")]
    Config(String),
    /// Something else is.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(2),
            Self::Other(_) => ExitCode::FAILURE,
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let text = error.to_string();
        match error {
            StartError::Config(_)
            | StartError::Terms(_)
            | StartError::DataDir(DataDirError::Unusable { .. })
            | StartError::Registry(RegistryError::OtherSeal) => Self::Config(text),
            _ => Self::Other(text),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::from(StartError::from(error))
    }
}

impl From<DataDirError> for Failure {
    fn from(error: DataDirError) -> Self {
        Self::from(StartError::from(error))
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self::from(StartError::from(error))
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::DataDir(error) => Self::from(error),
            error => Self::Other(error.to_string()),
        }
    }
}

impl From<RegistrationError> for Failure {
    fn from(error: RegistrationError) -> Self {
        match error {
            RegistrationError::Registry(error) => Self::from(error),
            error @ RegistrationError::NotReady { .. } => Self::Other(error.to_string()),
        }
    }
}
