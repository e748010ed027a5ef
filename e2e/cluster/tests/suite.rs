//! What all tests share: the control plane, and how a test is run on it.

use std::{
    pin::Pin,
    process::ExitCode,
    sync::{Arc, Mutex},
};

use kube::Client;
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;
use vrfgate_cluster::ControlPlane;

use crate::{accounts, vm::Vm};

/// A test: a sentence, and what shows it.
pub type Test = (&'static str, Run);
type Run = for<'a> fn(&'a Suite) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Names tests after their functions.
macro_rules! tests {
    ($($test:ident),+ $(,)?) => {
        vec![$((stringify!($test), |suite| Box::pin($test(suite)))),+]
    };
}
pub(crate) use tests;

pub struct Suite {
    // Dropped in this order: an API server that ends waits for those who watch it.
    /// The machine that runs pods, between two tests: it takes long to boot.
    pub worker: Mutex<Option<Vm>>,
    pub cluster: Mutex<ControlPlane>,
    pub admin: Client,
    runtime: Runtime,
}

impl Suite {
    pub fn start() -> anyhow::Result<Arc<Self>> {
        let cluster = ControlPlane::start()?;
        let runtime = Runtime::new()?;
        let admin = runtime.block_on(async {
            let admin = cluster.client(&cluster.admin()).await?;
            accounts::install(&admin).await?;
            anyhow::Ok(admin)
        })?;
        Ok(Arc::new(Self {
            cluster: Mutex::new(cluster),
            admin,
            worker: Mutex::new(None),
            runtime,
        }))
    }

    /// Stops the API server for as long as something takes.
    pub async fn away_while(&self, something: impl AsyncFnOnce()) {
        self.cluster.lock().unwrap().stop_api_server();
        something().await;
        // It makes a runtime of its own.
        tokio::task::block_in_place(|| self.cluster.lock().unwrap().start_api_server()).unwrap();
    }

    pub fn run(self: Arc<Self>, arguments: &Arguments, tests: Vec<Test>) -> ExitCode {
        let trials = tests.into_iter().map(|(name, run)| {
            let suite = Arc::clone(&self);
            Trial::test(name, move || {
                suite.runtime.block_on(run(&suite));
                Ok(())
            })
        });
        libtest_mimic::run(arguments, trials.collect()).exit_code()
    }
}
