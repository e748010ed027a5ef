//! A node that is a router: its parts, and its commands.

use vrfgate_e2e::Lab;

use crate::{
    Node,
    agent::Agent,
    scene::{self, Scene},
};

pub struct Router {
    /// This machine.
    machine: Lab,
    agent: Agent,
    scene: Scene,
}

impl Router {
    pub fn new(agent: Agent) -> Self {
        let machine = Lab::on_this_machine();
        Self {
            scene: Scene::new(&machine, "BLUE", "10.0.0"),
            machine,
            agent,
        }
    }
}

impl Node for Router {
    fn obey(&mut self, words: &[&str]) -> String {
        match words {
            ["start", "the", "agent"] => self.agent.start(),
            ["kill", "the", "agent"] => self.agent.kill(),
            ["how", "does", "it", "stand?"] => return scene::state(&self.machine),
            _ => match self.scene.obey(words) {
                Some(said) => return said,
                None => panic!("{words:?} is not understood"),
            },
        }
        String::new()
    }
}
