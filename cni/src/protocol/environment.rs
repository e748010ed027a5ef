//! The environment variables of a call.

use std::{collections::BTreeMap, env, path::PathBuf, str::FromStr as _};

use vrfgate_core::{DeviceName, Key, Pod};

use super::{Code, Failure};

/// What a runtime calls the plugin for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Verb {
    const ALL: [Self; 6] = [
        Self::Add,
        Self::Del,
        Self::Check,
        Self::Gc,
        Self::Status,
        Self::Version,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }
}

/// A verb, with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Add(Container, PathBuf),
    /// Without the namespace, which may be gone.
    Del(Container),
    Check(Container, PathBuf),
    Gc,
    Status,
    Version,
}

impl Call {
    pub(crate) const fn verb(&self) -> Verb {
        match self {
            Self::Add(..) => Verb::Add,
            Self::Del(_) => Verb::Del,
            Self::Check(..) => Verb::Check,
            Self::Gc => Verb::Gc,
            Self::Status => Verb::Status,
            Self::Version => Verb::Version,
        }
    }
}

/// An interface of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    id: String,
    ifname: String,
    pub(crate) pod: Option<Pod>,
}

impl Container {
    pub(crate) fn key(&self, network: &str) -> Key {
        Key {
            network: network.to_owned(),
            container_id: self.id.clone(),
            ifname: self.ifname.clone(),
        }
    }
}

/// The variables whose names begin with `CNI_`. An empty one counts as unset, as in the reference implementation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    pub(crate) fn of_this_process() -> Result<Self, Failure> {
        let mut variables = BTreeMap::new();
        for (name, value) in env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with("CNI_")) else {
                continue;
            };
            let value = value
                .into_string()
                .map_err(|_| invalid(name, "is not UTF-8"))?;
            if !value.is_empty() {
                variables.insert(name.to_owned(), value);
            }
        }
        Ok(Self(variables))
    }

    pub(crate) fn has_command(&self) -> bool {
        self.0.contains_key("CNI_COMMAND")
    }

    pub(crate) fn call(&self) -> Result<Call, Failure> {
        let verb = self.verb()?;
        match verb {
            Verb::Add | Verb::Check => {
                self.require(&["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"])?;
                let (container, netns) = (self.container()?, self.netns()?);
                Ok(if verb == Verb::Add {
                    Call::Add(container, netns)
                } else {
                    Call::Check(container, netns)
                })
            }
            Verb::Del => {
                self.require(&["CNI_CONTAINERID", "CNI_IFNAME"])?;
                Ok(Call::Del(self.container()?))
            }
            Verb::Gc => {
                self.require(&["CNI_PATH"])?;
                Ok(Call::Gc)
            }
            Verb::Status => Ok(Call::Status),
            Verb::Version => Ok(Call::Version),
        }
    }

    fn verb(&self) -> Result<Verb, Failure> {
        self.require(&["CNI_COMMAND"])?;
        let name = self.get("CNI_COMMAND");
        Verb::ALL
            .into_iter()
            .find(|verb| verb.as_str() == name)
            .ok_or_else(|| {
                let known = Verb::ALL.map(Verb::as_str).join(", ");
                invalid("CNI_COMMAND", &format!("{name:?} is none of {known}"))
            })
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn require(&self, names: &[&str]) -> Result<(), Failure> {
        let missing: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| !self.0.contains_key(*name))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::new(
            Code::Environment,
            format!("missing: {}", missing.join(", ")),
        ))
    }

    fn container(&self) -> Result<Container, Failure> {
        let id = self.get("CNI_CONTAINERID");
        if !is_cni_name(id) {
            return Err(invalid(
                "CNI_CONTAINERID",
                &format!(
                    "{id:?} must be letters, digits, '_', '.' and '-', and begin with a letter or digit"
                ),
            ));
        }
        let ifname = self.get("CNI_IFNAME");
        DeviceName::from_str(ifname).map_err(|why| invalid("CNI_IFNAME", &why.to_string()))?;
        Ok(Container {
            id: id.to_owned(),
            ifname: ifname.to_owned(),
            pod: pod(self.get("CNI_ARGS")),
        })
    }

    fn netns(&self) -> Result<PathBuf, Failure> {
        let path = PathBuf::from(self.get("CNI_NETNS"));
        if path.is_absolute() {
            Ok(path)
        } else {
            Err(invalid(
                "CNI_NETNS",
                &format!("{} is not an absolute path", path.display()),
            ))
        }
    }
}

/// Whether the specification allows this as a container id, or as the name of a network.
pub(super) fn is_cni_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn invalid(variable: &str, why: &str) -> Failure {
    Failure::new(Code::Environment, format!("{variable}: {why}"))
}

/// The pod of a container, as Kubernetes' runtimes give it. Others give something else, or nothing.
fn pod(arguments: &str) -> Option<Pod> {
    let value = |key: &str| {
        arguments
            .split(';')
            .filter_map(|pair| pair.split_once('='))
            .find(|(name, value)| *name == key && !value.contains(char::is_control))
            .map(|(_, value)| value.to_owned())
    };
    Some(Pod {
        namespace: value("K8S_POD_NAMESPACE")?,
        name: value("K8S_POD_NAME")?,
        uid: value("K8S_POD_UID"),
    })
}
